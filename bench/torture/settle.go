//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/bench/torture/history"
	"github.com/weir-run/weir/streams"
)

const (
	// settleTime is how long everything may take to end once all is mended: the longest runs, with all their attempts, one
	// after another.
	settleTime = 4 * time.Minute
	// quietTime is how long it must stay so: a worker's record is written every few seconds.
	quietTime = streams.HeartbeatEvery + time.Second
)

// settle waits until no run is left and nothing changes any more, for settleTime at most, and writes down what is there then.
// Whether that is right is not judged here.
func (s *system) settle(ctx context.Context, q *requests) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var end history.End
	var err error
	var quiet time.Time // since when nothing is left; zero: something is
	for ; ctx.Err() == nil; pause(ctx, 500*time.Millisecond) {
		if q.unfinished() > 0 {
			quiet = time.Time{}
			continue
		}
		if end, err = s.left(ctx); err != nil || !end.Empty() {
			quiet = time.Time{}
			continue
		}
		if quiet.IsZero() {
			quiet = time.Now()
		} else if time.Since(quiet) > quietTime {
			break
		}
	}
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancelLast()
	for end, err = s.left(last); err != nil && last.Err() == nil; end, err = s.left(last) {
		pause(last, time.Second)
	}
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(end, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, history.EndFile), b, 0o600)
}

// left is what is there now.
func (s *system) left(ctx context.Context) (history.End, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var end history.End
	name, err := s.conn.JS.StreamNameBySubject(ctx, streams.RunSubject(pool, "default", deployments[0].name))
	if err != nil {
		return end, fmt.Errorf("look at what is left: %w", err)
	}
	stream, err := s.conn.JS.Stream(ctx, name)
	if err != nil {
		return end, fmt.Errorf("look at what is left: %w", err)
	}
	consumers := stream.ListConsumers(ctx)
	for c := range consumers.Info() {
		end.Queues = append(end.Queues, queueLeft(c, stream.CachedInfo()))
	}
	if err := consumers.Err(); err != nil {
		return end, fmt.Errorf("look at what is left: %w", err)
	}
	workers, err := s.conn.Workers(ctx, pool)
	if err != nil {
		return end, fmt.Errorf("look at what is left: %w", err)
	}
	for _, w := range workers {
		end.Workers = append(end.Workers, history.Worker{Name: w.Name, Status: string(w.Status), Used: w.Used})
	}
	for _, c := range s.workers() {
		if c.disk != nil {
			end.Full = append(end.Full, c.name)
		}
	}
	for _, pid := range s.living() {
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		end.Alive = append(end.Alive, fmt.Sprintf("process %d, run %s", pid, variable(args, "WEIR_RUN_ID")))
	}
	return end, nil
}

func queueLeft(c *jetstream.ConsumerInfo, s *jetstream.StreamInfo) history.Queue {
	return history.Queue{Name: c.Name, Pending: c.NumPending, AckPending: c.NumAckPending, Messages: s.State.Msgs}
}
