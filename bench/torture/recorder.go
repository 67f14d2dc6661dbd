//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/bench/torture/history"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// A recorder watches the event log from outside and writes down what it sees, and when.
type recorder struct {
	conn *streams.Conn
	file *history.Writer

	mu     sync.Mutex
	states map[string]schemas.State // of each run; under mu
	next   uint64                   // sequence of the first event that has not come; under mu
}

func newRecorder(conn *streams.Conn, dir string) (*recorder, error) {
	w, err := history.Append(filepath.Join(dir, history.SeenFile))
	return &recorder{conn: conn, file: w, states: map[string]schemas.State{}, next: 1}, err
}

// run records until ctx ends. What breaks is begun again after the last event that has come.
func (r *recorder) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = r.follow(ctx) // the cluster is being tortured
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (r *recorder) follow(ctx context.Context) error {
	messages, err := r.messages(ctx, r.next)
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		e, err := next(ctx, messages, 5*time.Second)
		if err != nil {
			return err
		}
		seen := history.Seen{Sequence: e.Log, Run: e.Event.Run, State: e.Event.State, At: history.Clock()}
		if err := r.file.Write(seen); err != nil {
			return err
		}
		r.mu.Lock()
		r.states[e.Event.Run], r.next = e.Event.State, e.Log+1
		r.mu.Unlock()
	}
}

// messages reads the events of all runs from the given sequence on.
func (r *recorder) messages(ctx context.Context, from uint64) (jetstream.MessagesContext, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	consumer, err := r.conn.JS.OrderedConsumer(ctx, streams.EventStream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{streams.RunEvents}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
	})
	if err != nil {
		return nil, fmt.Errorf("read the event log: %w", err)
	}
	return consumer.Messages()
}

// next waits for an event, for limit at most.
func next(ctx context.Context, messages jetstream.MessagesContext, limit time.Duration) (history.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return history.Event{}, fmt.Errorf("read the event log: %w", err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return history.Event{}, fmt.Errorf("read the event log: %w", err)
	}
	e, err := schemas.DecodeRunEvent(m.Data())
	return history.Event{Log: meta.Sequence.Stream, Stored: meta.Timestamp, Event: e}, err
}

// dump writes the whole log as it is now.
func (r *recorder) dump(ctx context.Context, dir string) error {
	stream, err := r.conn.JS.Stream(ctx, streams.EventStream)
	if err != nil {
		return fmt.Errorf("dump the event log: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(streams.RunEvents))
	if err != nil {
		return fmt.Errorf("dump the event log: %w", err)
	}
	w, err := history.Append(filepath.Join(dir, history.EventsFile))
	if err != nil {
		return err
	}
	defer w.Close()
	messages, err := r.messages(ctx, 1)
	if err != nil {
		return err
	}
	defer messages.Stop()
	left := uint64(0)
	for _, n := range info.State.Subjects {
		left += n
	}
	for ; left > 0; left-- {
		e, err := next(ctx, messages, 10*time.Second)
		if err != nil {
			return err
		}
		if err := w.Write(e); err != nil {
			return err
		}
	}
	return nil
}

// state is the run's last state that has come; Scheduled: none has.
func (r *recorder) state(run string) schemas.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.states[run]; ok {
		return s
	}
	return schemas.Scheduled
}
