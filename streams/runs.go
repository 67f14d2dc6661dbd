package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// Run returns where a run stands: its last event, or, of one that nobody has claimed yet, its request in a pool's stream as
// [schemas.Scheduled]. One whose ID was given by hand is looked for in the streams of all pools.
func (c *Conn) Run(ctx context.Context, run string) (Recorded, error) {
	if err := schemas.CheckName("run", run); err != nil {
		return Recorded{}, err
	}
	last, err := c.last(ctx, runEventFilter("*", "*", run), run)
	if !errors.Is(err, ErrNotFound) {
		return last, err
	}
	unknown := err
	pools, err := c.Pools(ctx)
	if err != nil {
		return Recorded{}, err
	}
	for _, p := range pools {
		s, err := c.Request(ctx, p.Name, run)
		if err == nil {
			return s.Recorded(p), nil
		} else if !errors.Is(err, ErrNotFound) {
			return Recorded{}, err
		}
	}
	if last, err := c.last(ctx, runEventFilter("*", "*", run), run); err == nil {
		return last, nil // it was claimed, and even ended, between the two looks
	}
	return Recorded{}, unknown
}

// Filter says which runs are meant. Its zero value means all.
type Filter struct {
	Pool       string
	Deployment string
	States     []schemas.State
	Since      time.Time // changed then or later, by the NATS server's clock
	Limit      int       // of [Conn.Runs]; 0: 50
}

// Runs returns the runs that changed last, newest first, each with its current state. Those that nobody has claimed are
// not among them: see [Conn.Waiting].
func (c *Conn) Runs(ctx context.Context, f Filter) ([]Recorded, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 50
	}
	var out []Recorded
	err := c.newest(ctx, runsStream, f.runs(), limit, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		if meta.Timestamp.Before(f.Since) {
			return errDone
		}
		e, err := schemas.DecodeRunEvent(m.Data())
		if err != nil {
			return fmt.Errorf("run %s: %w", m.Subject(), err)
		}
		if f.match(e) && isState(m.Subject(), e) {
			out = append(out, Recorded{RunEvent: e, Sequence: meta.Sequence.Stream, Stored: meta.Timestamp})
		}
		if len(out) >= limit {
			return errDone
		}
		return nil
	})
	return out, err
}

// EachRun calls each for the runs that somebody has claimed, with their current state, the one that changed first before all,
// until it returns an error. It holds none of them. from is 0 at first; what is returned is where a later call goes on, to see
// what has changed since.
func (c *Conn) EachRun(ctx context.Context, f Filter, from uint64, each func(Recorded) error) (next uint64, err error) {
	bounded, cancel := c.bound(ctx)
	s, err := c.JS.Stream(bounded, runsStream)
	cancel()
	if err != nil {
		return from, fmt.Errorf("read stream %s: %w", runsStream, unavailable(c.url, err))
	}
	state := s.CachedInfo().State
	from, next = max(from, state.FirstSeq), state.LastSeq+1
	if from >= next || state.Msgs == 0 {
		return next, nil
	}
	return next, c.between(ctx, runsStream, f.runs(), from, next, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		e, err := schemas.DecodeRunEvent(m.Data())
		if err != nil {
			return fmt.Errorf("run %s: %w", m.Subject(), err)
		}
		if !f.match(e) || !isState(m.Subject(), e) || meta.Timestamp.Before(f.Since) {
			return nil
		}
		return each(Recorded{RunEvent: e, Sequence: meta.Sequence.Stream, Stored: meta.Timestamp})
	})
}

// isState tells whether the run's entry in the bucket holds a state of that run. A list passes over what is not, so that it hides no
// other run; whoever asks for that run alone is told ([ErrContradictory]).
func isState(subject string, e schemas.RunEvent) bool {
	return subject == runsPrefix+runKey(e.Pool, e.Deployment, e.Run)
}

// runsStream is the stream under the bucket of the runs, whose subjects begin with runsPrefix.
const (
	runsStream = "KV_" + RunsBucket
	runsPrefix = "$KV." + RunsBucket + "."
)

// runs is the filter's subject in [runsStream].
func (f Filter) runs() string {
	return runsPrefix + runKey(anyToken(f.Pool), anyToken(f.Deployment), "*")
}

func (f Filter) match(e schemas.RunEvent) bool {
	if len(f.States) == 0 {
		return true
	}
	for _, s := range f.States {
		if s == e.State {
			return true
		}
	}
	return false
}

func anyToken(name string) string {
	if name == "" {
		return "*"
	}
	return name
}

// Waiting returns how runs stand that are due and that no worker has taken yet, the oldest of each queue first, at most limit. A
// run that waits for its next attempt is not among them: it has a state.
func (c *Conn) Waiting(ctx context.Context, p schemas.Pool, limit int) ([]Recorded, error) {
	var out []Recorded
	for _, q := range p.Queues() {
		bounded, cancel := c.bound(ctx)
		cons, err := c.JS.Consumer(bounded, poolStream(p.Name), q.Name)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("look at work queue %q of work pool %q: %w", q.Name, p.Name, unavailable(c.url, err))
		}
		info := cons.CachedInfo()
		if info.NumPending == 0 || len(out) >= limit {
			continue
		}
		for seq := info.Delivered.Stream + 1; len(out) < limit; {
			m, err := c.leaderMsg(ctx, poolStream(p.Name), msgGetRequest{Seq: seq, NextFor: queueFilter(p.Name, q.Name)})
			if errors.Is(err, ErrNotFound) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("look at work queue %q of work pool %q: %w", q.Name, p.Name, err)
			}
			seq = m.Sequence + 1
			if s, ok := stored(p.Name, m); ok && s.Run != "" && s.Attempt == 1 {
				out = append(out, s.Recorded(p))
			}
		}
	}
	return out, nil
}

// WatchRun calls each for every event of the run, those recorded before included, in order, until one is final, each
// returns an error, or ctx ends.
func (c *Conn) WatchRun(ctx context.Context, run string, each func(Recorded) error) error {
	return c.follow(ctx, EventStream, runEventFilter("*", "*", run), func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		e, err := decodeEvent(m.Subject(), m.Data(), meta.Sequence.Stream, meta.Timestamp)
		if err != nil {
			return err
		}
		if err := each(e); err != nil {
			return err
		}
		if e.State.Final() {
			return errDone
		}
		return nil
	})
}

// WatchRuns calls each for every event of any run from now on, until ctx ends or each returns an error.
func (c *Conn) WatchRuns(ctx context.Context, f Filter, each func(Recorded) error) error {
	filter := runEventFilter(anyToken(f.Pool), anyToken(f.Deployment), "*")
	return c.followFrom(ctx, EventStream, filter, jetstream.DeliverNewPolicy, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		e, err := decodeEvent(m.Subject(), m.Data(), meta.Sequence.Stream, meta.Timestamp)
		switch {
		case errors.Is(err, ErrContradictory): // as in a list
			return nil
		case err != nil:
			return err
		case !f.match(e.RunEvent):
			return nil
		}
		return each(e)
	})
}

var errDone = errors.New("done")

func (c *Conn) follow(ctx context.Context, stream, filter string, each func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	return c.followFrom(ctx, stream, filter, jetstream.DeliverAllPolicy, each)
}

// followFrom reads a stream under filter, over reconnects without gap or repetition, until each returns an error ([errDone]
// for a good end) or ctx ends.
func (c *Conn) followFrom(ctx context.Context, stream, filter string, from jetstream.DeliverPolicy, each func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	bounded, cancel := c.bound(ctx)
	cons, err := c.JS.OrderedConsumer(bounded, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter}, DeliverPolicy: from, InactiveThreshold: time.Minute,
	})
	cancel()
	if err != nil {
		return fmt.Errorf("follow %s: %w", filter, unavailable(c.url, err))
	}
	it, err := cons.Messages()
	if err != nil {
		return fmt.Errorf("follow %s: %w", filter, unavailable(c.url, err))
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow %s: %w", filter, unavailable(c.url, err))
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if err := each(m, meta); errors.Is(err, errDone) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
