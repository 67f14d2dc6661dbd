package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// poolDetails is what work-pool inspect shows.
type poolDetails struct {
	schemas.Pool
	AckWait         schemas.Duration      `json:"ack_wait"` // with the default filled in
	BaseJobTemplate json.RawMessage       `json:"base_job_template"`
	Depth           uint64                `json:"depth"`   // runs waiting
	Running         int                   `json:"running"` // runs held by workers
	Queues          []streams.QueueStatus `json:"queues"`
	Workers         []schemas.Worker      `json:"workers"`
}

func (e *env) inspectPool(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	d, now, err := lookAtPool(ctx, conn, args[0])
	if err != nil {
		return err
	}
	return e.print(c, d, func(wide bool) error { return e.showPool(d, now, wide) })
}

// lookAtPool gathers what is known of a pool, and the time by the NATS server's clock.
func lookAtPool(ctx context.Context, conn *streams.Conn, name string) (poolDetails, time.Time, error) {
	pool, err := conn.Pool(ctx, name)
	if err != nil {
		return poolDetails{}, time.Time{}, err
	}
	d := poolDetails{Pool: pool, AckWait: schemas.Duration(pool.Lease()), BaseJobTemplate: pool.BaseJobTemplate, Workers: []schemas.Worker{}}
	if len(d.BaseJobTemplate) == 0 {
		if t, err := poolType(pool.Type); err == nil {
			d.BaseJobTemplate = t.Template
		}
	}
	if d.Queues, err = conn.QueueStatuses(ctx, pool); err != nil {
		return d, time.Time{}, err
	}
	for _, q := range d.Queues {
		d.Depth += q.Depth
		d.Running += q.Running
	}
	workers, err := conn.Workers(ctx, name)
	if err != nil {
		return d, time.Time{}, err
	}
	d.Workers = append(d.Workers, workers...)
	now, err := conn.ServerTime(ctx)
	return d, now, err
}

func (e *env) showPool(d poolDetails, now time.Time, wide bool) error {
	template := "the type's default"
	if len(d.Pool.BaseJobTemplate) > 0 {
		template = "its own"
	}
	var f facts
	f.add("Name", d.Name)
	f.add("Type", d.Type)
	f.add("Status", poolStatus(d.Pool))
	f.add("Description", d.Description)
	f.add("Limit", limit(d.ConcurrencyLimit))
	f.add("Lease", time.Duration(d.AckWait).String())
	f.add("Template", template+" (shown with --output json)")
	f.add("Waiting", strconv.FormatUint(d.Depth, 10))
	f.add("Running", strconv.Itoa(d.Running))
	f.add("Created", stamp(d.Created))
	if err := e.printFacts(f); err != nil {
		return err
	}
	e.heading("Work queues")
	t := &table{columns: []column{
		{title: "QUEUE"},
		{title: "PRIORITY", right: true},
		{title: "LIMIT", right: true},
		{title: "WAITING", right: true},
		{title: "OLDEST", right: true},
		{title: "RUNNING", right: true},
		{title: "REDELIVERED", right: true, wide: true},
	}}
	for _, q := range d.Queues {
		oldest := "-"
		if q.Oldest != nil {
			oldest = since(now, *q.Oldest)
		}
		t.add(q.Name, priorityText(q.Priority), limit(q.ConcurrencyLimit), strconv.FormatUint(q.Depth, 10), oldest, strconv.Itoa(q.Running), strconv.Itoa(q.Redelivered))
	}
	if err := e.printTable(t, wide); err != nil {
		return err
	}
	e.heading("Workers")
	if len(d.Workers) == 0 {
		if pushes(d.Type) {
			fmt.Fprintln(e.stdout, "none; a server that runs is the worker of a push pool, and its log says why it is not: weir server start, or weir up")
			return nil
		}
		fmt.Fprintf(e.stdout, "none; start one with: %s worker start --pool %s\n", e.again(), d.Name)
		return nil
	}
	return e.printTable(workerTable(d.Workers, now), wide)
}
