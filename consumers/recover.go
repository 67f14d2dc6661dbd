package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// history is what the event log says of a run before this worker has written anything.
type history struct {
	settled bool              // nothing is left to do: the delivery is dealt with
	last    uint64            // sequence of its last event, 0: none
	attempt int               // the last attempt that was made
	found   runners.Execution // a lost worker's execution that still lives
	event   streams.Recorded  // the last event, where there is one
	logs    *streams.LogWriter
}

// What most deliveries find, which is not changed.
var (
	unheard = &history{}
	settled = &history{settled: true}
)

// history looks up what was recorded of the run, if anything can have been: most requests are delivered once and not named,
// and for those the claim's compare-and-set asks the question for nothing.
func (w *Worker) history(ctx context.Context, d delivery) (*history, error) {
	if d.Deliveries == 1 && !d.Named || !schemas.ValidName(d.Deployment) || !schemas.ValidName(d.Run) {
		return unheard, nil
	}
	last, err := w.lastUnder(ctx, d)
	if err == nil && last.Deployment != d.Deployment {
		return settled, w.clash(ctx, d, last)
	}
	if errors.Is(err, streams.ErrNotFound) {
		if d.Attempt > 1 {
			return settled, w.bury(ctx, d, fmt.Sprintf("attempt %d of run %s is asked for, but no event of it is kept (any more): nothing is started; "+
				"a new run is started by: weir dead-letter retry", d.Attempt, d.Run))
		}
		return unheard, nil
	} else if err != nil {
		return nil, err
	}
	h := &history{last: last.Sequence, attempt: last.Attempt, event: last}
	switch mine := last.RunEvent.Sequence == d.Sequence; { // did whoever wrote the event have this very message?
	case !last.Requested.Equal(d.Requested):
		return settled, w.duplicate(ctx, d, last)
	case last.State.Final():
		return settled, w.ack(ctx, d)
	case last.State == schemas.Retrying && last.RetryAt == nil && mine: // this very message carries the run on
		return h, nil
	case last.State == schemas.Retrying && mine: // the next attempt may not be stored yet; stored twice it is told apart
		err := w.again(ctx, d, *last.RetryAt, last.Attempt+1)
		if refused(err) {
			return settled, w.conclude(ctx, d, h, unfollowed(last.Reason, last.Message, err))
		} else if err != nil {
			return h, err
		}
		return settled, w.ack(ctx, d)
	case last.State == schemas.Retrying && last.RetryAt != nil && d.Attempt == last.Attempt+1:
		return h, nil
	case mine:
		return w.lost(ctx, d, h)
	}
	return settled, w.ack(ctx, d) // a copy, or one whose acknowledgement was lost: the run has gone on without it
}

// past is what of the attempts before the one that follows was not the job's own to fail.
func (h *history) past() past { return past{h.event.Crashes, h.event.Excused} }

// claim is that of the last attempt, whose worker has lost it, for what is to be said of it.
func (h *history) claim(d delivery) *claim {
	return &claim{
		delivery: d, attempt: h.attempt, before: h.past(), image: h.event.Image, last: h.last,
		execution: h.event.Execution, place: h.event.Place, details: h.event.Details,
	}
}

// job is what the log says of the execution that was found.
func (h *history) job() *job {
	j := &job{grace: defaultGrace, parent: h.event.Parent, tags: h.event.Tags}
	if h.event.Started != nil && h.event.Deadline != nil {
		j.timeout = h.event.Deadline.Sub(*h.event.Started)
	}
	return j
}

// overtaken leaves the run to whoever wrote its last event, and ends the request where that was done with another one.
func (w *Worker) overtaken(ctx context.Context, d delivery) error {
	last, err := w.lastUnder(ctx, d)
	switch {
	case err != nil:
		return err
	case last.Deployment != d.Deployment:
		return w.clash(ctx, d, last)
	case !last.Requested.Equal(d.Requested):
		return w.duplicate(ctx, d, last)
	case last.State.Final() || last.RunEvent.Sequence != d.Sequence:
		return w.ack(ctx, d)
	}
	return nil
}

// lastUnder returns the last event under the run's ID. One that was given by hand may be another deployment's.
func (w *Worker) lastUnder(ctx context.Context, d delivery) (streams.Recorded, error) {
	if d.Named {
		return w.conn.LastEventIn(ctx, d.Pool, d.Run)
	}
	return w.conn.LastEvent(ctx, d.Pool, d.Deployment, d.Run)
}

// clash ends a request that was given the ID of another deployment's run.
func (w *Worker) clash(ctx context.Context, d delivery, first streams.Recorded) error {
	return w.bury(ctx, d, fmt.Sprintf("run ID %s belongs to a run of deployment %s, requested at %s: choose another", d.Run, first.Deployment,
		first.Requested.Format(time.RFC3339)))
}

// duplicate ends a request whose run ID was claimed by another one before. Publishing a named run twice is how idempotency
// is asked for; anything else is an ID that a later stream of the same name gave again, and is not dropped in silence.
func (w *Worker) duplicate(ctx context.Context, d delivery, first streams.Recorded) error {
	if d.Named {
		w.Logger.Info("request names a run that was claimed before; it is acknowledged and nothing is started", "run", d.Run, "first", first.Requested)
		return w.ack(ctx, d)
	}
	why := fmt.Sprintf("run ID %s belongs to a request of %s: the stream of pool %s was made anew with its count at the start", d.Run,
		first.Requested.Format(time.RFC3339), d.Pool)
	return w.bury(ctx, d, why)
}

// lost decides about a run whose owner did not renew its lease in time.
func (w *Worker) lost(ctx context.Context, d delivery, h *history) (*history, error) {
	left, err := w.mayLive(ctx, h)
	if err != nil {
		return h, err
	}
	if left > 0 {
		return settled, w.giveBack(d, left)
	}
	if w.runner != nil { // the server's keeper has none, and looks after executions only that end with their lease
		if err := w.find(ctx, d.Delivery, h); !errors.Is(err, runners.ErrGone) {
			return h, err
		}
	}
	gone := "its execution is gone"
	if w.elsewhere(h) {
		left, err := w.mayReturn(ctx, h)
		if err != nil {
			return h, err
		}
		if left > 0 {
			return settled, w.giveBack(d, left)
		}
		gone = fmt.Sprintf("its execution is at %s, where no worker goes on with it", h.event.Place)
	}
	o := crashed(schemas.ReasonWorkerLost, fmt.Sprintf("worker %s did not renew its lease, and %s", h.event.Worker, gone))
	switch {
	case h.event.State == schemas.Pending && h.event.Reason == schemas.ReasonWorkerStopped:
		o = workerStopped(h.event.Message)
	case h.event.State == schemas.Pending && h.event.Reason == schemas.ReasonCapacity: // it had begun nothing yet
		o.crash = false
	case h.event.State == schemas.Cancelling:
		o = outcome{state: schemas.Cancelled, reason: schemas.ReasonCancelRequest, message: h.event.Message + "; its worker is gone, and " + gone}
	}
	retries, err := w.retries(ctx, d)
	if err != nil {
		return h, err
	}
	o = o.next(retries, h.attempt, h.past(), time.Now())
	if excused := o.excused > h.event.Excused; o.state != schemas.Retrying || o.crashes == h.event.Crashes && !excused || w.runner == nil {
		return settled, w.conclude(ctx, d, h, o)
	}
	o.retryAt = time.Time{} // no other request is published for it, by whoever reads this
	c := h.claim(d)
	err = w.append(ctx, c, o.event(c.event(w, o.state)))
	if errors.Is(err, streams.ErrOvertaken) || err == nil && c.state.Final() {
		return settled, w.overtaken(ctx, d)
	}
	h.last, h.event.Crashes, h.event.Excused = c.last, o.crashes, o.excused
	return h, err // the next attempt is this worker's: it has the request in its hands, which carries the run on, and a slot
}

// giveBack has a request delivered again when that time is over, or an ack wait: the next one who gets it may know more.
func (w *Worker) giveBack(d delivery, left time.Duration) error {
	return d.GiveBack(min(left, w.ackWait()) + 10*time.Millisecond)
}

// find looks up the execution of the run's last attempt, and gives its output to the run's log.
func (w *Worker) find(ctx context.Context, d *streams.Delivery, h *history) error {
	h.logs = w.conn.Logs(d.Pool, d.Deployment, d.Run, h.attempt)
	exec, err := w.runner.Find(ctx, runners.Sought{
		Name: executionName(d.Run, h.attempt), ID: h.event.Execution, Place: h.event.Place, Output: output{h.logs},
	})
	if err == nil {
		h.found = exec
	}
	return err
}

// place is where an execution of that job configuration is started now, if there is more than one place.
func (w *Worker) place(job json.RawMessage) string {
	if p, ok := w.runner.(runners.Placed); ok {
		return p.Place(job)
	}
	return ""
}

// elsewhere tells whether the last attempt's execution is said to be at a place where this worker does not find it.
func (w *Worker) elsewhere(h *history) bool {
	p, ok := w.runner.(runners.Placed)
	return ok && h.event.Place != "" && !p.Reaches(h.event.Place)
}

// elsewhereLeases is for how many ack waits a lost worker's execution is left alone by those who cannot look for it: it may go on where
// it is, and a worker of that place, which is started again as a rule, goes on with it.
const elsewhereLeases = 10

// mayReturn is how long the owner of a run is waited for that has lost it, or another worker of its place. 0: no longer.
func (w *Worker) mayReturn(ctx context.Context, h *history) (time.Duration, error) {
	owner := h.event.Worker
	if owner == w.Name { // it was at another place before it was started anew
		return max(time.Until(w.started.Add(elsewhereLeases*w.ackWait())), 0), nil
	}
	record, err := w.conn.WorkerRecord(ctx, h.event.Pool, owner)
	if err != nil || record.TakenBack {
		return 0, err
	}
	return max(elsewhereLeases*w.ackWait()-w.seen.unchanged(owner, record.Data), 0), nil
}

// mayLive is how long the owner of a run may still have it, although its request was delivered again: a delivery that somebody
// read late or gave back late, or that a NATS node's jumping clock brought, proves nothing. No lease outlasts two thirds of an
// ack wait from the owner's last confirmed record, so it has not once that record has been the last for so long, or was taken
// back, or the owner says itself that it has no such execution. 0: it has not. What it left elsewhere is given more time: see
// [Worker.mayReturn].
func (w *Worker) mayLive(ctx context.Context, h *history) (time.Duration, error) {
	owner := h.event.Worker
	if owner == w.Name || owner == "" {
		return max(time.Until(w.alone), 0), nil // this worker's own supervisor knows
	}
	record, err := w.conn.WorkerRecord(ctx, h.event.Pool, owner)
	if err != nil || record.TakenBack {
		return 0, err
	}
	left := w.leftOf(owner, record)
	if left <= 0 || w.conn.Lacks(ctx, h.event.Pool, owner, executionName(h.event.Run, h.attempt)) {
		return 0, nil
	}
	return left, nil
}

// leftOf is how long leases of the worker with that record may still last.
func (w *Worker) leftOf(name string, record streams.WorkerRecord) time.Duration {
	return w.leaseTime() - w.seen.unchanged(name, record.Data)
}

// leaseTime is how long a worker may have a run after its last record, and the kill of the job takes.
func (w *Worker) leaseTime() time.Duration { return w.ackWait()*2/3 + leaseMargin }

// retries are those of the run's request, where it is still one that would be accepted.
func (w *Worker) retries(ctx context.Context, d delivery) (*schemas.Retries, error) {
	job, err := w.accept(ctx, d)
	if _, invalid := errors.AsType[*rejection](err); invalid {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return job.retries, nil
}

// resume holds an execution that a lost worker left: the attempt goes on under a new owner, whose first event shuts the old
// one out.
func (w *Worker) resume(ctx context.Context, d delivery, h *history) error {
	j, err := w.accept(ctx, d)
	if _, invalid := errors.AsType[*rejection](err); invalid {
		j = h.job() // it was accepted once and runs: what changed since concerns the next run
	} else if err != nil {
		return err
	}
	c := w.newClaim(ctx, d, j, h, h.attempt)
	defer w.disown(c)
	c.logs, c.execution, c.details = h.logs, h.event.Execution, h.event.Details
	if !w.elsewhere(h) {
		c.place = h.event.Place // which need not be where the deployment would start it today
	}
	c.lease.renew = c.claimed // the execution has to hear at once how long it may go on
	if h.event.Claimed != nil {
		c.claimed = *h.event.Claimed
	}
	if h.event.Started != nil {
		c.started = *h.event.Started
	}
	state := stateOf(h.found)
	if h.event.State == schemas.Running {
		state = schemas.Running
	}
	goesOn := w.describe(c, h.found, state)
	if h.event.State == schemas.Cancelling {
		goesOn.State, c.cancel.why = schemas.Cancelling, h.event.Message
		c.cancel.ask()
	}
	goesOn.Reason, goesOn.Message = schemas.ReasonHeld, fmt.Sprintf("worker %s goes on with what worker %s left", w.Name, h.event.Worker)
	err = w.follow(ctx, c, h.found, goesOn)
	if errors.Is(err, streams.ErrOvertaken) {
		return nil
	}
	return err
}
