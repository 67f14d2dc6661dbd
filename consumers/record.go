package consumers

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// The waits between two tries while NATS is away.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
)

// append records e as the run's next event. While NATS is away it tries again until ctx ends: what is known is not thrown
// away, and whoever has taken the run meanwhile wins by compare-and-set. A cancel that came first is not somebody else's
// claim: what is left of e follows it.
func (w *Worker) append(ctx context.Context, c *claim, e schemas.RunEvent) error {
	if c.state == schemas.Cancelling {
		if e = afterCancel(e); e.State == schemas.Cancelling && e.Reason != schemas.ReasonHeld {
			return nil // it is recorded already
		}
	}
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		sequence, err := w.conn.Append(e, c.last, c.Trace).Wait(ctx)
		if err == nil {
			c.last, c.state, c.unsure = sequence, e.State, nil
			w.logState(e)
			return nil
		}
		if errors.Is(err, streams.ErrOvertaken) {
			if stored, ok := w.storedAfterAll(ctx, c, e); ok {
				c.last, c.state, c.unsure = stored.Sequence, stored.State, nil
				if same(stored.RunEvent, e) {
					w.logState(e)
					return nil
				}
				continue
			}
			adopted, unknown := w.adopt(ctx, c)
			if adopted {
				if e = afterCancel(e); e.State == schemas.Cancelling {
					return nil // it is recorded already
				}
				continue
			} else if unknown == nil {
				return err
			} else if errors.Is(unknown, streams.ErrNotFound) && c.last != 0 {
				w.Logger.Warn("no event of the run is kept any more; events are kept for too short a time", "run", e.Run, "state", e.State)
				c.last = 0
				continue
			}
			err = unknown
		}
		if stop, final := gaveUp(ctx, err); stop {
			if ctx.Err() != nil {
				c.unsure = append(c.unsure, e)
			}
			return final
		}
		w.Logger.Warn("state is not recorded yet", "run", e.Run, "state", e.State, "err", err)
		if !pause(ctx, wait) {
			c.unsure = append(c.unsure, e)
			return err
		}
	}
}

// storedAfterAll returns the run's last event if it is e, or one of the claim's whose fate was not known when nobody waited for it any more.
func (w *Worker) storedAfterAll(ctx context.Context, c *claim, e schemas.RunEvent) (streams.Recorded, bool) {
	last, err := w.conn.LastEvent(ctx, c.Pool, c.Deployment, c.Run)
	return last, err == nil && (same(last.RunEvent, e) || slices.ContainsFunc(c.unsure, func(e schemas.RunEvent) bool { return same(last.RunEvent, e) }))
}

// same tells whether two events are one, which is known by when and by whom it was written.
func same(a, b schemas.RunEvent) bool {
	return a.Worker == b.Worker && a.Attempt == b.Attempt && a.State == b.State && a.Time.Equal(b.Time)
}

// recordEnd appends how an attempt ended and has the next one delivered, where another follows. What NATS does not take of it is
// left out: the run ends all the same.
func (w *Worker) recordEnd(ctx context.Context, c *claim, o outcome) error {
	err := w.append(ctx, c, o.event(c.event(w, o.state)))
	if refused(err) && o.result != nil {
		o.state, o.reason, o.message, o.result = schemas.Failed, schemas.ReasonResultTooLarge, "the job's result cannot be recorded: "+err.Error(), nil
		return w.append(ctx, c, o.event(c.event(w, o.state)))
	}
	if err != nil || c.state != schemas.Retrying {
		return err
	}
	if err = w.again(ctx, c.delivery, o.retryAt, c.attempt+1); refused(err) {
		o = unfollowed(o.reason, o.message, err)
		return w.append(ctx, c, o.event(c.event(w, o.state)))
	}
	return err
}

// again has the run delivered for its next attempt. While NATS is away it tries again until ctx ends, or for an ack wait; then
// the request is delivered once more, and whoever gets it does the rest.
func (w *Worker) again(ctx context.Context, d delivery, at time.Time, attempt int) error {
	ctx, cancel := context.WithTimeout(ctx, w.ackWait())
	defer cancel()
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := d.Again(ctx, at, attempt)
		if stop, final := gaveUp(ctx, err); stop {
			return final
		}
		w.Logger.Warn("next attempt is not stored yet", "run", d.Run, "attempt", attempt, "err", err)
		if !pause(ctx, wait) {
			return err
		}
	}
}

// A refusedError is NATS's answer that it will never take a message: for what it says, not for how NATS is.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

func refused(err error) bool {
	_, ok := errors.AsType[*refusedError](err)
	return ok
}

// gaveUp tells whether there is no use in sending again what ended in err, and what is then known of it.
func gaveUp(ctx context.Context, err error) (bool, error) {
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, streams.ErrOvertaken), errors.Is(err, streams.ErrContradictory):
		return true, err
	case streams.Refused(err):
		return true, &refusedError{err}
	}
	return false, err
}

// bury ends a request of which nothing can be made: it stays among the dead letters.
func (w *Worker) bury(ctx context.Context, d delivery, why string) error {
	w.Logger.Warn("request cannot be dealt with; see it with: weir dead-letter ls", "run", d.Run, "deployment", d.Deployment, "err", why)
	if err := d.Bury(ctx, schemas.ReasonRejected, why); err != nil {
		return err
	}
	return w.ack(ctx, d)
}

// ack ends the request. While NATS is away it tries again; what is lost all the same is delivered again, and found to be
// final.
func (w *Worker) ack(ctx context.Context, d delivery) error {
	ctx = context.WithoutCancel(ctx)
	var err error
	for range ackTries {
		try, cancel := context.WithTimeout(ctx, w.ackWait()/6)
		err = d.Ack(try)
		cancel()
		if err == nil {
			return nil
		}
	}
	return err
}
