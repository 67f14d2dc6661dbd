package main

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// runDetails is what flow-run inspect shows.
type runDetails struct {
	schemas.RunEvent                    // the last
	Parameters       json.RawMessage    `json:"parameters,omitempty"`
	Events           []schemas.RunEvent `json:"events"` // oldest first
}

func (e *env) inspectRun(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	args, err := arguments(c, "RUN")
	if err != nil {
		return err
	}
	last, err := findRun(ctx, conn, args[0])
	if err != nil {
		return err
	}
	d := runDetails{RunEvent: last.RunEvent, Events: []schemas.RunEvent{}}
	if last.State != schemas.Scheduled {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		err := conn.WatchRun(ctx, args[0], func(r streams.Recorded) error {
			d.Events = append(d.Events, r.RunEvent)
			if len(r.Parameters) > 0 {
				d.Parameters = r.Parameters
			}
			if r.Sequence >= last.Sequence {
				d.RunEvent = r.RunEvent
				cancel()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return e.print(c, d, func(wide bool) error {
		now, err := conn.ServerTime(ctx)
		if err != nil {
			return err
		}
		return e.showRun(d, now, wide)
	})
}

func (e *env) showRun(d runDetails, now time.Time, wide bool) error {
	var f facts
	f.add("Run", d.Run)
	f.add("Deployment", d.Deployment)
	f.add("Pool", d.Pool)
	f.add("Queue", d.Queue)
	f.add("State", title(d.State))
	f.add("Reason", string(d.Reason))
	f.add("Message", d.Message)
	f.add("Worker", d.Worker)
	f.add("Execution", d.Execution)
	f.add("Image", d.Image)
	if d.Attempt > 0 {
		f.add("Attempt", strconv.Itoa(d.Attempt))
	}
	if d.Crashes > 0 {
		f.add("Crashes", strconv.Itoa(d.Crashes)+" of the attempts were lost to the infrastructure")
	}
	if d.Excused > 0 {
		f.add("Excused", strconv.Itoa(d.Excused)+" of the attempts ended without being anybody's fault")
	}
	if when := due(d.RunEvent, now); when != "" {
		f.add("Next attempt", when+" ("+stamp(*d.RetryAt)+")")
	}
	if d.ExitCode != nil {
		f.add("Exit code", strconv.Itoa(*d.ExitCode))
	}
	f.add("Signal", d.Signal)
	f.add("Tags", strings.Join(d.Tags, ", "))
	f.add("Parent", d.Parent)
	f.add("Parameters", string(d.Parameters))
	f.add("Result", string(d.Result))
	f.add("Requested", stamp(d.Requested)+" ("+since(now, d.Requested)+" ago)")
	if d.QueuedMS != nil {
		f.add("Queued for", tookMS(d.QueuedMS))
	}
	if d.ProvisionMS != nil {
		f.add("Prepared for", tookMS(d.ProvisionMS))
	}
	if d.RunningMS != nil {
		f.add("Ran for", tookMS(d.RunningMS))
	}
	if err := e.printFacts(f); err != nil {
		return err
	}
	e.heading("States")
	return e.printTable(stateTable(d, now), wide)
}

// stateTable lists a run's states, each with how long it lasted; the last one of a live run lasts until now.
func stateTable(d runDetails, now time.Time) *table {
	t := &table{columns: []column{
		{title: "TIME"},
		{title: "STATE", color: stateColor},
		{title: "FOR", right: true},
		{title: "ATTEMPT", right: true, wide: true},
		{title: "WORKER", flex: true, wide: true},
		{title: "WHAT", flex: true},
	}}
	next := func(i int) time.Time {
		if i+1 < len(d.Events) {
			return d.Events[i+1].Time
		}
		return now
	}
	t.add(clock(d.Requested), title(schemas.Scheduled), took(next(-1).Sub(d.Requested)), "", "", "request "+strconv.FormatUint(d.Sequence, 10)+" of pool "+d.Pool)
	for i, r := range d.Events {
		lasted := "-"
		if !r.State.Final() {
			lasted = took(next(i).Sub(r.Time))
		}
		t.add(clock(r.Time), title(r.State), lasted, strconv.Itoa(r.Attempt), r.Worker, stateSentence(r))
	}
	return t
}
