package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// Run returns where a run stands: its last event, or, of one that nobody has claimed yet, its request in the pool's stream
// as [schemas.Scheduled].
func (c *Conn) Run(ctx context.Context, run string) (Recorded, error) {
	if err := schemas.CheckName("run", run); err != nil {
		return Recorded{}, err
	}
	last, err := c.last(ctx, runEventFilter("*", "*", run), run)
	if !errors.Is(err, ErrNotFound) {
		return last, err
	}
	pool, sequence, ok := parseNaturalRun(run)
	if !ok {
		return Recorded{}, err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	s, streamErr := c.JS.Stream(ctx, poolStream(pool))
	if streamErr != nil {
		return Recorded{}, err
	}
	m, getErr := s.GetMsg(ctx, sequence)
	if getErr != nil {
		return Recorded{}, err
	}
	name, queue, deployment, parseErr := parseRunSubject(m.Subject)
	if parseErr != nil || m.Header.Get(HeaderRunID) != "" {
		return Recorded{}, err
	}
	return Recorded{Stored: m.Time, RunEvent: schemas.RunEvent{
		Run: run, Pool: name, Queue: queue, Deployment: deployment, State: schemas.Scheduled, Time: m.Time.UTC(),
		Requested: m.Time.UTC(), Sequence: sequence, Message: "waits for a worker of pool " + name,
	}}, nil
}

// Filter says which runs are meant. Its zero value means all.
type Filter struct {
	Pool       string
	Deployment string
	States     []schemas.State
	Limit      int // 0: 50
}

// Runs returns the runs that changed last, newest first, each with its current state. Those that nobody has claimed are
// not among them: see [Conn.Waiting].
func (c *Conn) Runs(ctx context.Context, f Filter) ([]Recorded, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 50
	}
	stream, key := "KV_"+RunsBucket, "$KV."+RunsBucket+"."+runKey(anyToken(f.Pool), anyToken(f.Deployment), "*")
	var out []Recorded
	err := c.newest(ctx, stream, key, limit, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		e, err := schemas.DecodeRunEvent(m.Data())
		if err != nil {
			return fmt.Errorf("run %s: %w", m.Subject(), err)
		}
		if f.match(e) {
			out = append(out, Recorded{RunEvent: e, Sequence: meta.Sequence.Stream, Stored: meta.Timestamp})
		}
		if len(out) >= limit {
			return errDone
		}
		return nil
	})
	return out, err
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

// Waiting returns requests that no worker has taken yet, oldest first, at most limit.
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
		s, err := c.JS.Stream(ctx, poolStream(p.Name))
		if err != nil {
			return nil, err
		}
		for seq := info.Delivered.Stream + 1; len(out) < limit; {
			m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(queueFilter(p.Name, q.Name)))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("look at work queue %q of work pool %q: %w", q.Name, p.Name, unavailable(c.url, err))
			}
			seq = m.Sequence + 1
			_, queue, deployment, err := parseRunSubject(m.Subject)
			if err != nil {
				continue
			}
			id := m.Header.Get(HeaderRunID)
			if id == "" {
				id = naturalRun(p.Name, m.Sequence)
			}
			out = append(out, Recorded{Stored: m.Time, RunEvent: schemas.RunEvent{
				Run: id, Pool: p.Name, Queue: queue, Deployment: deployment, State: schemas.Scheduled,
				Time: m.Time.UTC(), Requested: m.Time.UTC(), Sequence: m.Sequence,
			}})
		}
	}
	return out, nil
}

// WatchRun calls each for every event of the run, those recorded before included, in order, until one is final, each
// returns an error, or ctx ends.
func (c *Conn) WatchRun(ctx context.Context, run string, each func(Recorded) error) error {
	return c.follow(ctx, EventStream, runEventFilter("*", "*", run), func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		e, err := schemas.DecodeRunEvent(m.Data())
		if err != nil {
			return fmt.Errorf("event %d of the log: %w", meta.Sequence.Stream, err)
		}
		if err := each(Recorded{RunEvent: e, Sequence: meta.Sequence.Stream, Stored: meta.Timestamp}); err != nil {
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
		e, err := schemas.DecodeRunEvent(m.Data())
		if err != nil {
			return fmt.Errorf("event %d of the log: %w", meta.Sequence.Stream, err)
		}
		if !f.match(e) {
			return nil
		}
		return each(Recorded{RunEvent: e, Sequence: meta.Sequence.Stream, Stored: meta.Timestamp})
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
