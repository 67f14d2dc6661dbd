package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/urfave/cli/v2"
)

// version is set by release builds; others take what Go recorded.
var version = ""

type versions struct {
	Weir string `json:"weir"`
	NATS string `json:"nats_server"` // the embedded one
	Go   string `json:"go"`
	OS   string `json:"os"`
}

func weirVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func versionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the versions of weir and of what it carries", Flags: outputFlags(),
		Action: e.action(func(_ context.Context, c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			f, err := format(c)
			if err != nil {
				return err
			}
			return printVersion(e, f)
		}),
	}
}

func printVersion(e *env, format string) error {
	v := versions{Weir: weirVersion(), NATS: natsserver.VERSION, Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH}
	if format == "table" || format == "wide" {
		_, err := fmt.Fprintf(e.stdout, "weir %s (nats-server %s, %s, %s)\n", v.Weir, v.NATS, v.Go, v.OS)
		return err
	}
	return writeValue(e.stdout, format, v)
}
