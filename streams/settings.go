package streams

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// MinKeep is the shortest time for which anything may be kept: a run's last event has to outlive every renewal and report, and
// what people look for an hour later has to be there.
const MinKeep = time.Hour

// Settings are what the streams that all pools share can be set to. A zero field leaves what is there.
type Settings struct {
	Replicas   int           // of each stream: 1, 3 or 5
	KeepEvents time.Duration // how long events are kept
	KeepRuns   time.Duration // how long a run's last state is kept
	KeepLogs   time.Duration // how long output is kept
}

// Check refuses what no system can be set to.
func (s Settings) Check() error {
	if !slices.Contains([]int{0, 1, 3, 5}, s.Replicas) {
		return fmt.Errorf("%d replicas: NATS agrees among 1, 3 or 5", s.Replicas)
	}
	for _, k := range []struct {
		what string
		time.Duration
	}{{"events", s.KeepEvents}, {"runs", s.KeepRuns}, {"logs", s.KeepLogs}} {
		if k.Duration != 0 && k.Duration < MinKeep {
			return fmt.Errorf("%s kept for %s: keep them for at least %s", k.what, k.Duration, MinKeep)
		}
	}
	return nil
}

// Adjust changes the streams that all pools share, where they differ from what s says. They have to be there: see
// [Conn.Setup].
func (c *Conn) Adjust(ctx context.Context, s Settings) error {
	if err := s.Check(); err != nil {
		return err
	}
	for _, a := range []struct {
		stream string
		keep   time.Duration
	}{
		{EventStream, s.KeepEvents},
		{"KV_" + RunsBucket, s.KeepRuns},
		{LogStream, s.KeepLogs},
		{DeadStream, 0},
		{"KV_" + ConfigBucket, 0},
		{"KV_" + WorkersBucket, 0},
		{"KV_" + LocksBucket, 0},
	} {
		if err := c.adjustStream(ctx, a.stream, s.Replicas, a.keep); err != nil {
			return err
		}
	}
	return nil
}

// adjustStream sets a stream's replicas and age, each unless it is 0.
func (c *Conn) adjustStream(ctx context.Context, name string, replicas int, keep time.Duration) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	stream, err := c.JS.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", name, unavailable(c.url, err))
	}
	have := stream.CachedInfo().Config
	want := have
	if replicas != 0 {
		want.Replicas = replicas
	}
	if keep != 0 {
		want.MaxAge = keep
	}
	if want.Replicas == have.Replicas && want.MaxAge == have.MaxAge {
		return nil
	}
	if want.Replicas > 1 && want.PersistMode == jetstream.AsyncPersistMode { // which no update changes
		return fmt.Errorf("%w: stream %s was made for one replica and cannot get %d; it is only a view of the events, and is made anew when it is not there: "+
			"nats stream rm %s (the last states of runs whose events are gone go with it), then start this again", ErrRefused, name, want.Replicas, name)
	}
	if _, err := c.JS.UpdateStream(ctx, want); err != nil {
		return fmt.Errorf("change stream %s: %w", name, unavailable(c.url, err))
	}
	return nil
}

// HeldEvery is how often the owner of a long run records its state again, so that its last event is never too old to be kept:
// half the time for which this system keeps events. 0: it keeps them for ever.
func (c *Conn) HeldEvery(ctx context.Context) (time.Duration, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	stream, err := c.JS.Stream(ctx, EventStream)
	if err != nil {
		return 0, fmt.Errorf("ask how long events are kept: %w", unavailable(c.url, err))
	}
	return stream.CachedInfo().Config.MaxAge / 2, nil
}
