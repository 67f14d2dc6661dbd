package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// How long what has happened is kept. Never a limit on count or bytes: those would take a live run's events.
const (
	eventAge = 7 * 24 * time.Hour
	runsAge  = 30 * 24 * time.Hour
	logAge   = 7 * 24 * time.Hour

	// workerAge is how long a worker that stopped without a word stays listed as offline.
	workerAge = 24 * time.Hour
)

// Setup makes sure that the streams and buckets all pools share are there. It changes none that exists: their settings
// belong to whoever runs the NATS. replicas 0 means 1. A system of another major version of the schemas is left alone and is
// [ErrUnavailable].
func (c *Conn) Setup(ctx context.Context, replicas int) error {
	if err := c.Check(ctx); err != nil {
		return err
	}
	replicas = max(replicas, 1)
	for _, s := range []jetstream.StreamConfig{eventConfig(replicas), runsConfig(replicas), logConfig(replicas), deadConfig(replicas)} {
		if err := c.ensureStream(ctx, s); err != nil {
			return err
		}
	}
	for _, b := range []jetstream.KeyValueConfig{
		{Bucket: ConfigBucket, Description: "Weir: pools and deployments", History: 20, Replicas: replicas},
		{Bucket: WorkersBucket, Description: "Weir: live workers", History: 1, TTL: workerAge, Replicas: replicas},
		locksConfig(replicas),
	} {
		if err := c.ensureBucket(ctx, b); err != nil {
			return err
		}
	}
	return c.recordSchema(ctx)
}

func (c *Conn) ensureStream(ctx context.Context, cfg jetstream.StreamConfig) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	_, err := c.JS.Stream(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = c.JS.CreateStream(ctx, cfg)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil // somebody else made it between the two calls
		}
	}
	if err != nil {
		return fmt.Errorf("set up stream %s: %w", cfg.Name, unavailable(c.url, err))
	}
	return nil
}

func (c *Conn) ensureBucket(ctx context.Context, cfg jetstream.KeyValueConfig) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	_, err := c.JS.KeyValue(ctx, cfg.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = c.JS.CreateKeyValue(ctx, cfg)
		if errors.Is(err, jetstream.ErrBucketExists) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("set up bucket %s: %w", cfg.Bucket, unavailable(c.url, err))
	}
	return nil
}

func eventConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: EventStream, Description: "Weir: what happened", Subjects: []string{eventPrefix + ">"},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, MaxAge: eventAge, Replicas: replicas,
		AllowDirect: true, AllowAtomicPublish: true, DenyPurge: false,
	}
}

// runsConfig is a KV bucket that JetStream itself keeps: it takes the last event of each run from the event stream, with
// the state dropped from the subject.
//
// It is written to disk a moment later than it is acknowledged: what a crash takes from it, JetStream sources again from the
// event stream (seen after 15 of 15 kill -9 in full flight). Replicated streams have no such mode.
func runsConfig(replicas int) jetstream.StreamConfig {
	persist := jetstream.DefaultPersistMode
	if replicas == 1 {
		persist = jetstream.AsyncPersistMode
	}
	return jetstream.StreamConfig{
		Name: "KV_" + RunsBucket, Description: "Weir: every run's current state",
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, MaxAge: runsAge, Replicas: replicas,
		MaxMsgsPerSubject: 1, PersistMode: persist, AllowDirect: true, AllowRollup: true, Discard: jetstream.DiscardNew, DenyDelete: true,
		Sources: []*jetstream.StreamSource{{
			Name: EventStream,
			SubjectTransforms: []jetstream.SubjectTransformConfig{{
				Source:      runEventPrefix + "*.*.*.*",
				Destination: "$KV." + RunsBucket + ".{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}",
			}},
		}},
	}
}

func logConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: LogStream, Description: "Weir: jobs' output", Subjects: []string{logPrefix + ">"},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, MaxAge: logAge, Replicas: replicas,
		AllowDirect: true, AllowAtomicPublish: true, Compression: jetstream.S2Compression,
	}
}

func deadConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: DeadStream, Description: "Weir: requests that could not be accepted", Subjects: []string{deadPrefix + ">"},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: replicas, AllowDirect: true,
	}
}

// poolConfig is a pool's stream. No limit discards anything: with message schedules the server allows only to discard the
// oldest, which would be runs (ADR-51).
func poolConfig(p schemas.Pool, first uint64) jetstream.StreamConfig {
	subjects := []string{scheduleSubjects(p.Name), cancelSubject(p.Name, "*")}
	for _, q := range p.Queues() {
		subjects = append(subjects, queueSubject(p.Name, q.Name))
	}
	return jetstream.StreamConfig{
		Name: poolStream(p.Name), Description: "Weir: work pool " + p.Name, Subjects: subjects,
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Replicas: max(p.Replicas, 1),
		AllowDirect: true, AllowMsgSchedules: true, AllowAtomicPublish: true, AllowRollup: true, FirstSeq: first,
		Duplicates: 2 * time.Minute,
	}
}

// maxAckPending is how many runs of a queue without a limit can be held at once. The server's default, 1,000, would stop a
// large pool without a word.
const maxAckPending = 1_000_000

// heldAtMost is how many of a queue's runs can be held at once over all workers: its own limit and the pool's, whichever is
// less. NATS counts unacknowledged deliveries, so a lost worker's place comes back with the redelivery, and the limit is never
// exceeded. A pool's limit over several queues holds for each of them alone.
func heldAtMost(p schemas.Pool, q schemas.WorkQueue) int {
	limit := maxAckPending
	for _, l := range []int{p.ConcurrencyLimit, q.ConcurrencyLimit} {
		if l > 0 {
			limit = min(limit, l)
		}
	}
	return limit
}

// maxWaiting is how many pull requests a queue can have waiting: one for each free slot at most. The server's default is 512.
const maxWaiting = 100_000

// cancelConfig is the consumer of a pool's cancel requests, shared by its workers and the servers.
func cancelConfig(pool string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: cancelConsumer, Description: "Weir: cancel requests of pool " + pool, FilterSubject: cancelSubject(pool, "*"),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxDeliver: -1, MaxAckPending: 10_000, MaxWaiting: maxWaiting,
		DeliverPolicy: jetstream.DeliverAllPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
	}
}

func queueConfig(p schemas.Pool, q schemas.WorkQueue) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: q.Name, Description: "Weir: work queue " + q.Name + " of pool " + p.Name, FilterSubject: queueFilter(p.Name, q.Name),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: p.Lease(), MaxDeliver: -1, MaxAckPending: heldAtMost(p, q), MaxWaiting: maxWaiting,
		DeliverPolicy: jetstream.DeliverAllPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
	}
}
