package consumers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

var (
	errLeaseLost   = errors.New("the lease was not confirmed in time")
	errTimedOut    = errors.New("the run took longer than its timeout")
	errStopped     = errors.New("the worker is stopping")
	errNotReported = errors.New("NATS could not be reached for too long")
)

// reportTime is how long a worker goes on trying to record what it knows while NATS is away.
const reportTime = 10 * time.Minute

// ackTries is how often an acknowledgement is sent until it is confirmed: for about an ack wait, after which the request is
// delivered again anyway.
const ackTries = 6

// A lease is the right to a run: the unacknowledged delivery, renewed every third of the ack wait. A renewal that is not
// confirmed for two thirds of it ends the right: the last third is left for the job to be killed before another worker may
// start the run.
//
// JetStream confirms the renewal of a request that it has given to another worker, too. What tells that other one that this
// one lives is its record in weir_workers, so a lease lasts no longer than that is confirmed either (docs/design.md).
type lease struct {
	wait  time.Duration             // the pool's ack wait
	end   atomic.Pointer[time.Time] // until when the right is confirmed; its runner reads it at any time
	renew time.Time                 // when it is to be renewed next
}

// leaseMargin is how much longer another worker waits than the lease lasts: the supervisor's kill takes its time.
const leaseMargin = 100 * time.Millisecond

// newLease begins when the run is claimed. recorded is when the worker's last confirmed record was sent.
func newLease(wait time.Duration, received, claimed, recorded time.Time) *lease {
	l := &lease{wait: wait}
	l.confirmed(claimed, recorded)
	l.renew = received.Add(wait / 3)
	return l
}

// confirmed moves the lease on after a renewal that was sent at that time. recorded is when the worker's last confirmed record
// was sent.
func (l *lease) confirmed(sent, recorded time.Time) {
	bound := sent
	if recorded.Before(bound) {
		bound = recorded
	}
	over := !l.until().IsZero() && !l.holds() // it does not come back to life
	if until := bound.Add(l.wait * 2 / 3); !over && until.After(l.until()) {
		l.end.Store(&until)
	}
	l.renew = sent.Add(l.wait / 3)
}

// until is when the right ends unless it is confirmed again; zero: it has not begun.
func (l *lease) until() time.Time {
	if end := l.end.Load(); end != nil {
		return *end
	}
	return time.Time{}
}

// holds tells whether the right is confirmed at this moment.
func (l *lease) holds() bool { return time.Now().Before(l.until()) }

// missed plans the next try after a renewal that was not confirmed.
func (l *lease) missed(now time.Time) { l.renew = now.Add(min(l.wait/30, time.Second)) }

// The waits between looks at the run's last event after a hint that it is a cancel.
const (
	firstLook = time.Millisecond
	lastLook  = time.Second
)

// hold records what is owed, and renews the run's lease until its execution has ended. The error says why it was ended: errTimedOut,
// errStopped, errCancelled; with errLeaseLost the run is no longer this worker's, and with runners.ErrLetGo nobody's.
func (w *Worker) hold(ctx context.Context, c *claim, exec runners.Execution) (runners.Result, error) {
	waiting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if s, ok := exec.(runners.Signalled); ok && c.job.signal != "" {
		s.StopBy(c.job.signal)
	}
	type end struct {
		runners.Result
		err error
	}
	ended := make(chan end, 1)
	go func() {
		r, err := exec.Wait(waiting)
		ended <- end{r, err}
	}()

	renew := time.NewTimer(time.Until(c.lease.renew))
	defer renew.Stop()
	timer := time.NewTimer(c.job.timeout)
	defer timer.Stop()
	var timeout <-chan time.Time
	limit := func() { // from the job's start on
		if c.job.timeout > 0 {
			timer.Reset(time.Until(c.started.Add(c.job.timeout)))
			timeout = timer.C
		}
	}
	begun := begins(exec)
	runs := func() { // it has begun to run
		begun = nil
		c.owed = w.describe(c, exec, schemas.Running)
	}
	told := c.state
	if c.owed != nil {
		told = c.owed.State
	}
	switch {
	case begun == nil && told == schemas.Pending: // since its state was looked at
		runs()
		limit()
	case begun == nil || !c.started.IsZero(): // whoever held it before has seen it run
		begun = nil
		limit()
	}
	var kept <-chan time.Time // when to record the state again, so that it is not too old to be kept
	if w.heldEvery > 0 {
		t := time.NewTicker(w.heldEvery)
		defer t.Stop()
		kept = t.C
	}
	var cause error // why the job is being ended
	stop := func(why error) {
		if cause == nil && !over(exec) { // nothing that comes after the end has caused it
			cause = why
			go func() { _ = exec.Stop(waiting, c.job.grace) }() // its end shows in ended
		}
	}
	stopping := ctx.Done()
	var again <-chan time.Time // when to look once more whether the run is cancelled
	wait := firstLook
	look := func() {
		adopted, err := c.state == schemas.Cancelling, error(nil)
		if !adopted {
			adopted, err = w.adopt(waiting, c)
		}
		switch again = nil; {
		case adopted:
			stop(&cancelledError{c.cancel.why})
		case err != nil || wait < lastLook: // the hint comes by core NATS, it may be faster than the event log
			again = time.After(wait)
			wait = min(2*wait, lastLook)
		}
	}
	var record <-chan time.Time // when to try once more to record what is owed
	for next := firstWait; ; {
		if c.owed != nil && record == nil {
			known, err := w.recordOwed(waiting, c)
			if err != nil {
				w.abandon(ctx, c, exec, err)
				return runners.Result{}, err
			}
			if known {
				next = firstWait
			} else { // NATS is away; lease, timeout and stop go on without it
				record = time.After(next)
				next = min(2*next, longestWait)
			}
		}
		select {
		case <-record:
			record = nil
		case <-c.cancel.look:
			wait = firstLook
			look()
		case <-again:
			look()
		case <-begun:
			runs()
			limit()
		case e := <-ended:
			if begun != nil && begins(exec) == nil {
				runs()
			}
			if e.err != nil && cause != nil && neverRan(e.err) {
				return runners.Result{NoCode: true}, cause
			} else if e.err != nil {
				return e.Result, e.err
			}
			return e.Result, cause
		case <-timeout:
			stop(fmt.Errorf("%w of %s", errTimedOut, c.job.timeout))
			timeout = nil
		case <-stopping:
			if letGo(ctx) {
				return runners.Result{}, runners.ErrLetGo
			}
			stop(errStopped)
			stopping = nil
		case <-kept:
			if c.owed == nil {
				c.owed = w.describe(c, exec, c.state)
				c.owed.Reason, c.owed.Message = schemas.ReasonHeld, "the run goes on"
			}
		case <-renew.C:
			if err := w.renew(waiting, c, exec); err != nil {
				w.abandon(ctx, c, exec, err)
				return runners.Result{}, err
			}
			renew.Reset(time.Until(c.lease.renew))
		}
	}
}

// recordOwed appends the event that is owed. false: NATS is away, and it is not known whether it is stored.
func (w *Worker) recordOwed(ctx context.Context, c *claim) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.lease.wait/6)
	defer cancel()
	err := w.append(ctx, c, *c.owed)
	if err != nil && ctx.Err() != nil && !errors.Is(err, streams.ErrOvertaken) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	c.owed = nil
	return true, nil
}

// keep renews the lease while a start takes its time, or a report waits for NATS, so that no other worker starts again what has ended.
// It costs nothing before the lease is due. over is called when the lease cannot be confirmed any more; nil: nobody cares. The function
// that it returns ends it.
func (w *Worker) keep(ctx context.Context, c *claim, over func()) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	due := time.AfterFunc(time.Until(c.lease.renew), func() {
		defer close(ended)
		for next := time.NewTimer(0); ; next.Reset(time.Until(c.lease.renew)) {
			select {
			case <-ctx.Done():
				next.Stop()
				return
			case <-next.C:
			}
			if w.tryRenew(ctx, c, c.lease.wait) != nil {
				c.lease.missed(time.Now())
			}
			if over != nil && !c.lease.holds() {
				over()
			}
		}
	})
	return func() {
		cancel()
		if !due.Stop() {
			<-ended
		}
	}
}

// tryRenew asks for another ack wait once, within left. An answer that is lost costs a sixth of the ack wait: there is time
// for several tries.
func (w *Worker) tryRenew(ctx context.Context, c *claim, left time.Duration) error {
	sent := time.Now()
	bounded, cancel := context.WithTimeout(ctx, min(c.lease.wait/6, left))
	defer cancel()
	err := c.Renew(bounded)
	if err == nil {
		c.lease.confirmed(sent, w.recorded())
	}
	return err
}

// renew asks for another ack wait and tells the execution. A renewal that fails is tried again; errLeaseLost says that there
// is no time left for it.
func (w *Worker) renew(ctx context.Context, c *claim, exec runners.Execution) error {
	err := w.tryRenew(ctx, c, time.Until(c.lease.until()))
	if err == nil {
		if l, ok := exec.(runners.Leased); ok {
			return l.Lease(c.lease.until())
		}
		return nil
	}
	now := time.Now()
	if !now.Before(c.lease.until()) {
		return fmt.Errorf("run %s: %w: %w", c.Run, errLeaseLost, err)
	}
	w.Logger.Warn("lease is not renewed yet", "run", c.Run, "left", c.lease.until().Sub(now).Round(time.Second), "err", err)
	c.lease.missed(now)
	return nil
}

// abandon ends an execution that this worker has no right to any more, if it is one that cannot outlive its worker. Others
// are let go, for the next worker to find, unless the run goes on without them.
func (w *Worker) abandon(ctx context.Context, c *claim, exec runners.Execution, why error) {
	w.Logger.Warn("run is given up", "run", c.Run, "attempt", c.attempt, "err", why)
	ctx, cancel := w.reporting(ctx)
	defer cancel()
	leased, ok := exec.(runners.Leased)
	if !ok {
		if w.movedOn(ctx, c) {
			w.end(ctx, c, exec)
		}
		return
	}
	// Not Stop: whoever finds it later must see lease_lost, not a job that failed by a signal.
	err := leased.Lease(time.Now())
	if err == nil {
		_, err = exec.Wait(ctx)
	}
	if err != nil {
		w.Logger.Error("execution could not be stopped", "run", c.Run, "err", err)
	}
}

// abandonStart ends what a start has left that this worker had no right to any more, if the run has gone on without it: as when the worker
// stood still between its last look at that right and the request that made the execution.
func (w *Worker) abandonStart(ctx context.Context, c *claim) {
	ctx, cancel := w.reporting(ctx)
	defer cancel()
	if !w.movedOn(ctx, c) {
		return
	}
	sought := runners.Sought{Name: executionName(c.Run, c.attempt), ID: c.execution, Place: w.place(c.job.configuration), Output: output{c.logs}}
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		exec, err := w.runner.Find(ctx, sought)
		if err == nil {
			w.end(ctx, c, exec)
			return
		}
		if errors.Is(err, runners.ErrGone) {
			return
		}
		if !pause(ctx, wait) {
			w.Logger.Error("it is not known whether an execution is left of an attempt that its run has gone on without", "run", c.Run, "attempt", c.attempt, "err", err)
			return
		}
	}
}

// movedOn tells whether the run has gone on without this attempt: another one is made or asked for, or a final state is recorded.
// Nobody looks for the attempt's execution then. While it is not known it is asked again, until ctx ends.
func (w *Worker) movedOn(ctx context.Context, c *claim) bool {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		last, err := w.conn.LastEvent(ctx, c.Pool, c.Deployment, c.Run)
		if err == nil {
			return last.Attempt > c.attempt || last.State.Final() || last.State == schemas.Retrying
		}
		if errors.Is(err, streams.ErrNotFound) || w.conn.NC.IsClosed() || !pause(ctx, wait) {
			return false
		}
	}
}

// end stops what a worker started that stood still for so long that its run has moved on: two attempts must not be at work.
func (w *Worker) end(ctx context.Context, c *claim, exec runners.Execution) {
	w.Logger.Warn("run has gone on without this attempt, which is stopped", "run", c.Run, "attempt", c.attempt, "execution", exec.ID())
	if err := exec.Stop(ctx, 0); err != nil && !errors.Is(err, runners.ErrGone) {
		w.Logger.Error("execution could not be stopped", "run", c.Run, "err", err)
		return
	}
	if f, ok := w.runner.(runners.Forgetter); ok {
		f.Forget(executionName(c.Run, c.attempt))
	}
}
