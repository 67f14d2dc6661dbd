package consumers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

var errCancelled = errors.New("somebody asked for the cancel")

// cancelledError is errCancelled with the words of the event that says so.
type cancelledError struct{ why string }

func (e *cancelledError) Error() string   { return e.why }
func (*cancelledError) Is(err error) bool { return err == errCancelled }

// ErrFinal says that a run cannot be cancelled: it has ended.
var ErrFinal = errors.New("the run has ended")

// Cancel ends a run wherever it stands: one that waits, for its first attempt or another, is cancelled when this returns; one
// that is held is cancelling, and its owner, or whoever inherits it, stops its execution and records that. why is for people,
// and may be empty. The event is what has been recorded; with [ErrFinal] it is the run's last.
//
// Everything is decided by compare-and-set on the run's events: a claim at the same moment comes either before, and the claimed
// run is cancelling, or after, and fails.
func Cancel(ctx context.Context, conn *streams.Conn, pool, run, why string) (schemas.RunEvent, error) {
	for _, n := range [][2]string{{"work pool", pool}, {"run", run}} { // a wildcard would mean the run that changed last
		if err := schemas.CheckName(n[0], n[1]); err != nil {
			return schemas.RunEvent{}, err
		}
	}
	var e schemas.RunEvent
	err := outrun(ctx, func() (err error) {
		e, err = cancelOnce(ctx, conn, pool, run, why)
		return err
	})
	return e, err
}

// A run's events come seconds apart, and its first ones milliseconds: whoever is overtaken so often looks at something else.
const (
	outrunTries = 10
	outrunWait  = time.Millisecond // before the second try; twice as long before each that follows
)

// outrun tries again while somebody else writes the run's next event first.
func outrun(ctx context.Context, try func() error) error {
	wait := outrunWait
	for n := 1; ; n++ {
		err := try()
		if !errors.Is(err, streams.ErrOvertaken) {
			return err
		}
		if n == outrunTries {
			return fmt.Errorf("after %d tries: %w", n, err)
		}
		if !pause(ctx, wait) {
			return err
		}
		wait *= 2
	}
}

func cancelOnce(ctx context.Context, conn *streams.Conn, pool, run, why string) (schemas.RunEvent, error) {
	last, err := conn.LastEventIn(ctx, pool, run)
	if errors.Is(err, streams.ErrNotFound) {
		return cancelUnclaimed(ctx, conn, pool, run, why)
	} else if err != nil {
		return schemas.RunEvent{}, err
	}
	switch {
	case last.State.Final():
		return last.RunEvent, fmt.Errorf("run %s is %s: %w", run, last.State, ErrFinal)
	case last.State == schemas.Cancelling:
		return last.RunEvent, nil
	}
	e := last.RunEvent // attempt, worker, execution stay as its owner wrote them
	e.State, e.Reason, e.Message, e.Time = schemas.Cancelling, schemas.ReasonCancelRequest, cancelMessage(why), time.Now().UTC()
	e.Parameters, e.Variables, e.RetryAt, e.ExitCode, e.Signal = nil, nil, nil, nil, ""
	waiting := last.State == schemas.Retrying
	if waiting {
		e.State = schemas.Cancelled
	}
	if _, err := conn.Append(e, last.Sequence, "").Wait(ctx); err != nil {
		return e, err
	}
	if waiting {
		removeNext(ctx, conn, last.RunEvent)
	}
	return e, nil
}

// cancelUnclaimed cancels a run that has no event: its request is in the pool's stream, or there is no such run.
func cancelUnclaimed(ctx context.Context, conn *streams.Conn, pool, run, why string) (schemas.RunEvent, error) {
	request, err := conn.Request(ctx, pool, run)
	if errors.Is(err, streams.ErrNotFound) {
		if _, again := conn.LastEventIn(ctx, pool, run); again == nil {
			return schemas.RunEvent{}, streams.ErrOvertaken // it was claimed, and even ended, between the two looks
		}
		return schemas.RunEvent{}, err
	} else if err != nil {
		return schemas.RunEvent{}, err
	}
	return endUnclaimed(ctx, conn, request, outcome{state: schemas.Cancelled, reason: schemas.ReasonCancelRequest, message: cancelMessage(why)}, "")
}

// removeNext deletes what asks for a run's next attempt, if that is not due yet. What is left behind is found cancelled when a worker
// takes it.
func removeNext(ctx context.Context, conn *streams.Conn, retrying schemas.RunEvent) {
	if request, err := conn.NextRequest(ctx, retrying); err == nil {
		_ = conn.Remove(ctx, request)
	}
}

func cancelMessage(why string) string {
	if why == "" {
		return errCancelled.Error()
	}
	return errCancelled.Error() + ": " + why
}

// cancel is how a cancel reaches the one who holds the run. It is only ever a hint: what counts is the run's last event.
type cancel struct {
	starting context.Context // ends when the execution is not to be started any more
	end      context.CancelCauseFunc
	look     chan struct{} // a value: look at the run's last event
	why      string        // the words of the cancel, once it is known
}

func (c *cancel) init(ctx context.Context) {
	c.starting, c.end = context.WithCancelCause(ctx)
	c.look = make(chan struct{}, 1)
}

// ask says that the run's last event is a cancel. Where nothing is started or held, nobody needs to hear it.
func (c *cancel) ask() {
	if c.end != nil {
		c.end(errCancelled)
		c.check()
	}
}

// check says that the run may have been cancelled.
func (c *cancel) check() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

func (c *cancel) asked() bool { return errors.Is(context.Cause(c.starting), errCancelled) }

// adopt takes a cancel that was appended after this claim's last event into the claim, so that what it appends next follows
// that. false: the run's last event is none, and if it is not the claim's own either, the run is another's.
func (w *Worker) adopt(ctx context.Context, c *claim) (bool, error) {
	last, err := w.conn.LastEvent(ctx, c.Pool, c.Deployment, c.Run)
	if errors.Is(err, streams.ErrNotFound) && c.last == 0 && c.Named {
		if last, err = w.conn.LastEventIn(ctx, c.Pool, c.Run); err == nil && last.Deployment != c.Deployment {
			return false, nil // another deployment's run has the ID
		}
	}
	if err != nil {
		return false, err
	}
	if last.State != schemas.Cancelling || last.Reason != schemas.ReasonCancelRequest {
		return false, nil
	}
	if last.Previous != c.last { // unless that is the claim's own event, whose acknowledgement was lost
		own, err := w.conn.EventAt(ctx, last.Previous)
		if err != nil || own.Previous != c.last || own.Worker != w.Name || own.Attempt != c.attempt {
			return false, err
		}
	}
	c.last, c.state, c.cancel.why = last.Sequence, schemas.Cancelling, last.Message
	c.cancel.ask()
	return true, nil
}

// cancelled tells whether the run is cancelled, as far as that is known.
func (w *Worker) cancelled(ctx context.Context, c *claim) bool {
	if c.state == schemas.Cancelling {
		return true
	}
	adopted, err := w.adopt(ctx, c)
	return err == nil && adopted
}

// afterCancel is what is left to say of e once the run's last event is a cancel. Cancelling means that nothing is.
func afterCancel(e schemas.RunEvent) schemas.RunEvent {
	switch e.State {
	case schemas.Pending, schemas.Running:
		e.State, e.Reason = schemas.Cancelling, schemas.ReasonNone
	case schemas.Retrying, schemas.Crashed:
		e.State, e.Reason, e.RetryAt = schemas.Cancelled, schemas.ReasonCancelRequest, nil
		e.Message = errCancelled.Error() + "; " + e.Message
	}
	return e
}

// own makes a cancel of the run reach c.
func (w *Worker) own(c *claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owned[c.Run] = append(w.owned[c.Run], c)
}

func (w *Worker) disown(c *claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rest := slices.DeleteFunc(w.owned[c.Run], func(o *claim) bool { return o == c }); len(rest) > 0 {
		w.owned[c.Run] = rest
	} else {
		delete(w.owned, c.Run)
	}
	c.cancel.end(nil)
}

// heed tells those who hold runs of their cancels. After a reconnect each of them looks for itself: the hint may have passed
// by meanwhile.
func (w *Worker) heed() (stop func(), err error) {
	return w.conn.OnCancelling(w.Pool, func(run string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, c := range w.owned[run] {
			c.cancel.ask()
		}
	}, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, claims := range w.owned {
			for _, c := range claims {
				c.cancel.check()
			}
		}
	})
}

// takeCancels carries out a pool's cancel requests until ctx ends, along with the pool's other workers and the servers.
func takeCancels(ctx context.Context, conn *streams.Conn, pool string, log *slog.Logger) {
	for ctx.Err() == nil {
		err := conn.Cancels(ctx, pool, func(ctx context.Context, run, why string) error {
			e, err := Cancel(ctx, conn, pool, run, why)
			_, invalid := errors.AsType[*schemas.NameError](err)
			switch {
			case err == nil:
				log.Info("cancel request", "run", run, "state", e.State, "message", e.Message)
			case errors.Is(err, ErrFinal), errors.Is(err, streams.ErrNotFound):
				log.Info("cancel request comes to nothing", "run", run, "err", err)
				return nil
			case invalid:
				log.Warn("cancel request is rejected; see it with: weir dead-letter ls", "pool", pool, "err", err)
			default:
				log.Warn("cancel request is not carried out; that is tried again", "run", run, "err", err)
			}
			return err
		})
		if ctx.Err() != nil {
			return
		}
		log.Warn("cancel requests are not taken; that is tried again", "pool", pool, "err", err)
		pause(ctx, longestWait)
	}
}
