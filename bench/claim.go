//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

const (
	few    = 10
	claims = 1000 // of one turn
)

// claimLatency measures from a free slot to a recorded claim, by the worker's own code (pull, compare-and-set), with few and with many
// runs waiting in the pool, both on one nats-server with one event log.
func claimLatency(ctx context.Context, b *bench) ([]row, error) {
	nats, _, _, conn, err := b.startNATS(ctx, filepath.Join(b.dir, "claim"))
	if err != nil {
		return nil, err
	}
	defer nats.stop()
	defer conn.Close()
	if err := conn.Setup(ctx, 1); err != nil {
		return nil, err
	}
	small, err := newClaimer(ctx, conn, "few")
	if err != nil {
		return nil, err
	}
	defer small.stop()
	large, err := newClaimer(ctx, conn, "many")
	if err != nil {
		return nil, err
	}
	defer large.stop()
	if err := b.fill(ctx, conn, "many", b.waiting+b.pairs*claims); err != nil {
		return nil, err
	}

	c, s, ratio, err := turns(b, func() (float64, error) {
		var took []time.Duration
		for len(took) < claims {
			if err := submit(ctx, conn, "few", noop, nil, few); err != nil {
				return 0, err
			}
			batch, err := small.claim(ctx, few)
			if err != nil {
				return 0, err
			}
			took = append(took, batch...)
		}
		return quantile(took, 0.5).Seconds(), nil
	}, func() (float64, error) {
		took, err := large.claim(ctx, claims)
		return quantile(took, 0.5).Seconds(), err
	})
	seconds := func(s float64) string { return fmt.Sprintf("%.3f ms", s*1000) }
	return []row{{
		fmt.Sprintf("claim latency p50, %d runs waiting", b.waiting), seconds(s), fmt.Sprintf("%d waiting %s", few, seconds(c)), fmt.Sprintf("%.2f", ratio), "≤ 1.3",
	}}, err
}

// fill stores n requests and says how far it is.
func (b *bench) fill(ctx context.Context, conn *streams.Conn, pool string, n int) error {
	const step = 100_000
	for stored := 0; stored < n; {
		part := min(step, n-stored)
		if err := submit(ctx, conn, pool, noop, nil, part); err != nil {
			return err
		}
		stored += part
		b.say("  %d of %d runs wait in pool %s", stored, n, pool)
	}
	return nil
}

// A claimer is a worker without a runner: it pulls, claims and acknowledges.
type claimer struct {
	conn  *streams.Conn
	slots chan struct{}
	got   chan *streams.Delivery
	stop  func() // ends the pulling and waits for it
}

func newClaimer(ctx context.Context, conn *streams.Conn, pool string) (*claimer, error) {
	p, err := conn.CreatePool(ctx, schemas.Pool{Name: pool, Type: "process"})
	if err != nil {
		return nil, err
	}
	puller, err := conn.Puller(p, nil, 1)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &claimer{conn: conn, slots: make(chan struct{}), got: make(chan *streams.Delivery, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = puller.Run(ctx, c.slots, func(d *streams.Delivery) { c.got <- d })
	}()
	c.stop = func() {
		cancel()
		<-done
	}
	return c, nil
}

// claim takes n runs, one after the other, and returns how long each took from the free slot to the stored claim.
func (c *claimer) claim(ctx context.Context, n int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var took []time.Duration
	for range n {
		began := time.Now()
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("offer a slot: %w", context.Cause(ctx))
		}
		var d *streams.Delivery
		select {
		case d = <-c.got:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a run: %w", context.Cause(ctx))
		}
		event := schemas.RunEvent{
			Run: d.Run, Pool: d.Pool, Queue: d.Queue, Deployment: d.Deployment, State: schemas.Pending, Attempt: 1, Worker: "bench",
			Time: time.Now().UTC(), Requested: d.Requested, Sequence: d.Sequence,
		}
		if _, err := c.conn.Append(event, 0, "").Wait(ctx); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
		if err := d.Ack(ctx); err != nil {
			return nil, err
		}
	}
	return took, nil
}
