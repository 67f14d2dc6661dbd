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
	messages, err := r.messages(ctx, streams.EventStream, r.next, streams.RunEvents)
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := next(ctx, messages, 5*time.Second)
		if err != nil {
			return err
		}
		e, err := event(m)
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

// messages reads a stream from the given sequence on.
func (r *recorder) messages(ctx context.Context, stream string, from uint64, subjects ...string) (jetstream.MessagesContext, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	consumer, err := r.conn.JS.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
	})
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return consumer.Messages()
}

// next waits for a message, for limit at most.
func next(ctx context.Context, messages jetstream.MessagesContext, limit time.Duration) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("wait for the next message: %w", err)
	}
	return m, nil
}

func event(m jetstream.Msg) (history.Event, error) {
	meta, err := m.Metadata()
	if err != nil {
		return history.Event{}, fmt.Errorf("read an event: %w", err)
	}
	e, err := schemas.DecodeRunEvent(m.Data())
	return history.Event{Log: meta.Sequence.Stream, Stored: meta.Timestamp, Event: e}, err
}

// dump writes the events and the jobs' output as they are in the streams now.
func (r *recorder) dump(ctx context.Context, dir string) error {
	err := r.each(ctx, filepath.Join(dir, history.EventsFile), streams.EventStream, func(m jetstream.Msg) (any, error) {
		return event(m)
	}, streams.RunEvents)
	if err != nil {
		return err
	}
	return r.each(ctx, filepath.Join(dir, history.OutputFile), streams.LogStream, func(m jetstream.Msg) (any, error) {
		return output(m.Data())
	})
}

// each writes a line for every message that a stream has now.
func (r *recorder) each(ctx context.Context, file, stream string, line func(jetstream.Msg) (any, error), subjects ...string) error {
	s, err := r.conn.JS.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("dump stream %s: %w", stream, err)
	}
	w, err := history.Append(file)
	if err != nil {
		return err
	}
	defer w.Close()
	messages, err := r.messages(ctx, stream, 1, subjects...)
	if err != nil {
		return err
	}
	defer messages.Stop()
	for last, at := s.CachedInfo().State.LastSeq, uint64(0); at < last; {
		m, err := next(ctx, messages, 20*time.Second)
		if err != nil {
			return fmt.Errorf("dump stream %s after message %d of %d: %w", stream, at, last, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		at = meta.Sequence.Stream
		v, err := line(m)
		if err != nil {
			return fmt.Errorf("dump stream %s: message %d: %w", stream, at, err)
		}
		if err := w.Write(v); err != nil {
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
