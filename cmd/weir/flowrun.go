package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func flowRunCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "flow-run", Aliases: []string{"run"}, Usage: "look at runs, cancel them and run them again",
		Subcommands: []*cli.Command{
			{
				Name: "ls", Aliases: []string{"list"}, Usage: "list runs, the latest change first, waiting ones before all",
				Flags: outputFlags(
					&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "in this work `POOL` only"},
					&cli.StringFlag{Name: "deployment", Aliases: []string{"d"}, Usage: "of this `DEPLOYMENT` only"},
					&cli.StringSliceFlag{Name: "state", Usage: "in this `STATE` only; may be given again"},
					&cli.IntFlag{Name: "limit", Aliases: []string{"l"}, Usage: "how many at most", Value: 50},
				),
				Action: e.connected(e.listRuns),
			},
			{
				Name: "inspect", Aliases: []string{"info"}, Usage: "show a run with all its states and how long each took", ArgsUsage: "RUN",
				Flags: outputFlags(), Action: e.connected(e.inspectRun),
			},
			{
				Name: "logs", Usage: "print a run's output", ArgsUsage: "RUN",
				Flags: outputFlags(
					&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the run ends"},
					&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "with the time of each line"},
				),
				Action: e.connected(e.printLogs),
			},
			{
				Name: "watch", Usage: "show a run's states and output until it ends; exit code 0 when it completes, else 1", ArgsUsage: "RUN",
				Flags: outputFlags(), Action: e.connected(e.watch),
			},
			{
				Name: "cancel", Usage: "cancel runs wherever they stand, by ID or by filter, and wait until nothing of them is left", ArgsUsage: "[RUN...]",
				Description: cancelText,
				Flags: outputFlags(
					&cli.StringFlag{Name: "reason", Aliases: []string{"r"}, Usage: "`TEXT` for people, kept with the run"},
					&cli.BoolFlag{Name: "no-wait", Usage: "don't wait until the jobs are gone"},
					&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "those in this work `POOL`"},
					&cli.StringFlag{Name: "deployment", Aliases: []string{"d"}, Usage: "those of this `DEPLOYMENT`"},
					&cli.StringSliceFlag{Name: "state", Usage: "those in this `STATE`; may be given again"},
					forceFlag(),
				),
				Action: e.connected(e.cancelRuns),
			},
			{
				Name: "retry", Usage: "run again, as new runs, what has ended, by ID or by filter", ArgsUsage: "[RUN...]",
				Description: retryText,
				Flags: outputFlags(
					&cli.StringSliceFlag{Name: "param", Aliases: []string{"p"}, Usage: "change a parameter, `KEY=VALUE`; may be given again"},
					&cli.StringFlag{Name: "pool", Usage: "those in this work `POOL`"},
					&cli.StringFlag{Name: "deployment", Aliases: []string{"d"}, Usage: "those of this `DEPLOYMENT`"},
					&cli.StringSliceFlag{Name: "state", Usage: "those in this final `STATE`; may be given again"},
					&cli.StringFlag{Name: "since", Usage: "those that ended within this `TIME`, such as 90m or 1d"},
					&cli.BoolFlag{Name: "dry-run", Usage: "only show which runs would be requested again"},
					&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show states and output until the new run ends; for one run"},
					forceFlag(),
				),
				Action: e.connected(e.retryRuns),
			},
		},
	}
}

// allStates is every state that flow-run ls knows.
func allStates() []string {
	names := []string{string(schemas.Scheduled)}
	for _, s := range schemas.States {
		names = append(names, string(s))
	}
	return names
}

// runFilter reads --pool, --deployment and --state.
func runFilter(c *cli.Context) (streams.Filter, error) {
	f := streams.Filter{Pool: c.String("pool"), Deployment: c.String("deployment")}
	for _, kind := range [][2]string{{"work pool", f.Pool}, {"deployment", f.Deployment}} {
		if kind[1] != "" {
			if err := schemas.CheckName(kind[0], kind[1]); err != nil {
				return f, err
			}
		}
	}
	for _, list := range c.StringSlice("state") {
		for s := range strings.SplitSeq(list, ",") {
			s = strings.ToLower(strings.TrimSpace(s))
			if !slices.Contains(allStates(), s) {
				if near := schemas.Nearest(s, allStates()); near != "" {
					return f, usagef("--state %q is not a state; did you mean %q?", s, near)
				}
				return f, usagef("--state %q is not a state; there are %s", s, strings.Join(allStates(), ", "))
			}
			f.States = append(f.States, schemas.State(s))
		}
	}
	return f, nil
}

func (e *env) listRuns(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	f, err := runFilter(c)
	if err != nil {
		return err
	}
	if f.Limit = c.Int("limit"); f.Limit < 1 {
		return usagef("--limit is %d; give 1 or more", f.Limit)
	}
	runs, err := findRuns(ctx, conn, f)
	if err != nil {
		return err
	}
	rows := []schemas.RunEvent{}
	for _, r := range runs {
		rows = append(rows, r.RunEvent)
	}
	if len(rows) == 0 {
		if err := known(ctx, conn, f.Pool, f.Deployment); err != nil {
			return err
		}
	}
	return e.print(c, rows, func(wide bool) error {
		now, err := conn.ServerTime(ctx)
		if err != nil {
			return err
		}
		t := &table{
			columns: []column{
				{title: "RUN"},
				{title: "DEPLOYMENT", flex: true},
				{title: "POOL", flex: true},
				{title: "QUEUE", wide: true},
				{title: "STATE", color: func(cell string) string {
					state, _, _ := strings.Cut(cell, " ")
					return stateColor(state)
				}},
				{title: "AGE", right: true},
				{title: "TOOK", right: true},
				{title: "WORKER", flex: true},
				{title: "ATTEMPT", right: true, wide: true},
				{title: "WHY", flex: true},
			},
			empty: "There are no such runs. Request one with: weir deployment run DEPLOYMENT",
		}
		for _, r := range rows {
			t.add(r.Run, r.Deployment, r.Pool, r.Queue, strings.TrimSpace(string(r.State)+" "+due(r, now)), since(now, r.Requested), tookMS(r.RunningMS), dash(r.Worker), strconv.Itoa(r.Attempt),
				strings.TrimSpace(string(r.Reason)+" "+r.Message))
		}
		return e.printTable(t, wide)
	})
}

// known refuses a filter by what does not exist, which found nothing. What is gone may still have runs.
func known(ctx context.Context, conn *streams.Conn, pool, deployment string) error {
	if pool != "" {
		if _, err := conn.Pool(ctx, pool); err != nil {
			return err
		}
	}
	if deployment != "" {
		if _, err := conn.Deployment(ctx, deployment); err != nil {
			return err
		}
	}
	return nil
}

// due says when a retrying run's next attempt is: in 8s.
func due(r schemas.RunEvent, now time.Time) string {
	switch {
	case r.State != schemas.Retrying || r.RetryAt == nil:
		return ""
	case r.RetryAt.After(now):
		return "in " + age(r.RetryAt.Sub(now)+time.Second-1) // rounded up
	}
	return "now"
}

// findRuns returns runs that wait, newest first, then those that somebody has claimed, newest first.
func findRuns(ctx context.Context, conn *streams.Conn, f streams.Filter) ([]streams.Recorded, error) {
	var out []streams.Recorded
	if len(f.States) == 0 || slices.Contains(f.States, schemas.Scheduled) {
		pools, err := conn.Pools(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range pools {
			if f.Pool != "" && p.Name != f.Pool {
				continue
			}
			waiting, err := conn.Waiting(ctx, p, f.Limit)
			if err != nil {
				return nil, err
			}
			for _, r := range waiting {
				if f.Deployment == "" || r.Deployment == f.Deployment {
					out = append(out, r)
				}
			}
		}
		slices.SortStableFunc(out, func(a, b streams.Recorded) int { return b.Stored.Compare(a.Stored) })
	}
	if claimed := slices.DeleteFunc(slices.Clone(f.States), func(s schemas.State) bool { return s == schemas.Scheduled }); len(f.States) == 0 || len(claimed) > 0 {
		f.States = claimed
		runs, err := conn.Runs(ctx, f)
		if err != nil {
			return nil, err
		}
		out = append(out, runs...)
	}
	return out[:min(len(out), f.Limit)], nil
}

// findRun returns where a run stands.
func findRun(ctx context.Context, conn *streams.Conn, run string) (streams.Recorded, error) {
	r, err := conn.Run(ctx, run)
	if errors.Is(err, streams.ErrNotFound) {
		return r, fmt.Errorf("%w; see the latest with: weir flow-run ls", err)
	}
	return r, err
}

func (e *env) printLogs(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	args, err := arguments(c, "RUN")
	if err != nil {
		return err
	}
	f, err := format(c)
	if err != nil {
		return err
	}
	if _, err := findRun(ctx, conn, args[0]); err != nil {
		return err
	}
	lines := []streams.LogLine{}
	err = conn.ReadLogs(ctx, args[0], c.Bool("follow"), func(l streams.LogLine) error {
		switch {
		case f == "jsonl":
			return writeLine(e.stdout, l)
		case f == "json" || f == "yaml":
			lines = append(lines, l)
			return nil
		case c.Bool("timestamps") || f == "wide":
			return e.printLogLine(l)
		}
		end := "\n"
		if l.Continued {
			end = ""
		}
		_, err := fmt.Fprint(e.stdout, e.outputLine(l.Line), end)
		return err
	})
	if err != nil || f != "json" && f != "yaml" {
		return err
	}
	return writeValue(e.stdout, f, lines)
}

func (e *env) watch(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	args, err := arguments(c, "RUN")
	if err != nil {
		return err
	}
	f, err := format(c)
	if err != nil {
		return err
	}
	r, err := findRun(ctx, conn, args[0])
	if err != nil {
		return err
	}
	if f == "table" || f == "wide" {
		fmt.Fprintf(e.stdout, "Run %s of %s on pool %s\n", r.Run, r.Deployment, r.Pool)
	}
	return e.watchAlone(ctx, conn, requested{Run: r.Run, Deployment: r.Deployment, Pool: r.Pool, Queue: r.Queue}, f)
}
