package streams

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// lockAge is how long a lock outlasts a holder who has died, or lost NATS.
	lockAge = 30 * time.Second
	// lockLook is how often a lock that somebody holds is looked at: nobody tells when it has aged out.
	lockLook = time.Second
)

// lockRecord is a held lock's entry.
type lockRecord struct {
	Key    string    `json:"key"`
	Holder string    `json:"holder"` // who has it, for people
	Since  time.Time `json:"since"`
	ID     string    `json:"id"` // of this holding of it
}

// Lock makes its caller the only one of this system that has that key, until unlock is called: an entry in a bucket whose entries age
// out, which its holder renews. holder is for people. The error says that ctx has ended, or that NATS does not answer although it is
// there: it may not be permitted, and work that is done twice is better than none.
func (c *Conn) Lock(ctx context.Context, key, holder string) (unlock func(), err error) {
	next, err := c.queueUp(ctx, key) // of many in this process one at a time asks NATS
	if err != nil {
		return nil, err
	}
	l := &lock{conn: c, name: lockName(key)}
	if err := l.take(ctx, lockRecord{Key: key, Holder: holder, ID: nuid.Next()}); err != nil {
		next()
		return nil, fmt.Errorf("lock %s: %w", key, err)
	}
	renewing, end := context.WithCancel(context.WithoutCancel(ctx))
	var renewal sync.WaitGroup
	renewal.Go(func() { l.renew(renewing) })
	return sync.OnceFunc(func() {
		end()
		renewal.Wait()
		l.release()
		next()
	}), nil
}

// queueUp waits for the others in this process that have the key, or wait for it.
func (c *Conn) queueUp(ctx context.Context, key string) (next func(), err error) {
	slot, _ := c.locks.LoadOrStore(key, make(chan struct{}, 1))
	turn := slot.(chan struct{})
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("lock %s: %w", key, context.Cause(ctx))
	}
}

// lockName is a bucket's key for any text.
func lockName(key string) string {
	hash := sha256.Sum256([]byte(key))
	return hex.EncodeToString(hash[:16])
}

// lock is one holding of a lock. It is used by one goroutine at a time.
type lock struct {
	conn     *Conn
	name     string
	body     []byte
	age      time.Duration // the bucket's
	revision uint64
}

// take waits until nobody else has the lock.
func (l *lock) take(ctx context.Context, r lockRecord) error {
	r.Since = time.Now().UTC()
	if held, err := l.try(ctx, r); err == nil && !held { // as a rule, and then nothing need be listened to
		return nil
	}
	freed := make(chan struct{}, 1)
	look := func() {
		select {
		case freed <- struct{}{}:
		default:
		}
	}
	unhear, err := l.conn.hints(keySubject(LocksBucket, l.name), func(m *nats.Msg) {
		if m.Header.Get("KV-Operation") != "" {
			look()
		}
	}, look)
	if err != nil {
		return err
	}
	defer unhear()
	for answered := time.Now(); ; {
		r.Since = time.Now().UTC()
		held, err := l.try(ctx, r)
		switch {
		case err == nil && !held:
			return nil
		case err == nil:
			answered = time.Now()
		case !l.conn.NC.IsConnected():
			answered = time.Now() // it may be once it is back
		case time.Since(answered) > lockAge, l.conn.NC.IsClosed():
			return err
		}
		select {
		case <-freed:
		case <-time.After(lockLook):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// try takes the lock unless somebody holds it.
func (l *lock) try(ctx context.Context, r lockRecord) (held bool, err error) {
	kv, err := l.conn.lockBucket(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := l.conn.bound(ctx)
	defer cancel()
	if l.age == 0 {
		status, err := kv.Status(ctx)
		if err != nil {
			return false, fmt.Errorf("look at bucket %s: %w", LocksBucket, unavailable(l.conn.url, err))
		}
		l.age = max(status.TTL(), time.Second)
	}
	if l.body, err = json.Marshal(r); err != nil {
		return false, err
	}
	if l.revision, err = kv.Create(ctx, l.name, l.body); err == nil {
		return false, nil
	} else if !errors.Is(err, jetstream.ErrKeyExists) {
		return false, unavailable(l.conn.url, err)
	}
	e, err := kv.Get(ctx, l.name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return true, nil // it has been freed just now
	} else if err != nil {
		return false, unavailable(l.conn.url, err)
	}
	if now := (lockRecord{}); json.Unmarshal(e.Value(), &now) == nil && now.ID == r.ID { // an answer was lost
		l.body, l.revision = e.Value(), e.Revision()
		return false, nil
	}
	return true, nil
}

// lockBucket returns the bucket of locks, which a system that an older version set up does not have yet.
func (c *Conn) lockBucket(ctx context.Context) (jetstream.KeyValue, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if kv, ok := c.buckets.Load(LocksBucket); ok {
		return kv.(jetstream.KeyValue), nil
	}
	if _, err := c.JS.KeyValue(ctx, LocksBucket); errors.Is(err, jetstream.ErrBucketNotFound) {
		replicas := 1
		if s, err := c.JS.Stream(ctx, "KV_"+WorkersBucket); err == nil {
			replicas = s.CachedInfo().Config.Replicas
		}
		if err := c.ensureBucket(ctx, locksConfig(replicas)); err != nil {
			return nil, err
		}
	}
	return c.bucket(ctx, LocksBucket)
}

func locksConfig(replicas int) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: LocksBucket, Description: "Weir: who does what only one is to do at a time", History: 1, TTL: lockAge, Replicas: replicas,
	}
}

// renew writes the entry again and again until ctx ends, or somebody else has the lock.
func (l *lock) renew(ctx context.Context) {
	for wait := l.age / 3; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = l.age / 3
		kv, err := l.conn.lockBucket(ctx)
		if err == nil {
			bounded, cancel := l.conn.bound(ctx)
			var revision uint64
			if revision, err = kv.Update(bounded, l.name, l.body, l.revision); err == nil {
				l.revision = revision
			} else if overtaken(err) && !l.mine(bounded, kv) {
				cancel()
				return
			}
			cancel()
		}
		if err != nil {
			wait = min(l.age/30, time.Second)
		}
	}
}

// mine tells whether the entry is this holding's all the same: an answer was lost.
func (l *lock) mine(ctx context.Context, kv jetstream.KeyValue) bool {
	e, err := kv.Get(ctx, l.name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		l.revision = 0 // it has aged out, and nobody has taken it since
		return true
	}
	if err != nil || !bytes.Equal(e.Value(), l.body) {
		return err != nil
	}
	l.revision = e.Revision()
	return true
}

// release frees the lock at once, where NATS answers.
func (l *lock) release() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if kv, err := l.conn.lockBucket(ctx); err == nil {
		_ = kv.Delete(ctx, l.name, jetstream.LastRevision(l.revision)) // it ages out otherwise
	}
}
