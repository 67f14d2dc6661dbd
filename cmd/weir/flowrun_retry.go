package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

const retryText = `Each becomes a new run that names the old one as its parent, in the same pool and queue, with its parameters, job variables and
tags; timeout and retries are the deployment's as they are now. The same request for the same run is stored once in two minutes, so that a
retry of many which was interrupted can be repeated.`

// rerun is what became of a run that was to be run again.
type rerun struct {
	Parent     string        `json:"parent"`
	State      schemas.State `json:"parent_state,omitempty"`
	Deployment string        `json:"deployment,omitempty"`
	Pool       string        `json:"pool,omitempty"`
	Queue      string        `json:"queue,omitempty"`
	Run        string        `json:"run,omitempty"` // the new one
	Duplicate  bool          `json:"duplicate,omitempty"`
	Error      string        `json:"error,omitempty"` // why there is none
}

// retrying is one flow-run retry.
type retrying struct {
	*env
	conn   *streams.Conn
	params []string
	dry    bool
	format string
	rows   []rerun // for json and yaml only, which are one value
	n      int     // looked at
	failed []error
}

func (e *env) retryRuns(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	f, filter, many, err := chosenRuns(c, "--state, --deployment, --pool or --since")
	if err != nil {
		return err
	}
	x := &retrying{env: e, conn: conn, params: c.StringSlice("param"), dry: c.Bool("dry-run"), format: f, rows: []rerun{}}
	if c.Bool("watch") {
		if many || c.NArg() != 1 || x.dry {
			return usagef("--watch is for one run: name it")
		}
		return x.watched(ctx, c.Args().First())
	}
	if many {
		err = x.all(ctx, c, filter)
	} else {
		for _, run := range c.Args().Slice() {
			var r streams.Recorded
			if r, err = findRun(ctx, conn, run); errors.Is(err, streams.ErrNotFound) || is[*schemas.NameError](err) {
				err = x.done(rerun{Parent: run}, err)
			} else if err == nil {
				err = x.one(ctx, r)
			}
			if err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if f == "json" || f == "yaml" {
		if err := writeValue(e.stdout, f, x.rows); err != nil {
			return err
		}
	}
	if len(x.failed) < 2 {
		return errors.Join(x.failed...)
	}
	return fmt.Errorf("%d of %d runs are not requested again, the first because: %w", len(x.failed), x.n, x.failed[0])
}

// watched runs one again and shows it until it ends.
func (x *retrying) watched(ctx context.Context, run string) error {
	old, err := findRun(ctx, x.conn, run)
	if err != nil {
		return err
	}
	row, err := x.request(ctx, old)
	if err != nil {
		return err
	}
	if x.format == "table" || x.format == "wide" {
		fmt.Fprintf(x.stdout, "Run %s of %s on pool %s repeats %s%s\n", row.Run, row.Deployment, row.Pool, row.Parent, row.note())
	}
	return x.watchAlone(ctx, x.conn, requested{Run: row.Run, Deployment: row.Deployment, Pool: row.Pool, Queue: row.Queue}, x.format)
}

func (r rerun) note() string {
	if r.Duplicate {
		return " (requested before, within two minutes)"
	}
	return ""
}

// one runs a run again. An error is one after which there is no use in going on.
func (x *retrying) one(ctx context.Context, old streams.Recorded) error {
	row, err := x.request(ctx, old)
	if errors.Is(err, streams.ErrUnavailable) || ctx.Err() != nil || is[*usageError](err) {
		return err
	}
	return x.done(row, err)
}

// done shows what became of one.
func (x *retrying) done(row rerun, err error) error {
	x.n++
	if err != nil {
		row.Error = err.Error()
		x.failed = append(x.failed, err)
	}
	switch x.format {
	case "json", "yaml":
		x.rows = append(x.rows, row)
		return nil
	case "jsonl":
		return writeLine(x.stdout, row)
	}
	switch {
	case err != nil:
	case x.dry:
		fmt.Fprintf(x.stdout, "Run %s of %s (%s) would be requested again.\n", row.Parent, row.Deployment, row.State)
	default:
		fmt.Fprintf(x.stdout, "Run %s of %s (%s) is requested again: run %s%s.\n", row.Parent, row.Deployment, row.State, row.Run, row.note())
	}
	return nil
}

// all runs again what the filter lets through and had ended when it was counted.
func (x *retrying) all(ctx context.Context, c *cli.Context, f streams.Filter) error {
	for _, s := range f.States {
		if !s.Final() {
			return usagef("--state %s: only what has ended is run again: completed, failed, crashed, cancelled", s)
		}
	}
	if len(f.States) == 0 {
		f.States = []schemas.State{schemas.Failed, schemas.Crashed}
	}
	now, err := x.conn.ServerTime(ctx)
	if err != nil {
		return err
	}
	if c.IsSet("since") {
		since, err := parseAge(c.String("since"))
		if err != nil {
			return err
		}
		f.Since = now.Add(-since)
	}
	each := func(do func(streams.Recorded) error) error {
		_, err := x.conn.EachRun(ctx, f, 0, func(r streams.Recorded) error {
			if r.Stored.After(now) {
				return nil
			}
			return do(r)
		})
		return err
	}
	n := 0
	if err := each(func(streams.Recorded) error { n++; return nil }); err != nil {
		return err
	}
	if n == 0 {
		if err := known(ctx, x.conn, f.Pool, f.Deployment); err != nil {
			return err
		}
		if x.format == "table" || x.format == "wide" {
			fmt.Fprintln(x.stderr, "There are no such runs.")
		}
		return nil
	}
	if !x.dry {
		if err := x.confirm(c, "Request "+plural(n, "run")+" again"); err != nil {
			return err
		}
	}
	return each(func(r streams.Recorded) error { return x.one(ctx, r) })
}

// request checks what a worker would check, then publishes the request for a run that repeats old.
func (x *retrying) request(ctx context.Context, old streams.Recorded) (rerun, error) {
	row := rerun{Parent: old.Run, State: old.State, Deployment: old.Deployment, Pool: old.Pool, Queue: old.Queue}
	if !old.State.Final() {
		return row, refusef("run %s is %s: only what has ended is run again", old.Run, old.State)
	}
	if old.Reason == schemas.ReasonRejected {
		return row, refusef("run %s was rejected: its request is in the dead letters, retry it with: weir dead-letter retry", old.Run)
	}
	d, err := x.conn.Deployment(ctx, old.Deployment)
	if err != nil {
		return row, err
	}
	r, err := x.conn.Rerun(ctx, old)
	if errors.Is(err, streams.ErrNotFound) {
		return row, refusef("what run %s was given is not known (it was never started, or its events are not kept any more): use weir deployment run %s", old.Run, d.Name)
	} else if err != nil {
		return row, err
	}
	r.Tags = slices.DeleteFunc(slices.Clone(r.Tags), func(t string) bool { return slices.Contains(d.Tags, t) }) // it brings those again
	params, err := readPairs("--param", x.params, typedValue(d.ParameterSchema))
	if err != nil {
		return row, err
	}
	if r.Parameters == nil {
		r.Parameters = params
	} else {
		maps.Copy(r.Parameters, params)
	}
	if err := checkParameters(d, r.Parameters); err != nil {
		return row, refusef("run %s would be rejected: %v; change it with --param", old.Run, err)
	}
	if _, err := checkPlace(ctx, x.conn, d, old.Pool, old.Queue, r.JobVariables); err != nil {
		return row, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return row, fmt.Errorf("write the run request: %w", err)
	}
	if x.dry {
		return row, nil
	}
	answer, err := x.conn.Submit(ctx, streams.Request{
		Pool: old.Pool, Queue: old.Queue, Deployment: d.Name, Body: body, DedupeID: streams.RerunID(old.Run, body),
	})
	row.Run, row.Duplicate = answer.Run, answer.Duplicate
	return row, err
}

// parseAge reads a time span that may be in days: 90m, 1d, 1d12h.
func parseAge(text string) (time.Duration, error) {
	rest, span := text, time.Duration(0)
	if days, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, usagef("--since %q is no time span; write 90m, 12h or 1d", text)
		}
		rest, span = after, time.Duration(n)*24*time.Hour
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return 0, usagef("--since %q is no time span; write 90m, 12h or 1d", text)
		}
		span += d
	}
	if span <= 0 {
		return 0, usagef("--since is %q; give a span above 0, such as 90m or 1d", text)
	}
	return span, nil
}
