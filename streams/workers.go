package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// HeartbeatEvery is how often a worker writes its record; whoever has not written for [OfflineAfter] is offline.
const (
	HeartbeatEvery = 4 * time.Second
	OfflineAfter   = 10 * time.Second
)

// PutWorker writes a worker's record: its sign of life.
func (c *Conn) PutWorker(ctx context.Context, w schemas.Worker) error {
	return c.put(ctx, WorkersBucket, w.Pool+"."+w.Name, w)
}

// RemoveWorker takes back the record of a worker that has stopped as it should, unless another of that name has started
// since.
func (c *Conn) RemoveWorker(ctx context.Context, w schemas.Worker) error {
	key := w.Pool + "." + w.Name
	now, revision, err := get[schemas.Worker](ctx, c, WorkersBucket, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) || err == nil && now.Instance != w.Instance {
		return nil
	} else if err != nil {
		return err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	kv, err := c.bucket(ctx, WorkersBucket)
	if err != nil {
		return err
	}
	if err := kv.Delete(ctx, key, jetstream.LastRevision(revision)); err != nil && !overtaken(err) {
		return fmt.Errorf("remove the record of worker %s: %w", w.Name, err)
	}
	return nil
}

// Workers returns the workers of a pool, or of all when pool is empty, by name. One that stopped without a word is offline,
// and stays listed for a day. Ages are measured by the NATS server's clock.
func (c *Conn) Workers(ctx context.Context, pool string) ([]schemas.Worker, error) {
	entries, err := c.entries(ctx, WorkersBucket, anyToken(pool)+".*")
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	now, err := c.ServerTime(ctx)
	if err != nil {
		return nil, err
	}
	var out []schemas.Worker
	for _, e := range entries {
		var w schemas.Worker
		if err := json.Unmarshal(e.Value(), &w); err != nil {
			return nil, fmt.Errorf("read worker %q: %w", e.Key(), err)
		}
		if w.Seen = e.Created().UTC(); now.Sub(w.Seen) > OfflineAfter {
			w.Status, w.Used, w.Runs = schemas.WorkerOffline, 0, nil
		}
		out = append(out, w)
	}
	return out, nil
}

// Lost is about how many of a pool's requests are in nobody's hands although they were delivered: more are held than the
// workers that are online say they hold.
func (c *Conn) Lost(ctx context.Context, p schemas.Pool) (int, error) {
	queues, err := c.QueueStatuses(ctx, p)
	if err != nil {
		return 0, err
	}
	workers, err := c.Workers(ctx, p.Name)
	if err != nil {
		return 0, err
	}
	lost := 0
	for _, q := range queues {
		lost += q.Running
	}
	for _, w := range workers {
		lost -= w.Used // an offline worker's is 0
	}
	return max(lost, 0), nil
}
