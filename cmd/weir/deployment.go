package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func deploymentCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "deployment", Usage: "run deployments and look at them",
		Subcommands: []*cli.Command{
			{
				Name: "ls", Aliases: []string{"list"}, Usage: "list deployments",
				Flags:  outputFlags(&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "on this work `POOL` only"}),
				Action: e.connected(e.listDeployments),
			},
			{
				Name: "inspect", Aliases: []string{"info"}, Usage: "show a deployment", ArgsUsage: "DEPLOYMENT", Flags: outputFlags(),
				Action: e.connected(e.inspectDeployment),
			},
			{
				Name: "render", Usage: "print the job that a run would start, as its infrastructure is given it", ArgsUsage: "DEPLOYMENT",
				Flags: outputFlags(
					&cli.StringFlag{Name: "pool", Usage: "as another work `POOL` would run it"},
					&cli.StringSliceFlag{Name: "job-variable", Aliases: []string{"jv"}, Usage: "set a job variable, `KEY=VALUE`; may be given again"},
				),
				Action: e.connected(e.renderDeployment),
			},
			runCommand(e),
			{
				Name: "delete", Aliases: []string{"rm"}, Usage: "delete a deployment; what its runs did stays on record", ArgsUsage: "DEPLOYMENT",
				Flags: outputFlags(forceFlag()), Action: e.connected(e.deleteDeployment),
			},
		},
	}
}

func (e *env) listDeployments(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	all, err := conn.Deployments(ctx)
	if err != nil {
		return err
	}
	rows := []schemas.Deployment{}
	for _, d := range all {
		if pool := c.String("pool"); pool == "" || d.Pool == pool {
			rows = append(rows, d)
		}
	}
	if len(rows) == 0 {
		if err := known(ctx, conn, c.String("pool"), ""); err != nil {
			return err
		}
	}
	return e.print(c, rows, func(wide bool) error {
		t := &table{
			columns: []column{
				{title: "NAME"},
				{title: "POOL"},
				{title: "QUEUE"},
				{title: "RUNS", flex: true},
				{title: "TAGS", flex: true},
				{title: "UPDATED"},
				{title: "DIRECTORY", flex: true, wide: true},
				{title: "DESCRIPTION", flex: true, wide: true},
			},
			empty: "There are no deployments. Write a weir.yaml and run: weir deploy",
		}
		for _, d := range rows {
			t.add(d.Name, d.Pool, d.Queue, what(d), dash(strings.Join(d.Tags, ",")), stamp(d.Updated), d.Directory, d.Description)
		}
		return e.printTable(t, wide)
	})
}

// what a deployment runs, on one line.
func what(d schemas.Deployment) string {
	if d.Entrypoint != "" {
		return d.Entrypoint
	}
	return strings.Join(d.Command, " ")
}

// namedDeployment returns the deployment that the command's one argument names.
func namedDeployment(ctx context.Context, c *cli.Context, conn *streams.Conn) (schemas.Deployment, error) {
	args, err := arguments(c, "DEPLOYMENT")
	if err != nil {
		return schemas.Deployment{}, err
	}
	return conn.Deployment(ctx, args[0])
}

func (e *env) inspectDeployment(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	d, err := namedDeployment(ctx, c, conn)
	if err != nil {
		return err
	}
	return e.print(c, d, func(bool) error {
		var f facts
		f.add("Name", d.Name)
		f.add("Description", d.Description)
		f.add("Version", d.Version)
		f.add("Pool", d.Pool)
		f.add("Queue", d.Queue)
		f.add("Entrypoint", d.Entrypoint)
		f.add("Command", strings.Join(d.Command, " "))
		f.add("Directory", d.Directory)
		f.add("Tags", strings.Join(d.Tags, ", "))
		addDuration(&f, "Timeout", d.Timeout)
		addDuration(&f, "Grace", d.Grace)
		f.add("Cancel signal", string(d.CancelSignal))
		addDuration(&f, "Expires after", d.ExpiresAfter)
		if d.Retries != nil {
			f.add("Retries", retriesText(*d.Retries))
		}
		for _, code := range slices.Sorted(maps.Keys(d.ExitCodes)) {
			f.add("Exit code "+code, string(d.ExitCodes[code]))
		}
		addValues(&f, "Parameter ", d.Parameters)
		addValues(&f, "Job variable ", d.JobVariables)
		if names := parameterNames(d.ParameterSchema); len(names) > 0 {
			f.add("Takes", strings.Join(names, ", "))
		}
		f.add("Created", stamp(d.Created))
		f.add("Updated", stamp(d.Updated))
		if err := e.printFacts(f); err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "\nRun it with: %s deployment run %s --watch\n", e.again(), d.Name)
		return nil
	})
}

func addDuration(f *facts, label string, d schemas.Duration) {
	if d > 0 {
		f.add(label, time.Duration(d).String())
	}
}

// retriesText is when a job that failed is tried again: 5, after about 10s, 20s, 40s, ….
func retriesText(r schemas.Retries) string {
	if r.Max == 0 {
		return "none"
	}
	const middle = 0.5 // of what is left to chance
	var waits []string
	for n := 1; n <= min(r.Max, 3); n++ {
		waits = append(waits, r.Wait(n, middle).String())
	}
	s := fmt.Sprintf("%d, after about %s", r.Max, strings.Join(waits, ", "))
	if r.Max > 3 {
		s += fmt.Sprintf(", … %s", r.Wait(r.Max, middle))
	}
	causes := func(word string, list []schemas.Cause) {
		for i, c := range list {
			if i == 0 {
				s += "; " + word + " "
			} else {
				s += ", "
			}
			s += string(c)
		}
	}
	causes("on", r.RetryOn)
	causes("never on", r.NeverOn)
	return s
}

func addValues(f *facts, prefix string, values map[string]json.RawMessage) {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		f.add(prefix+k, string(values[k]))
	}
}

// poolFor returns the pool a run of d goes to: the one that --pool names, or the deployment's own.
func poolFor(ctx context.Context, c *cli.Context, conn *streams.Conn, d schemas.Deployment) (schemas.Pool, error) {
	name := d.Pool
	if c.String("pool") != "" {
		name = c.String("pool")
	}
	return conn.Pool(ctx, name)
}

func (e *env) renderDeployment(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	d, err := namedDeployment(ctx, c, conn)
	if err != nil {
		return err
	}
	vars, err := readPairs("--job-variable", c.StringSlice("job-variable"), looseValue)
	if err != nil {
		return err
	}
	pool, err := poolFor(ctx, c, conn, d)
	if err != nil {
		return err
	}
	job, err := renderJob(pool, d, vars)
	if err != nil {
		return err
	}
	return e.print(c, job, func(bool) error { return writeValue(e.stdout, "json", job) })
}

// renderJob makes the job as a worker of pool would.
func renderJob(pool schemas.Pool, d schemas.Deployment, vars map[string]json.RawMessage) (json.RawMessage, error) {
	t, err := poolType(pool.Type)
	if err != nil {
		return nil, err
	}
	job, err := runners.Job(t, pool, d, vars)
	if err != nil {
		return nil, fmt.Errorf("render deployment %s on work pool %s: %w", d.Name, pool.Name, err)
	}
	return job, nil
}

func (e *env) deleteDeployment(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	if _, err := format(c); err != nil {
		return err
	}
	d, err := namedDeployment(ctx, c, conn)
	if err != nil {
		return err
	}
	if err := e.confirm(c, "Delete deployment "+d.Name+" (requests that wait for it will be refused)"); err != nil {
		return err
	}
	if err := conn.DeleteDeployment(ctx, d.Name); err != nil {
		return err
	}
	return e.print(c, d, func(bool) error {
		fmt.Fprintf(e.stdout, "Deleted deployment %s.\n", d.Name)
		return nil
	})
}
