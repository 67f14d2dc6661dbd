package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func workerCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "worker", Usage: "start workers and look at them",
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
				},
				Action: func(c *cli.Context) error { return startWorker(c.Context, e, c) },
			},
			{
				Name: "ls", Aliases: []string{"list"}, Usage: "list workers, of all work pools or of one",
				Flags:  outputFlags(&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "of this work `POOL` only"}),
				Action: e.connected(e.listWorkers),
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
