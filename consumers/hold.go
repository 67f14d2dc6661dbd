package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

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
	var timeout <-chan time.Time
	limit := func() { // from the job's start on
		if c.job.timeout > 0 {
			timeout = time.After(time.Until(c.started.Add(c.job.timeout)))
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
	c.owed, c.details = nil, nil // they are told anew with the next event, and kept by who knows them until then
	return true, nil
}
