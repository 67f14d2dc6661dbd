package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// letGo is how long [Conn.DeleteQueue] gives the workers to stop asking for a queue's runs.
const letGo = 5 * time.Second

// DeleteQueue deletes a work queue with every request that waits in it or is scheduled for it. The default one, and one of
// which workers hold runs, is [ErrRefused]. What was cut short can be called again.
func (c *Conn) DeleteQueue(ctx context.Context, pool, queue string) error {
	p, err := c.Pool(ctx, pool)
	if err != nil {
		return err
	}
	if queue == schemas.DefaultQueue {
		return fmt.Errorf("%w: every work pool has the work queue %s", ErrRefused, queue)
	}
	bounded, cancel := c.bound(ctx)
	defer cancel()
	cons, err := c.JS.Consumer(bounded, poolStream(pool), queue)
	i := slices.IndexFunc(p.WorkQueues, func(q schemas.WorkQueue) bool { return q.Name == queue })
	if i < 0 && (errors.Is(err, jetstream.ErrConsumerNotFound) || !schemas.ValidName(queue)) {
		var known []string
		for _, q := range p.Queues() {
			known = append(known, q.Name)
		}
		return notFound("work queue", queue, known, "")
	} else if err != nil {
		return fmt.Errorf("look at work queue %q of work pool %q: %w", queue, pool, unavailable(c.url, err))
	}
	if held := cons.CachedInfo().NumAckPending; held > 0 {
		return heldRuns(queue, held)
	}
	// Workers follow the record: they stop asking for the queue's runs before its consumer goes, which they would take for
	// the pool's end.
	if i >= 0 {
		p.WorkQueues = slices.Delete(slices.Clone(p.WorkQueues), i, i+1)
		if _, err := c.UpdatePool(ctx, p); err != nil {
			return err
		}
	}
	if held, err := c.released(ctx, cons); err != nil {
		return fmt.Errorf("delete work queue %q of work pool %q: %w", queue, pool, unavailable(c.url, err))
	} else if held > 0 { // started since the first look
		return heldRuns(queue, held)
	}
	return c.removeQueue(ctx, pool, queue)
}

func heldRuns(queue string, n int) error {
	return fmt.Errorf("%w: workers hold %d runs of work queue %s; cancel them or wait until they have ended, then delete it", ErrRefused, n, queue)
}

// released waits until nobody asks for more of a queue's runs, for as long as [letGo], and returns how many are held then.
func (c *Conn) released(ctx context.Context, cons jetstream.Consumer) (held int, err error) {
	ctx, cancel := context.WithTimeout(ctx, letGo+c.timeout)
	defer cancel()
	look := time.NewTicker(50 * time.Millisecond) // NATS tells nobody
	defer look.Stop()
	for until := time.Now().Add(letGo); ; {
		info, err := cons.Info(ctx)
		if err != nil {
			return 0, err
		}
		if info.NumWaiting == 0 || info.NumAckPending > 0 || time.Now().After(until) {
			return info.NumAckPending, nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// removeQueue removes what NATS has of a queue that no record names any more.
func (c *Conn) removeQueue(ctx context.Context, pool, queue string) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	s, err := c.JS.Stream(ctx, poolStream(pool))
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject(queueFilter(pool, queue)))
	}
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject(schedulePrefix+pool+"."+queue+".>"))
	}
	if err == nil {
		err = s.DeleteConsumer(ctx, queue)
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete work queue %q of work pool %q: %w", queue, pool, unavailable(c.url, err))
	}
	return nil
}
