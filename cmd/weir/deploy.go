package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func deployCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "deploy", Usage: "create or update the pools and deployments that a project file names", ArgsUsage: "[DEPLOYMENT...]",
		Description: "Shows the difference first. With names it deploys only those.",
		Flags: outputFlags(
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "project `FILE` (default: weir.yaml, else prefect.yaml)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the difference and change nothing"},
			&cli.StringFlag{Name: "pool", Usage: "put every deployment on this work `POOL`, whatever the file says"},
		),
		Action: e.action(e.deploy),
	}
}

// deployed is what deploy prints as JSON.
type deployed struct {
	*deploy.Diff
	Applied bool `json:"applied"`
}

func (e *env) deploy(ctx context.Context, c *cli.Context) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	names := c.Args().Slice()
	project, err := e.loadProject(c.String("file"), names)
	if err != nil {
		return err
	}
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	dry := c.Bool("dry-run")
	if !dry {
		if err := conn.Setup(ctx, replicas(project)); err != nil {
			return err
		}
	}
	diff, err := e.planProject(ctx, conn, project, deploy.Options{Pool: c.String("pool"), Names: names, Types: poolTypes})
	if err != nil {
		return err
	}
	people := f == "table" || f == "wide"
	if people {
		if err := diff.Format(e.stdout, e.colored(e.stdoutTTY)); err != nil {
			return err
		}
	}
	if !dry {
		if err := deploy.Apply(ctx, conn, diff); err != nil {
			return err
		}
	}
	switch {
	case !people:
		return writeValue(e.stdout, f, deployed{Diff: diff, Applied: !dry})
	case dry:
		fmt.Fprintln(e.stdout, "Nothing was changed: this was a dry run.")
	case !diff.Empty():
		fmt.Fprintln(e.stdout, "Deployed.")
		if len(diff.Deployments) > 0 {
			fmt.Fprintf(e.stdout, "Run one: %s deployment run %s --watch\n", e.again(), diff.Deployments[0].Name)
		}
	}
	return nil
}

// loadProject reads the project file, or the one that is found in this folder, and tells its warnings.
func (e *env) loadProject(file string, names []string) (*deploy.Project, error) {
	if file == "" {
		var err error
		if file, err = deploy.Find("."); err != nil {
			return nil, usagef("%v", err)
		}
	}
	project, err := deploy.Load(file)
	if is[deploy.FileErrors](err) {
		return nil, err
	} else if err != nil {
		return nil, usagef("%v", err)
	}
	var known []string
	for _, d := range project.Deployments {
		known = append(known, d.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%s: %w", file, &streams.NotFoundError{Kind: "deployment", Name: name, Nearest: schemas.Nearest(name, known), Known: known})
		}
	}
	for _, w := range project.Warnings {
		fmt.Fprintf(e.stderr, "%s %s\n", e.paint(e.stderrTTY, yellow, "warning:"), w)
	}
	return project, nil
}

// planProject finds out what the entry points take and what deploying would change.
func (e *env) planProject(ctx context.Context, conn *streams.Conn, project *deploy.Project, opts deploy.Options) (*deploy.Diff, error) {
	wait := e.startProgress("looking at the entry points")
	defer wait.end()
	if err := project.Describe(ctx, describe, opts.Names...); err != nil {
		return nil, err
	}
	return deploy.Plan(ctx, conn, project, opts)
}

// replicas is the most copies that any of the project's pools wants: the shared streams have as many.
func replicas(p *deploy.Project) int {
	n := 1
	for _, pool := range p.Pools {
		n = max(n, pool.Replicas)
	}
	return n
}

// fileError tells whether err is about what is written in a project file.
func fileError(err error) bool {
	_, all := errors.AsType[deploy.FileErrors](err)
	_, one := errors.AsType[*deploy.FileError](err)
	return all || one
}

// deploymentNames lists the names for people.
func deploymentNames(p *deploy.Project) string {
	var names []string
	for _, d := range p.Deployments {
		names = append(names, d.Name)
	}
	return strings.Join(names, ", ")
}
