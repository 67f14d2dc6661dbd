package consumers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// A claim is this worker's right to one attempt of a run: its pending event is the run's last.
type claim struct {
	delivery
	job       job
	attempt   int
	before    past
	last      uint64 // sequence of the run's last event, which this worker wrote, or the cancel that follows it
	state     schemas.State
	unsure    []schemas.RunEvent // were sent after last, and one of them may be stored
	owed      *schemas.RunEvent  // is to be recorded next; nil: nothing is
	claimed   time.Time
	started   time.Time
	ended     time.Time       // by its runner's word; zero: as it is reported
	image     string          // of the execution, or of the attempt before
	execution string          // the infrastructure's name of it, once that is recorded
	underway  atomic.Bool     // the infrastructure has taken it, and has it to be found
	place     string          // where it was found; empty: where one is started now
	details   json.RawMessage // what more the infrastructure told of it last
	lease     *lease
	logs      *streams.LogWriter
	cancel    cancel
}

// run takes one delivery from request to report. Every state that a run can pass is written here. An error means that
// nothing is settled: NATS delivers the request again when the lease runs out.
func (w *Worker) run(ctx context.Context, d delivery) error {
	history, err := w.history(ctx, d) // what was recorded of this run before; most runs have nothing
	if err != nil || history.settled {
		return err
	}
	if pool, _, _ := w.config.current(); pool.Paused && history.last == 0 {
		return d.GiveBack(pool.Lease()) // it was on its way when the pause came
	}
	if history.found != nil {
		return w.resume(ctx, d, history) // a lost worker's execution that still lives
	}
	job, err := w.accept(ctx, d)
	if invalid, ok := errors.AsType[*rejection](err); ok {
		return w.reject(ctx, d, history, invalid)
	} else if err != nil {
		return err
	}
	if history.attempt == 0 && job.expired(time.Now()) {
		return w.conclude(ctx, d, history, expired)
	}

	c := w.newClaim(ctx, d, job, history, history.attempt+1)
	defer w.disown(c)
	if err := w.claim(ctx, c); errors.Is(err, streams.ErrOvertaken) { // pending, by compare-and-set
		return w.overtaken(ctx, d) // another worker has it, or it was cancelled
	} else if refused(err) && history.last == 0 { // delivered again, it would be refused again
		return w.bury(ctx, d, err.Error())
	} else if err != nil {
		return err
	}
	exec, err := w.start(ctx, c)
	switch {
	case letGo(ctx) && err != nil:
		return w.letStartGo(ctx, c, err)
	case errors.Is(err, runners.ErrLetGo) || errors.Is(err, errLeaseLost):
		w.abandonStart(ctx, c)
		return err // whoever has the run next finds what there is
	case err != nil:
		return w.report(ctx, c, startFailure(err))
	}
	return w.follow(ctx, c, exec, w.describe(c, exec, stateOf(exec)))
}

// follow records that the execution runs, or is on its way, holds it until it ends, and reports how.
func (w *Worker) follow(ctx context.Context, c *claim, exec runners.Execution, goesOn *schemas.RunEvent) error {
	if told := goesOn.State == schemas.Pending && goesOn.Reason == "" && c.execution == exec.ID(); !told {
		c.owed = goesOn
	}
	c.execution = exec.ID()
	res, err := w.hold(ctx, c, exec) // running, once it does; renews the lease until the job ends
	if err != nil && !endKnown(err) {
		return err // say nothing, ack nothing: the run is another's, or its end is not known
	}
	return w.reportEnd(ctx, c, exec, res, err) // the final state first, then the ack
}

// reportEnd reports how an execution ended that was held. err is why it was ended, as [endKnown] has it.
func (w *Worker) reportEnd(ctx context.Context, c *claim, exec runners.Execution, res runners.Result, err error) error {
	o := conclusion(res, err).meant(c.job.exitCodes)
	w.describe(c, exec, o.state)
	if res.Ended.After(c.started) && res.Ended.Before(time.Now()) { // by another clock
		c.ended = res.Ended
	}
	return w.report(ctx, c, o)
}

// tell records how far the start of an execution has come. What cannot be recorded soon is told by the next event: the start does not
// wait for NATS.
func (w *Worker) tell(ctx context.Context, c *claim, p runners.Progress) {
	c.learn(p.Details)
	c.underway.Store(p.ID != "")
	e := c.event(w, schemas.Pending)
	e.Execution, e.Reason, e.Message = p.ID, p.Reason, p.Message
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.lease.wait/6)
	defer cancel()
	switch err := w.append(ctx, c, e); {
	case err == nil:
		c.execution = p.ID
	case errors.Is(err, streams.ErrOvertaken): // whoever has the run finds the execution, which must not be undone here
		c.cancel.end(fmt.Errorf("%w: %w", runners.ErrLetGo, err))
	default:
		w.Logger.Warn("progress is not recorded", "run", c.Run, "message", p.Message, "err", err)
	}
}

// newClaim makes the claim of an attempt of a run with that history. A cancel can reach it from now on.
func (w *Worker) newClaim(ctx context.Context, d delivery, j *job, h *history, attempt int) *claim {
	now := time.Now()
	c := &claim{
		delivery: d, job: *j, attempt: attempt, before: h.past(), image: h.event.Image, last: h.last, claimed: now,
		lease: newLease(w.ackWait(), d.Received, now, w.recorded()),
		logs:  w.conn.Logs(d.Pool, d.Deployment, d.Run, attempt),
	}
	c.cancel.init(ctx)
	w.own(c)
	return c
}

// claim appends pending. Until it is stored, nothing is started.
func (w *Worker) claim(ctx context.Context, c *claim) error {
	if late := time.Since(c.Received); late > w.ackWait()/3 {
		return fmt.Errorf("claim run %s: it was received %s ago, and its lease may have run out", c.Run, late.Round(time.Millisecond))
	}
	if unknown := time.Since(w.recorded()); unknown > w.ackWait()/3 {
		return fmt.Errorf("claim run %s: this worker's record was not confirmed for %s", c.Run, unknown.Round(time.Millisecond))
	}
	pending := c.event(w, schemas.Pending)
	pending.Parameters, pending.Variables = c.job.parameters, c.job.variables
	return w.append(ctx, c, pending)
}

// start starts the execution under a name made of run and attempt: starting twice finds the first. The lease is renewed
// meanwhile, since an image may take minutes to come, and a cancel ends it.
func (w *Worker) start(ctx context.Context, c *claim) (runners.Execution, error) {
	spec := runners.Spec{
		Name: executionName(c.Run, c.attempt), Run: c.Run, Attempt: c.attempt, Pool: c.Pool, Queue: c.Queue, Deployment: c.Deployment,
		Worker: w.Name, Parameters: c.job.parameters, Trace: c.Trace, Job: c.job.configuration, Code: c.job.code, Entrypoint: c.job.entrypoint,
		Image: c.image, Output: output{c.logs}, Lease: c.lease.until(), Held: c.lease.holds,
		Tell: func(p runners.Progress) { w.tell(ctx, c, p) },
	}
	unkeep := w.keep(ctx, c, func() { // the lease is over: what is on its way is for the next one to find, and not to be undone
		if c.underway.Load() {
			c.cancel.end(fmt.Errorf("%w: %w", runners.ErrLetGo, errLeaseLost))
		}
	})
	exec, err := w.runner.Start(c.cancel.starting, spec)
	unkeep()
	if err != nil {
		return nil, w.whyNotStarted(ctx, c, err)
	}
	if begins(exec) == nil {
		c.started = time.Now()
	}
	if l, ok := exec.(runners.Leased); ok && c.lease.until().After(spec.Lease) {
		err = l.Lease(c.lease.until())
	}
	return exec, err
}

// whyNotStarted is why there is no execution, beside what the runner says.
func (w *Worker) whyNotStarted(ctx context.Context, c *claim, err error) error {
	if c.cancel.asked() && w.cancelled(context.WithoutCancel(ctx), c) {
		return errCancelled
	}
	if _, permanent := runners.IsPermanent(err); permanent {
		return err
	}
	switch {
	case letGo(c.cancel.starting):
		return fmt.Errorf("%w: %w", runners.ErrLetGo, err)
	case ctx.Err() != nil:
		return errStopped
	case !c.lease.holds(): // there may be one all the same, which the runner was too late to make sure of
		return fmt.Errorf("%w: %w", errLeaseLost, err)
	}
	return err
}

// executionName is a name's key on any infrastructure.
func executionName(run string, attempt int) string { return fmt.Sprintf("%s.%d", run, attempt) }

// report records how the attempt ended and acknowledges the request. An attempt that another follows is requested again, for
// whoever is free when it is due.
func (w *Worker) report(ctx context.Context, c *claim, o outcome) error {
	ctx, cancel := w.reporting(ctx)
	defer cancel()
	unkeep := w.keep(ctx, c, nil)
	if err := c.logs.Flush(ctx); err != nil {
		w.Logger.Warn("output is not complete", "run", c.Run, "err", err)
	}
	var err error
	if c.owed != nil && c.owed.State == schemas.Running { // a run that ran is said to have run
		err = w.append(ctx, c, *c.owed)
	}
	if err == nil {
		err = w.recordEnd(ctx, c, o.next(c.job.retries, c.attempt, c.before, time.Now()))
	}
	unkeep()
	if err != nil {
		return err
	}
	if f, ok := w.runner.(runners.Forgetter); ok {
		f.Forget(executionName(c.Run, c.attempt))
	}
	c.free()            // what follows needs no slot
	return c.AckLater() // the run's state is recorded: a wait here would carry no promise
}

// conclude records how a run stands whose attempt this worker did not make, and acknowledges its request.
func (w *Worker) conclude(ctx context.Context, d delivery, h *history, o outcome) error {
	c := h.claim(d)
	err := w.recordEnd(ctx, c, o)
	if errors.Is(err, streams.ErrOvertaken) {
		return w.overtaken(ctx, d)
	} else if refused(err) && h.last == 0 {
		return w.bury(ctx, d, err.Error())
	} else if err != nil {
		return err
	}
	return w.ack(ctx, d)
}

// event is the run's event for state as far as the claim knows it.
func (c *claim) event(w *Worker, state schemas.State) schemas.RunEvent {
	e := schemas.RunEvent{
		Run: c.Run, Pool: c.Pool, Queue: c.Queue, Deployment: c.Deployment, State: state, Attempt: c.attempt, Worker: w.Name,
		Crashes: c.before.crashes, Excused: c.before.excused, Place: c.place, Image: c.image, Details: c.details, Execution: c.execution,
		Time: time.Now().UTC(), Requested: c.Requested, Sequence: c.Sequence, Parent: c.job.parent, Tags: c.job.tags,
	}
	if e.Place == "" {
		e.Place = w.place(c.job.configuration)
	}
	if !c.claimed.IsZero() {
		at := c.claimed.UTC()
		e.Claimed = &at
	}
	if !c.started.IsZero() {
		at := c.started.UTC()
		e.Started = &at
		if c.job.timeout > 0 {
			deadline := at.Add(c.job.timeout)
			e.Deadline = &deadline
		}
	}
	if state.Final() && !c.claimed.IsZero() {
		e.QueuedMS = milliseconds(c.claimed.Sub(c.Requested))
		if c.started.IsZero() {
			e.ProvisionMS = milliseconds(time.Since(c.claimed))
		} else {
			e.ProvisionMS = milliseconds(c.started.Sub(c.claimed))
			e.RunningMS = milliseconds(cmp.Or(c.ended, time.Now()).Sub(c.started))
		}
	}
	return e
}

func milliseconds(d time.Duration) *int64 {
	ms := max(d, 0).Milliseconds()
	return &ms
}

// emptyObject is the parameters of a run that has none.
var emptyObject = json.RawMessage(`{}`)
