package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// HeartbeatEvery is how often a worker writes its record at least; whoever has not written for [OfflineAfter] is offline.
const (
	HeartbeatEvery = 4 * time.Second
	OfflineAfter   = 10 * time.Second
)

// Heartbeat is how often a worker of the pool writes its record: several times in a lease, which ends with it.
func Heartbeat(p schemas.Pool) time.Duration { return min(HeartbeatEvery, p.Lease()/6) }

// PutWorker writes a worker's record, its sign of life, after the one with that sequence (0: there is none), and returns the
// sequence of the new one. [ErrOvertaken]: another one has been written meanwhile, by a worker of the same name or by an earlier
// call whose answer was lost.
func (c *Conn) PutWorker(ctx context.Context, w schemas.Worker, last uint64) (uint64, error) {
	body, err := json.Marshal(w)
	if err != nil {
		return 0, fmt.Errorf("write the record of worker %s: %w", w.Name, err)
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	ack, err := c.JS.PublishMsg(ctx, &nats.Msg{Subject: recordSubject(w.Pool, w.Name), Data: body}, jetstream.WithExpectLastSequencePerSubject(last))
	switch {
	case overtaken(err):
		return 0, fmt.Errorf("write the record of worker %s: %w", w.Name, ErrOvertaken)
	case err != nil:
		return 0, fmt.Errorf("write the record of worker %s: %w", w.Name, unavailable(c.url, err))
	}
	return ack.Sequence, nil
}

// RemoveWorker takes back the record of a worker that has stopped as it should, unless another of that name has started since. A
// last record of its own, still on its way, does not bring it back.
func (c *Conn) RemoveWorker(ctx context.Context, w schemas.Worker) error {
	kv, err := c.bucket(ctx, WorkersBucket)
	if err != nil {
		return err
	}
	for {
		now, err := c.WorkerRecord(ctx, w.Pool, w.Name)
		if err != nil {
			return err
		}
		if now.Instance != w.Instance {
			return nil
		}
		bounded, cancel := c.bound(ctx)
		err = kv.Delete(bounded, w.Pool+"."+w.Name, jetstream.LastRevision(now.Sequence))
		cancel()
		if err == nil {
			return nil
		} else if !overtaken(err) || ctx.Err() != nil {
			return fmt.Errorf("remove the record of worker %s: %w", w.Name, err)
		}
	}
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

// Lost is about how many of a pool's requests were delivered and are in nobody's hands: more than those whose leases may not
// have run out yet.
func (c *Conn) Lost(ctx context.Context, p schemas.Pool) (int, error) {
	queues, err := c.QueueStatuses(ctx, p)
	if err != nil {
		return 0, err
	}
	lost := 0
	for _, q := range queues {
		lost += q.Running
	}
	entries, err := c.entries(ctx, WorkersBucket, p.Name+".*")
	if err != nil || len(entries) == 0 {
		return lost, err
	}
	now, err := c.ServerTime(ctx)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		var w schemas.Worker
		if json.Unmarshal(e.Value(), &w) == nil && now.Sub(e.Created()) < p.Lease()+Heartbeat(p) {
			lost -= w.Used
		}
	}
	return max(lost, 0), nil
}

// A WorkerRecord is a worker's record as the bucket's leader has it.
type WorkerRecord struct {
	schemas.Worker
	Data      []byte // byte for byte; nil: there is none, which proves nothing: it ages by a NATS node's clock
	Sequence  uint64 // to write the next one after; 0: there is none
	TakenBack bool   // the worker has ended as it should
}

// WorkerRecord returns a worker's record.
func (c *Conn) WorkerRecord(ctx context.Context, pool, worker string) (WorkerRecord, error) {
	m, err := c.leaderMsg(ctx, "KV_"+WorkersBucket, msgGetRequest{LastFor: recordSubject(pool, worker)})
	if errors.Is(err, ErrNotFound) {
		return WorkerRecord{}, nil
	} else if err != nil {
		return WorkerRecord{}, fmt.Errorf("look for worker %s: %w", worker, err)
	}
	r := WorkerRecord{Data: m.Data, Sequence: m.Sequence, TakenBack: m.Header.Get("KV-Operation") != ""}
	_ = json.Unmarshal(m.Data, &r.Worker) // what no worker wrote is nobody's
	return r, nil
}

// EachRecord calls each for the record of every worker of a pool, byte for byte.
func (c *Conn) EachRecord(ctx context.Context, pool string, each func(worker string, record []byte)) error {
	entries, err := c.entries(ctx, WorkersBucket, pool+".*")
	if err != nil {
		return err
	}
	for _, e := range entries {
		each(strings.TrimPrefix(e.Key(), pool+"."), e.Value())
	}
	return nil
}

// OnRecords calls each for every record that a worker of the pool writes, from the moment it returns until stop is called. It is
// a hint: the record may not be stored yet, or never be.
func (c *Conn) OnRecords(pool string, each func(worker string, record []byte)) (stop func(), err error) {
	return c.hints(recordSubject(pool, "*"), func(m *nats.Msg) {
		each(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], m.Data)
	}, func() {})
}

// WatchLosses calls lost, until ctx ends or the watch breaks, for each worker of a pool that has not written for so long, with
// the time of its last record by this machine's clock. Nothing is asked again and again: records come as they are written.
func (c *Conn) WatchLosses(ctx context.Context, pool string, silent time.Duration, lost func(seen time.Time)) error {
	kv, err := c.bucket(ctx, WorkersBucket)
	if err != nil {
		return err
	}
	now, err := c.ServerTime(ctx)
	if err != nil {
		return err
	}
	ahead := time.Until(now) // the server's clock, seen from here
	w, err := kv.Watch(ctx, pool+".*")
	if err != nil {
		return fmt.Errorf("watch the workers of pool %s: %w", pool, unavailable(c.url, err))
	}
	defer w.Stop()
	seen := map[string]time.Time{}
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("the watch ended")
			case e == nil:
			case e.Operation() == jetstream.KeyValuePut:
				seen[e.Key()] = e.Created().Add(-ahead)
			default:
				delete(seen, e.Key())
			}
		case <-look.C:
			for worker, at := range seen {
				if time.Since(at) > silent {
					delete(seen, worker)
					lost(at)
				}
			}
		}
	}
}
