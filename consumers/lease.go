package consumers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/runners"
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
