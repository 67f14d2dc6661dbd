package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// Recorded is an event as the log holds it.
type Recorded struct {
	schemas.RunEvent
	Sequence uint64    // in the event log
	Stored   time.Time // by the NATS server's clock
}

// An Append is an event on its way into the log.
type Append struct {
	conn   *Conn
	event  schemas.RunEvent
	future jetstream.PubAckFuture
	seq    uint64
	err    error
}

// Append sends e, to be stored only if the run's last event has sequence last in the log (0: the run has none). It does
// not wait: the promise is in [Append.Wait]. The event's order is that of the calls on one connection.
func (c *Conn) Append(e schemas.RunEvent, last uint64, trace string) *Append {
	e.Previous = last
	a := &Append{conn: c, event: e}
	repeat := 0
	if e.Reason == schemas.ReasonHeld || e.State == schemas.Pending && e.Parameters == nil { // an attempt's first pending event has some
		repeat = int(last) // the same state of the same attempt again: the event's ID has to differ
	}
	body, err := schemas.EncodeRunEvent(e, repeat, trace)
	if err != nil {
		a.err = fmt.Errorf("record %s of run %s: %w: %w", e.State, e.Run, errUnwritable, err)
		return a
	}
	msg := &nats.Msg{Subject: runEventSubject(e), Data: body, Header: nats.Header{
		"Content-Type":                          {schemas.ContentType},
		jetstream.ExpectedLastSubjSeqHeader:     {strconv.FormatUint(last, 10)},
		jetstream.ExpectedLastSubjSeqSubjHeader: {expectedFilter(e, last)},
	}}
	if trace != "" {
		msg.Header[HeaderTrace] = []string{trace}
	}
	a.future, a.err = c.JS.PublishMsgAsync(msg)
	return a
}

// expectedFilter is of which events the one with sequence last has to be the last. The first one of a run whose ID was given to it must
// be the first under that ID in the whole pool: an ID is taken once, whatever the deployment.
func expectedFilter(e schemas.RunEvent, last uint64) string {
	if of, _, natural := parseNaturalRun(e.Run); last == 0 && (!natural || of != e.Pool) {
		return runEventFilter(e.Pool, "*", e.Run)
	}
	return runEventFilter(e.Pool, e.Deployment, e.Run)
}

// Wait returns the event's sequence once it is stored. [ErrOvertaken]: somebody else's event came first, and this one is
// not stored. Another error leaves that open; a reconnect in between is looked into, not reported. It is called from one
// goroutine at a time.
func (a *Append) Wait(ctx context.Context) (uint64, error) {
	if a.future == nil {
		return a.seq, a.err
	}
	select {
	case ack := <-a.future.Ok():
		a.seq = ack.Sequence
	case err := <-a.future.Err():
		a.seq, a.err = a.settle(ctx, err)
	case <-ctx.Done():
		return 0, fmt.Errorf("record %s of run %s: %w", a.event.State, a.event.Run, context.Cause(ctx))
	}
	a.future = nil
	return a.seq, a.err
}

// settle finds out what became of an append that ended in err: one that was stored, but whose acknowledgement was lost, is
// a success.
func (a *Append) settle(ctx context.Context, err error) (uint64, error) {
	if !overtaken(err) && !unsure(err) {
		return 0, fmt.Errorf("record %s of run %s: %w", a.event.State, a.event.Run, err)
	}
	last, readErr := a.conn.LastEvent(ctx, a.event.Pool, a.event.Deployment, a.event.Run)
	switch {
	case readErr == nil && last.State == a.event.State && last.Worker == a.event.Worker && last.Attempt == a.event.Attempt &&
		last.Time.Equal(a.event.Time):
		return last.Sequence, nil
	case overtaken(err):
		return 0, fmt.Errorf("record %s of run %s: %w", a.event.State, a.event.Run, ErrOvertaken)
	}
	return 0, fmt.Errorf("record %s of run %s: %w", a.event.State, a.event.Run, err)
}

// LastEvent returns the run's last event. [ErrNotFound]: it has none.
func (c *Conn) LastEvent(ctx context.Context, pool, deployment, run string) (Recorded, error) {
	return c.last(ctx, runEventFilter(pool, deployment, run), run)
}

// LastEventIn returns the last event of a run whose deployment is not known. [ErrNotFound]: it has none.
func (c *Conn) LastEventIn(ctx context.Context, pool, run string) (Recorded, error) {
	return c.last(ctx, runEventFilter(pool, "*", run), run)
}

// EventAt returns the event with that sequence in the log. [ErrNotFound]: there is none.
func (c *Conn) EventAt(ctx context.Context, sequence uint64) (Recorded, error) {
	m, err := c.leaderMsg(ctx, EventStream, msgGetRequest{Seq: sequence})
	if err != nil {
		return Recorded{}, fmt.Errorf("read event %d of the log: %w", sequence, err)
	}
	return recorded(m)
}

func (c *Conn) last(ctx context.Context, filter, run string) (Recorded, error) {
	m, err := c.leaderMsg(ctx, EventStream, msgGetRequest{LastFor: filter})
	if errors.Is(err, ErrNotFound) {
		return Recorded{}, notFound("run", run, nil, "")
	} else if err != nil {
		return Recorded{}, fmt.Errorf("read the last event of run %s: %w", run, err)
	}
	return recorded(m)
}

func recorded(m *jetstream.RawStreamMsg) (Recorded, error) {
	return decodeEvent(m.Subject, m.Data, m.Sequence, m.Time)
}

// decodeEvent reads an event of the log. One whose body is about something else than its subject was written by no worker: what
// the run's last event is, nobody knows then.
func decodeEvent(subject string, body []byte, sequence uint64, stored time.Time) (Recorded, error) {
	e, err := schemas.DecodeRunEvent(body)
	if err != nil {
		return Recorded{}, fmt.Errorf("event %d of the log: %w: %w; remove it with: nats stream rmm %s %d", sequence, ErrContradictory, err, EventStream, sequence)
	}
	if said := runEventSubject(e); said != subject {
		return Recorded{}, fmt.Errorf("event %d of the log is on %s and its body belongs on %s: %w; remove it with: nats stream rmm %s %d",
			sequence, subject, said, ErrContradictory, EventStream, sequence)
	}
	return Recorded{RunEvent: e, Sequence: sequence, Stored: stored}, nil
}

// ServerTime is what the NATS server's clock says: what [Recorded.Stored] is to be compared with.
func (c *Conn) ServerTime(ctx context.Context) (time.Time, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	s, err := c.JS.Stream(ctx, EventStream)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask NATS for its time: %w", unavailable(c.url, err))
	}
	return s.CachedInfo().TimeStamp, nil
}
