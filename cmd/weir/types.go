package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/docker"
	"github.com/weir-run/weir/runners/ecs"
	"github.com/weir-run/weir/runners/process"
	"github.com/weir-run/weir/schemas"
)

// poolTypes are the kinds of work pool this binary can serve.
var poolTypes = []runners.Type{process.Type, docker.Type, ecs.Type, ecs.PushType}

// describe finds out what an entry point's function takes, with the Python that a process pool would use.
var describe deploy.Describer = func(ctx context.Context, dir, entrypoint string) (json.RawMessage, error) {
	return process.Describe(ctx, "", dir, entrypoint)
}

func typeNames() []string {
	var names []string
	for _, t := range poolTypes {
		names = append(names, t.Name)
	}
	return names
}

// poolType returns the type called name.
func poolType(name string) (runners.Type, error) {
	for _, t := range poolTypes {
		if t.Name == name {
			return t, nil
		}
	}
	if name == "" {
		return runners.Type{}, usagef("--type is missing; this weir serves: %s", strings.Join(typeNames(), ", "))
	}
	if near := schemas.Nearest(name, typeNames()); near != "" {
		return runners.Type{}, usagef("pool type %q is not known; did you mean %q?", name, near)
	}
	return runners.Type{}, usagef("pool type %q is not known; this weir serves: %s", name, strings.Join(typeNames(), ", "))
}

// pushes tells whether a server executes the runs of pools of that type itself.
func pushes(poolType string) bool {
	return slices.ContainsFunc(poolTypes, func(t runners.Type) bool { return t.Name == poolType && t.Push })
}
