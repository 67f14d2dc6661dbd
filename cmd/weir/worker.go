package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func workerCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "worker", Usage: "start workers, look at them and drain them",
		Subcommands: []*cli.Command{
			{
				Name: "start", Usage: "take runs from a work pool and execute them", Description: workerStartText,
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "the work `POOL` to serve"},
					&cli.StringSliceFlag{Name: "work-queue", Aliases: []string{"q"}, Usage: "a work `QUEUE` to take from (default: all); may be given again"},
					&cli.IntFlag{Name: "limit", Aliases: []string{"l"}, Usage: "runs held at once", Value: defaultSlots, DefaultText: slotsText, EnvVars: []string{"WEIR_WORKER_LIMIT"}},
					&cli.StringFlag{Name: "name", Aliases: []string{"n"}, Usage: "the worker's `NAME`, the same at each start (default: from host and pool)"},
					&cli.StringFlag{Name: "state-dir", Usage: "`DIR` of what must survive a restart of the worker (default: below XDG_STATE_HOME)"},
					&cli.StringFlag{Name: "code", Usage: "`DIR` in which entrypoints are found where the deployment's own folder is not here", Value: "."},
					&cli.BoolFlag{Name: "run-once", Usage: "take one run, wait until it ends, then end: for a CI job, or a KEDA ScaledJob, which starts a worker for each run"},
					&cli.DurationFlag{
						Name: "idle-exit", DefaultText: "never",
						Usage: "end when no run has been held for so long, such as `5m`: for machines that cost money while they wait",
					},
					&cli.DurationFlag{
						Name: "drain-timeout", DefaultText: "wait",
						Usage: "stop what still runs so long after the drain began, such as `90s`: for deploys, whose system kills the worker in the end; what is stopped is handed back",
					},
				},
				Action: func(c *cli.Context) error { return startWorker(c.Context, e, c) },
			},
			{
				Name: "ls", Aliases: []string{"list"}, Usage: "list workers, of all work pools or of one",
				Flags:  outputFlags(&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "of this work `POOL` only"}),
				Action: e.connected(e.listWorkers),
			},
			{
				Name: "drain", Usage: "let a worker take no more runs and end when those it holds have ended", ArgsUsage: "WORKER",
				Flags:  outputFlags(&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "the work `POOL` it serves"}),
				Action: e.connected(e.drainWorker),
			},
		},
	}
}

func (e *env) listWorkers(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	pool := c.String("pool")
	if pool != "" {
		if _, err := conn.Pool(ctx, pool); err != nil {
			return err
		}
	}
	workers, err := conn.Workers(ctx, pool)
	if err != nil {
		return err
	}
	return e.print(c, workers, func(wide bool) error {
		now, err := conn.ServerTime(ctx)
		if err != nil {
			return err
		}
		t := workerTable(workers, now)
		t.empty = "No worker is there. Start one with: weir worker start --pool " + dashOr(pool, "POOL")
		return e.printTable(t, wide)
	})
}

// drained is what worker drain prints.
type drained struct {
	Worker string `json:"worker"`
	Pool   string `json:"pool"`
	streams.Draining
}

func (e *env) drainWorker(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	args, err := arguments(c, "WORKER")
	if err != nil {
		return err
	}
	pool, err := poolOf(ctx, c, conn)
	if err != nil {
		return err
	}
	answer, err := conn.DrainWorker(ctx, pool.Name, args[0])
	if errors.Is(err, streams.ErrNotFound) {
		return e.notOnline(ctx, conn, pool.Name, args[0])
	} else if err != nil {
		return err
	}
	return e.print(c, drained{Worker: args[0], Pool: pool.Name, Draining: answer}, func(bool) error {
		fmt.Fprintf(e.stdout, "Worker %s takes no more runs and ends", args[0])
		if answer.Running > 0 {
			fmt.Fprintf(e.stdout, " when the %s it holds %s ended", plural(answer.Running, "run"), map[bool]string{true: "has", false: "have"}[answer.Running == 1])
		}
		fmt.Fprintln(e.stdout, ".")
		return nil
	})
}

// notOnline says of a worker that did not answer which ones would.
func (e *env) notOnline(ctx context.Context, conn *streams.Conn, pool, name string) error {
	workers, err := conn.Workers(ctx, pool)
	if err != nil {
		return err
	}
	var online []string
	for _, w := range workers {
		if w.Status != schemas.WorkerOffline && w.Name != name {
			online = append(online, w.Name)
		}
	}
	s := fmt.Sprintf("worker %q of work pool %q is not online", name, pool)
	if near := schemas.Nearest(name, online); near != "" {
		s += fmt.Sprintf("; did you mean %q?", near)
	} else if len(online) > 0 {
		s += "; online are " + strings.Join(online, ", ")
	}
	return &missingError{s + "; see them with: weir worker ls --pool " + pool}
}

func dashOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

func workerTable(workers []schemas.Worker, now time.Time) *table {
	t := &table{columns: []column{
		{title: "NAME", flex: true},
		{title: "POOL"},
		{title: "STATUS", color: stateColor},
		{title: "SEEN", right: true},
		{title: "QUEUES", flex: true},
		{title: "SLOTS", right: true},
		{title: "RUNS", flex: true},
		{title: "VERSION", flex: true},
		{title: "HOST", flex: true},
		{title: "PID", right: true, wide: true},
		{title: "TYPE", wide: true},
		{title: "UP", right: true},
	}}
	for _, w := range workers {
		up := since(now, w.Started)
		if w.Status == schemas.WorkerOffline {
			up = "-"
		}
		t.add(w.Name, w.Pool, string(w.Status), since(now, w.Seen), strings.Join(w.Queues, ","), strconv.Itoa(w.Used)+"/"+strconv.Itoa(w.Slots),
			dash(strings.Join(w.Runs, ",")), w.Version, w.Host, strconv.Itoa(w.PID), w.Type, up)
	}
	return t
}
