package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

const (
	poolKey       = "pool."
	deploymentKey = "deployment."
	sequenceKey   = "sequence." // the last request of a pool that was deleted: run IDs are never given twice
)

// CreatePool makes the pool's stream and its queues' consumers, then records it. [ErrExists]: a pool of that name is there.
// A stream that is there without a record, such as one made by Terraform, is adopted as it is.
func (c *Conn) CreatePool(ctx context.Context, p schemas.Pool) (schemas.Pool, error) {
	if err := checkPool(p); err != nil {
		return p, err
	}
	if _, err := get[schemas.Pool](ctx, c, ConfigBucket, poolKey+p.Name); err == nil {
		return p, fmt.Errorf("work pool %q: %w", p.Name, ErrExists)
	} else if !errors.Is(err, ErrNotFound) {
		return p, err
	}
	last, err := get[uint64](ctx, c, ConfigBucket, sequenceKey+p.Name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return p, err
	}
	if err := c.ensureStream(ctx, poolConfig(p, last+1)); err != nil {
		return p, err
	}
	if err := c.ensureQueues(ctx, p); err != nil {
		return p, err
	}
	p.Created = time.Now().UTC().Truncate(time.Millisecond)
	p.Updated = p.Created
	return p, c.put(ctx, ConfigBucket, poolKey+p.Name, p)
}

// UpdatePool changes the pool's stream, its queues and its record.
func (c *Conn) UpdatePool(ctx context.Context, p schemas.Pool) (schemas.Pool, error) {
	if err := checkPool(p); err != nil {
		return p, err
	}
	old, err := c.Pool(ctx, p.Name)
	if err != nil {
		return p, err
	}
	if old.Type != p.Type {
		return p, fmt.Errorf("work pool %q is of type %s, which cannot change to %s; create another pool", p.Name, old.Type, p.Type)
	}
	if p.Lease() < old.Lease() { // NATS would take the runs that are held back at once, and their owners not know it
		queues, err := c.QueueStatuses(ctx, old)
		if err != nil {
			return p, err
		}
		for _, q := range queues {
			if q.Running > 0 {
				return p, fmt.Errorf("the ack wait of work pool %q cannot be cut from %s to %s while %d runs of work queue %s are held: pause the pool until they have ended",
					p.Name, old.Lease(), p.Lease(), q.Running, q.Name)
			}
		}
	}
	bounded, cancel := c.bound(ctx)
	defer cancel()
	if _, err := c.JS.UpdateStream(bounded, poolConfig(p, 0)); err != nil {
		return p, fmt.Errorf("update the stream of work pool %q: %w", p.Name, unavailable(c.url, err))
	}
	if err := c.ensureQueues(ctx, p); err != nil {
		return p, err
	}
	p.Created, p.Updated = old.Created, time.Now().UTC().Truncate(time.Millisecond)
	return p, c.put(ctx, ConfigBucket, poolKey+p.Name, p)
}

func checkPool(p schemas.Pool) error {
	if err := schemas.CheckName("work pool", p.Name); err != nil {
		return err
	}
	for _, q := range p.WorkQueues {
		if err := schemas.CheckName("work queue", q.Name); err != nil {
			return err
		}
	}
	return nil
}

// ensureQueues makes each queue's consumer, and that of cancel requests, with the settings that Weir needs: a subject without
// one would collect in silence.
func (c *Conn) ensureQueues(ctx context.Context, p schemas.Pool) error {
	consumers := []jetstream.ConsumerConfig{cancelConfig(p.Name)}
	for _, q := range p.Queues() {
		consumers = append(consumers, queueConfig(p, q))
	}
	for _, cfg := range consumers {
		bounded, cancel := c.bound(ctx)
		_, err := c.JS.CreateOrUpdateConsumer(bounded, poolStream(p.Name), cfg)
		cancel()
		if err != nil {
			return fmt.Errorf("set up consumer %q of work pool %q: %w", cfg.Durable, p.Name, unavailable(c.url, err))
		}
	}
	return nil
}

// Pool returns a pool's record. The error names the pools there are.
func (c *Conn) Pool(ctx context.Context, name string) (schemas.Pool, error) {
	var p schemas.Pool
	err := ErrNotFound
	if schemas.ValidName(name) {
		p, err = get[schemas.Pool](ctx, c, ConfigBucket, poolKey+name)
	}
	if errors.Is(err, ErrNotFound) {
		names, err := c.names(ctx, poolKey)
		if err != nil {
			return p, err
		}
		create := ""
		if schemas.ValidName(name) {
			create = "weir work-pool create " + name + " --type process"
		}
		return p, notFound("work pool", name, names, create)
	}
	return p, err
}

// Pools returns every pool, by name.
func (c *Conn) Pools(ctx context.Context) ([]schemas.Pool, error) {
	return list[schemas.Pool](ctx, c, poolKey)
}

// DeletePool deletes the pool's stream, with every request that waits in it, and its record. What its runs did stays in the
// event log.
func (c *Conn) DeletePool(ctx context.Context, name string) error {
	if _, err := c.Pool(ctx, name); err != nil {
		return err
	}
	bounded, cancel := c.bound(ctx)
	defer cancel()
	s, err := c.JS.Stream(bounded, poolStream(name))
	if err == nil {
		if err := c.put(ctx, ConfigBucket, sequenceKey+name, s.CachedInfo().State.LastSeq); err != nil {
			return err
		}
		err = c.JS.DeleteStream(bounded, poolStream(name))
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete the stream of work pool %q: %w", name, unavailable(c.url, err))
	}
	return c.remove(ctx, ConfigBucket, poolKey+name)
}

// PutDeployment records a deployment. Its pool and queue need not exist yet.
func (c *Conn) PutDeployment(ctx context.Context, d schemas.Deployment) (schemas.Deployment, error) {
	if err := schemas.CheckName("deployment", d.Name); err != nil {
		return d, err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	old, err := get[schemas.Deployment](ctx, c, ConfigBucket, deploymentKey+d.Name)
	switch {
	case err == nil:
		d.Created = old.Created
	case errors.Is(err, ErrNotFound):
		d.Created = now
	default:
		return d, err
	}
	d.Updated = now
	return d, c.put(ctx, ConfigBucket, deploymentKey+d.Name, d)
}

// Deployment returns a deployment's record. The error names the nearest there is.
func (c *Conn) Deployment(ctx context.Context, name string) (schemas.Deployment, error) {
	var d schemas.Deployment
	err := ErrNotFound
	if schemas.ValidName(name) {
		d, err = get[schemas.Deployment](ctx, c, ConfigBucket, deploymentKey+name)
	}
	if errors.Is(err, ErrNotFound) {
		names, err := c.names(ctx, deploymentKey)
		if err != nil {
			return d, err
		}
		return d, notFound("deployment", name, names, "weir deploy")
	}
	return d, err
}

// DeploymentNow returns a deployment's record and revision as the bucket's leader has them at this moment. record is nil where the
// revision is known.
func (c *Conn) DeploymentNow(ctx context.Context, name string, known uint64) (record *schemas.Deployment, revision uint64, err error) {
	if err := schemas.CheckName("deployment", name); err != nil {
		return nil, 0, err
	}
	m, err := c.leaderMsg(ctx, "KV_"+ConfigBucket, msgGetRequest{LastFor: keySubject(ConfigBucket, deploymentKey+name)})
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && m.Header.Get("KV-Operation") != "":
		d, err := c.Deployment(ctx, name) // which names those there are
		return &d, 0, err
	case err != nil:
		return nil, 0, fmt.Errorf("read deployment %s: %w", name, err)
	case m.Sequence == known:
		return nil, known, nil
	}
	record = new(schemas.Deployment)
	if err := json.Unmarshal(m.Data, record); err != nil {
		return nil, 0, fmt.Errorf("read deployment %s: %w", name, err)
	}
	return record, m.Sequence, nil
}

// Deployments returns every deployment, by name.
func (c *Conn) Deployments(ctx context.Context) ([]schemas.Deployment, error) {
	return list[schemas.Deployment](ctx, c, deploymentKey)
}

// DeleteDeployment removes the record. Requests that wait for it will be refused when they are claimed.
func (c *Conn) DeleteDeployment(ctx context.Context, name string) error {
	if _, err := c.Deployment(ctx, name); err != nil {
		return err
	}
	return c.remove(ctx, ConfigBucket, deploymentKey+name)
}

// ConfigChange is one change of a pool or a deployment.
type ConfigChange struct {
	Pool       string              // the pool that changed, or empty
	Deployment string              // the deployment that changed, or empty
	PoolRecord *schemas.Pool       // nil: deleted
	Record     *schemas.Deployment // nil: deleted
	Revision   uint64              // of the change in the bucket
}

// WatchConfig calls apply for every pool and deployment there is, then, until ctx ends, for each change. ready is closed
// after the first pass. It returns when ctx ends or the watch breaks.
func (c *Conn) WatchConfig(ctx context.Context, ready chan<- struct{}, apply func(ConfigChange)) error {
	kv, err := c.bucket(ctx, ConfigBucket)
	if err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch %s: %w", ConfigBucket, unavailable(c.url, err))
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return fmt.Errorf("watch %s: the watch ended", ConfigBucket)
			case e == nil:
				close(ready)
			default:
				if change, ok := configChange(e); ok {
					apply(change)
				}
			}
		}
	}
}

// configChange reads one entry. A record that does not parse counts as deleted: nothing may run by it.
func configChange(e jetstream.KeyValueEntry) (ConfigChange, bool) {
	gone := e.Operation() != jetstream.KeyValuePut
	if name, ok := strings.CutPrefix(e.Key(), poolKey); ok {
		ch := ConfigChange{Pool: name, Revision: e.Revision()}
		if p := new(schemas.Pool); !gone && json.Unmarshal(e.Value(), p) == nil {
			ch.PoolRecord = p
		}
		return ch, true
	}
	if name, ok := strings.CutPrefix(e.Key(), deploymentKey); ok {
		ch := ConfigChange{Deployment: name, Revision: e.Revision()}
		if d := new(schemas.Deployment); !gone && json.Unmarshal(e.Value(), d) == nil {
			ch.Record = d
		}
		return ch, true
	}
	return ConfigChange{}, false
}

// QueueStatus is a work queue as its consumer tells it.
type QueueStatus struct {
	Name             string     `json:"name"`
	Priority         int        `json:"priority,omitempty"`
	ConcurrencyLimit int        `json:"concurrency_limit,omitempty"`
	Depth            uint64     `json:"depth"`            // runs waiting, not those held by a worker
	Running          int        `json:"running"`          // runs held by a worker: claimed or running
	Oldest           *time.Time `json:"oldest,omitempty"` // when the oldest waiting request was stored
	Redelivered      int        `json:"redelivered,omitempty"`
}

// QueueStatuses returns each queue of a pool, in the order of its record.
func (c *Conn) QueueStatuses(ctx context.Context, p schemas.Pool) ([]QueueStatus, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	stream, err := c.JS.Stream(ctx, poolStream(p.Name))
	if err != nil {
		return nil, fmt.Errorf("look at the stream of work pool %q: %w", p.Name, unavailable(c.url, err))
	}
	var out []QueueStatus
	for _, q := range p.Queues() {
		st := QueueStatus{Name: q.Name, Priority: q.Priority, ConcurrencyLimit: q.ConcurrencyLimit}
		cons, err := stream.Consumer(ctx, q.Name)
		if err != nil {
			return nil, fmt.Errorf("look at work queue %q of work pool %q: %w", q.Name, p.Name, err)
		}
		info := cons.CachedInfo()
		st.Depth, st.Running, st.Redelivered = info.NumPending, info.NumAckPending, info.NumRedelivered
		if st.Depth > 0 {
			next, err := stream.GetMsg(ctx, info.Delivered.Stream+1, jetstream.WithGetMsgSubject(queueFilter(p.Name, q.Name)))
			if err == nil {
				st.Oldest = &next.Time
			} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil, fmt.Errorf("look at the oldest request of work queue %q: %w", q.Name, err)
			}
		}
		out = append(out, st)
	}
	return out, nil
}

// get reads a key from the bucket's leader: whoever has just been told that it was written finds it. [ErrNotFound]: it is not there.
func get[T any](ctx context.Context, c *Conn, bucket, key string) (v T, err error) {
	bounded, cancel := c.bound(ctx)
	defer cancel()
	if _, err := c.bucket(bounded, bucket); err != nil {
		return v, err
	}
	m, err := c.leaderMsg(ctx, "KV_"+bucket, msgGetRequest{LastFor: keySubject(bucket, key)})
	if err != nil {
		return v, err
	}
	if m.Header.Get("KV-Operation") != "" {
		return v, ErrNotFound // it was deleted
	}
	if err := json.Unmarshal(m.Data, &v); err != nil {
		return v, fmt.Errorf("read %s of bucket %s: %w", strconv.Quote(key), bucket, err)
	}
	return v, nil
}

func (c *Conn) put(ctx context.Context, bucket, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	kv, err := c.bucket(ctx, bucket)
	if err != nil {
		return err
	}
	if _, err := kv.Put(ctx, key, b); err != nil {
		return fmt.Errorf("write %s to bucket %s: %w", key, bucket, unavailable(c.url, err))
	}
	return nil
}

func (c *Conn) remove(ctx context.Context, bucket, key string) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	kv, err := c.bucket(ctx, bucket)
	if err != nil {
		return err
	}
	if err := kv.Delete(ctx, key); err != nil {
		return fmt.Errorf("delete %s from bucket %s: %w", key, bucket, unavailable(c.url, err))
	}
	return nil
}

func list[T any](ctx context.Context, c *Conn, prefix string) ([]T, error) {
	entries, err := c.entries(ctx, ConfigBucket, prefix+"*")
	if err != nil {
		return nil, err
	}
	out := make([]T, 0, len(entries))
	for _, e := range entries {
		var v T
		if err := json.Unmarshal(e.Value(), &v); err != nil {
			return nil, fmt.Errorf("read %q of bucket %s: %w", e.Key(), ConfigBucket, err)
		}
		out = append(out, v)
	}
	return out, nil
}

func (c *Conn) names(ctx context.Context, prefix string) ([]string, error) {
	entries, err := c.entries(ctx, ConfigBucket, prefix+"*")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimPrefix(e.Key(), prefix))
	}
	return names, nil
}

// entries returns what a bucket holds under a pattern of keys, by key.
func (c *Conn) entries(ctx context.Context, bucket, pattern string) ([]jetstream.KeyValueEntry, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	kv, err := c.bucket(ctx, bucket)
	if err != nil {
		return nil, err
	}
	w, err := kv.Watch(ctx, pattern, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, unavailable(c.url, err)
	}
	defer w.Stop()
	var out []jetstream.KeyValueEntry
	for {
		select {
		case <-ctx.Done():
			return nil, unavailable(c.url, ctx.Err())
		case e, ok := <-w.Updates():
			if ok && e != nil {
				out = append(out, e)
				continue
			}
			sort.Slice(out, func(i, j int) bool { return out[i].Key() < out[j].Key() })
			return out, nil
		}
	}
}
