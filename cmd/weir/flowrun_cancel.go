package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

const cancelText = `A run that waits is cancelled at once. One that runs gets the polite signal, and after its deployment's grace period everything
it has started is killed. The same by message: nats pub weir.cancel.POOL.RUN TEXT
Exit codes: 0 cancelled, 3 there is no such run, 4 it has ended already, or ended otherwise before the cancel reached it.`

// cancelled is what became of a run that was to be cancelled.
type cancelled struct {
	Run        string        `json:"run"`
	Pool       string        `json:"pool"`
	Deployment string        `json:"deployment,omitempty"`
	State      schemas.State `json:"state,omitempty"`
	Worker     string        `json:"worker,omitempty"` // who stops the job
	Error      string        `json:"error,omitempty"`  // why the run is not cancelled
}

// cancelling is one flow-run cancel.
type cancelling struct {
	*env
	conn   *streams.Conn
	why    string
	format string
	rows   []cancelled // of those that were named, or whose jobs are still there
	done   int         // cancelled
	failed []error
}

func (e *env) cancelRuns(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	f, filter, many, err := chosenRuns(c, "--pool, --deployment or --state")
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(filter.States, schemas.State.Final); i >= 0 {
		return usagef("--state %s: a run that is %s has ended, it cannot be cancelled", filter.States[i], filter.States[i])
	}
	x := &cancelling{env: e, conn: conn, why: c.String("reason"), format: f}
	if many {
		err = x.all(ctx, c, filter)
	} else {
		err = x.named(ctx, c.Args().Slice())
	}
	if err == nil && !c.Bool("no-wait") {
		err = x.wait(ctx)
	}
	if err != nil {
		return err
	}
	if f != "table" && f != "wide" {
		if err := writeValue(e.stdout, f, x.rows); err != nil {
			return err
		}
	}
	if len(x.failed) < 2 {
		return errors.Join(x.failed...)
	}
	return fmt.Errorf("%d runs are not cancelled, the first because: %w", len(x.failed), x.failed[0])
}

// chosenRuns reads which runs c means and how it is to tell of them: many that the filter matches, or those that are named. It refuses both
// and neither. flags are those that make the filter, for people.
func chosenRuns(c *cli.Context, flags string) (output string, filter streams.Filter, many bool, err error) {
	if output, err = format(c); err != nil {
		return "", filter, false, err
	}
	if filter, err = runFilter(c); err != nil {
		return "", filter, false, err
	}
	many = c.IsSet("pool") || c.IsSet("deployment") || c.IsSet("state") || c.IsSet("since")
	switch {
	case many && c.Args().Present():
		err = usagef("%s takes runs, or %s, not both", c.Command.HelpName, flags)
	case !many && !c.Args().Present():
		err = usagef("%s needs a RUN, or %s: see the runs with: weir flow-run ls", c.Command.HelpName, flags)
	}
	return output, filter, many, err
}

func (x *cancelling) named(ctx context.Context, runs []string) error {
	for _, run := range runs {
		r, err := findRun(ctx, x.conn, run)
		if err == nil {
			err = x.one(ctx, r.Pool, run)
		} else if errors.Is(err, streams.ErrNotFound) || is[*schemas.NameError](err) {
			x.fail(cancelled{Run: run}, err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// one cancels a run. An error is one after which there is no use in going on.
func (x *cancelling) one(ctx context.Context, pool, run string) error {
	event, err := consumers.Cancel(ctx, x.conn, pool, run, x.why)
	row := cancelled{Run: run, Pool: pool, Deployment: event.Deployment, State: event.State, Worker: event.Worker}
	switch {
	case errors.Is(err, consumers.ErrFinal):
		x.fail(row, refusef("%v", err))
	case errors.Is(err, streams.ErrNotFound):
		x.fail(row, err)
	case err != nil:
		return err
	case event.State == schemas.Cancelled:
		x.end(row)
	default:
		x.rows = append(x.rows, row)
		x.say("Run %s is %s: worker %s stops its job.\n", run, row.State, row.Worker)
	}
	return nil
}

func (x *cancelling) fail(row cancelled, err error) {
	row.Error = err.Error()
	x.rows, x.failed = append(x.rows, row), append(x.failed, err)
}

// end tells that a run is cancelled.
func (x *cancelling) end(row cancelled) {
	x.done++
	if x.format != "table" && x.format != "wide" {
		x.rows = append(x.rows, row)
		return
	}
	x.say("Run %s is %s.\n", row.Run, row.State)
}

func (x *cancelling) say(format string, args ...any) {
	if x.format == "table" || x.format == "wide" {
		fmt.Fprintf(x.stdout, format, args...)
	}
}

// all cancels what the filter lets through and was requested before now: first it counts, and asks.
func (x *cancelling) all(ctx context.Context, c *cli.Context, f streams.Filter) error {
	now, err := x.conn.ServerTime(ctx)
	if err != nil {
		return err
	}
	before := func(r streams.Recorded) bool { return !r.Requested.After(now) }
	n := 0
	err = eachLive(ctx, x.conn, f, func(r streams.Recorded) error {
		if before(r) {
			n++
		}
		return nil
	})
	if err != nil {
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
	if err := x.confirm(c, "Cancel "+plural(n, "run")); err != nil {
		return err
	}
	return eachLive(ctx, x.conn, f, func(r streams.Recorded) error {
		if !before(r) {
			return nil
		}
		err := x.one(ctx, r.Pool, r.Run)
		if n := len(x.failed); n > 0 && is[*refusedError](x.failed[n-1]) { // it has ended meanwhile, as many do
			x.failed, x.rows = x.failed[:n-1], x.rows[:len(x.rows)-1]
		}
		return err
	})
}

// eachLive calls each for the runs that can be cancelled and that f lets through: those that nobody has claimed first. A run
// that changes meanwhile may come again.
func eachLive(ctx context.Context, conn *streams.Conn, f streams.Filter, each func(streams.Recorded) error) error {
	if len(f.States) == 0 {
		f.States = []schemas.State{schemas.Scheduled, schemas.Pending, schemas.Running, schemas.Retrying}
	}
	if slices.Contains(f.States, schemas.Scheduled) {
		pools, err := conn.Pools(ctx)
		if err != nil {
			return err
		}
		for _, p := range pools {
			if f.Pool != "" && f.Pool != p.Name {
				continue
			}
			err := conn.EachWaiting(ctx, p.Name, func(s streams.Stored) error {
				if f.Deployment != "" && f.Deployment != s.Deployment {
					return nil
				}
				return each(s.Recorded(p))
			})
			if err != nil {
				return err
			}
		}
	}
	for from, more := uint64(0), true; more; {
		var err error
		more = false
		from, err = conn.EachRun(ctx, f, from, func(r streams.Recorded) error {
			more = true
			return each(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// wait shows what is waited for until every job that was to be stopped is gone.
func (x *cancelling) wait(ctx context.Context) error {
	progress := x.startProgress("")
	defer progress.end()
	for i := range x.rows {
		row := &x.rows[i]
		if row.State != schemas.Cancelling || row.Error != "" {
			continue
		}
		progress.say("waiting for worker " + row.Worker + " to stop run " + row.Run)
		var last streams.Recorded
		err := x.conn.WatchRun(ctx, row.Run, func(r streams.Recorded) error { last = r; return nil })
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		switch row.State = last.State; last.State {
		case schemas.Cancelled:
			x.done++
			progress.print(func() { x.say("Run %s is %s.\n", row.Run, row.State) })
		default:
			err := refusef("run %s ended before the cancel reached it: it is %s", row.Run, last.State)
			row.Error, x.failed = err.Error(), append(x.failed, err)
		}
	}
	return nil
}
