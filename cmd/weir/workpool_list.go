package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// poolSummary is a row of work-pool ls.
type poolSummary struct {
	schemas.Pool
	Depth   uint64 `json:"depth"`   // runs waiting
	Running int    `json:"running"` // runs held by workers
	Workers int    `json:"workers"` // online
}

func (e *env) listPools(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	pools, err := conn.Pools(ctx)
	if err != nil {
		return err
	}
	workers, err := conn.Workers(ctx, "")
	if err != nil {
		return err
	}
	rows := []poolSummary{}
	for _, p := range pools {
		row := poolSummary{Pool: p}
		queues, err := conn.QueueStatuses(ctx, p)
		if err != nil {
			return err
		}
		for _, q := range queues {
			row.Depth += q.Depth
			row.Running += q.Running
		}
		for _, w := range workers {
			if w.Pool == p.Name && w.Status == schemas.WorkerOnline {
				row.Workers++
			}
		}
		rows = append(rows, row)
	}
	return e.print(c, rows, func(wide bool) error {
		t := &table{
			columns: []column{
				{title: "NAME"},
				{title: "TYPE"},
				{title: "STATUS", color: stateColor},
				{title: "WAITING", right: true},
				{title: "RUNNING", right: true},
				{title: "WORKERS", right: true},
				{title: "LIMIT", right: true},
				{title: "QUEUES", flex: true},
				{title: "LEASE", wide: true},
				{title: "CREATED", wide: true},
				{title: "DESCRIPTION", flex: true},
			},
			empty: "There are no work pools. Create one with: weir work-pool create NAME --type process",
		}
		for _, p := range rows {
			var queues []string
			for _, q := range p.Queues() {
				queues = append(queues, q.Name)
			}
			t.add(p.Name, p.Type, poolStatus(p.Pool), strconv.FormatUint(p.Depth, 10), strconv.Itoa(p.Running), strconv.Itoa(p.Workers), limit(p.ConcurrencyLimit),
				strings.Join(queues, ","), p.Lease().String(), stamp(p.Created), p.Description)
		}
		return e.printTable(t, wide)
	})
}

func poolStatus(p schemas.Pool) string {
	if p.Paused {
		return "paused"
	}
	return "ready"
}

func limit(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}
