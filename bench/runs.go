//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// runsLimit bounds one turn of no-op runs.
const runsLimit = 2 * time.Minute

// submit stores n requests and looks at each acknowledgement, without waiting for one before the next is on its way.
func submit(ctx context.Context, conn *streams.Conn, pool, deployment string, body []byte, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sent := make(chan *streams.Submission, 8192)
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		for s := range sent {
			if _, err := s.Wait(ctx); err != nil {
				cancel(err) // the first stays
			}
		}
	}()
	var err error
	for i := 0; i < n && err == nil && ctx.Err() == nil; i++ {
		var s *streams.Submission
		if s, err = conn.SubmitAsync(streams.Request{Pool: pool, Deployment: deployment, Body: body}); err == nil {
			sent <- s
		}
	}
	close(sent)
	<-settled
	return cmp.Or(err, context.Cause(ctx))
}

// nextEvent is the sequence that the event log gives next.
func nextEvent(ctx context.Context, conn *streams.Conn) (uint64, error) {
	log, err := conn.JS.Stream(ctx, streams.EventStream)
	if err != nil {
		return 0, err
	}
	return log.CachedInfo().State.LastSeq + 1, nil
}

// finished waits until b.runs runs are completed, acknowledged and gone from the pool. The rate is from the first claim to the last completion, by
// the times at which NATS stored those events; cpu is what programs used for it. While it waits it looks ten times a second.
func (b *bench) finished(ctx context.Context, conn *streams.Conn, first uint64, programs ...*program) (throughput, error) {
	ctx, cancel := context.WithTimeout(ctx, runsLimit)
	defer cancel()
	before := familyTime(programs...)
	record, err := conn.Pool(ctx, pool)
	if err != nil {
		return throughput{}, err
	}
	for {
		queues, err := conn.QueueStatuses(ctx, record)
		if err != nil {
			return throughput{}, err
		}
		if queues[0].Depth == 0 && queues[0].Running == 0 {
			break
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return throughput{}, fmt.Errorf("%d runs wait and %d run after %v", queues[0].Depth, queues[0].Running, runsLimit)
		}
	}
	used := familyTime(programs...) - before
	s, err := readSpan(ctx, conn, first)
	if err != nil {
		return throughput{}, err
	}
	if s.completed != b.runs {
		return throughput{}, fmt.Errorf("got %d runs completed, want %d", s.completed, b.runs)
	}
	return throughput{rate: float64(s.completed) / s.last.Sub(s.first).Seconds(), cpu: used / time.Duration(b.runs)}, nil
}

// A span is what the event log says about a number of runs.
type span struct {
	first, last time.Time // stored: the first claim, the last completion
	completed   int
}

func readSpan(ctx context.Context, conn *streams.Conn, first uint64) (span, error) {
	log, err := conn.JS.Stream(ctx, streams.EventStream)
	if err != nil {
		return span{}, err
	}
	last := log.CachedInfo().State.LastSeq
	events, err := log.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first})
	if err != nil {
		return span{}, err
	}
	msgs, err := events.Messages()
	if err != nil {
		return span{}, err
	}
	defer msgs.Stop()
	var s span
	for {
		msg, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return span{}, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return span{}, err
		}
		var event schemas.Event[schemas.RunEvent]
		if err := json.Unmarshal(msg.Data(), &event); err != nil {
			return span{}, err
		}
		switch event.Data.State {
		case schemas.Pending:
			if s.first.IsZero() {
				s.first = meta.Timestamp
			}
		case schemas.Completed:
			s.last = meta.Timestamp
			s.completed++
		case schemas.Failed, schemas.Crashed, schemas.Cancelled:
			return span{}, fmt.Errorf("run %s is %s: %s", event.Data.Run, event.Data.State, event.Data.Message)
		}
		if meta.Sequence.Stream >= last {
			return s, nil
		}
	}
}
