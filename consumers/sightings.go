package consumers

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/weir-run/weir/streams"
)

// maxSighted is how many workers of a pool are listened to: each record goes to each listener. In a larger pool a lost run is
// taken over later, by two thirds of an ack wait.
const maxSighted = 200

// sightings is since when this process has known the records of other workers, by its own monotonic clock. No other clock tells
// whether a worker is lost: that of a NATS node, or of a host, may jump.
type sightings struct {
	mu      sync.Mutex
	workers map[string]sighting // under mu
}

type sighting struct {
	record []byte
	since  time.Time
}

func newSightings() *sightings { return &sightings{workers: map[string]sighting{}} }

// listen notes the records of a pool's workers as they pass by, until stop is called, and those that are there now: whoever has
// stopped already is timed from here. One that cannot be read now is timed from when it is first asked for.
func (s *sightings) listen(ctx context.Context, conn *streams.Conn, pool string) (stop func(), err error) {
	if stop, err = conn.OnRecords(pool, s.saw); err == nil {
		_ = conn.EachRecord(ctx, pool, func(worker string, record []byte) { s.unchanged(worker, record) })
	}
	return stop, err
}

// saw notes a record that passes by.
func (s *sightings) saw(worker string, record []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.workers[worker]; known || len(s.workers) < maxSighted {
		s.workers[worker] = sighting{record: record, since: time.Now()}
	}
}

// unchanged is for how long a worker's record has been the one that was read just now. It was sent before this process first
// saw it, and whatever else that worker has had confirmed would have taken its place.
func (s *sightings) unchanged(worker string, record []byte) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.workers[worker]
	if !ok || !bytes.Equal(known.record, record) {
		known = sighting{record: record, since: time.Now()}
		s.workers[worker] = known
	}
	return time.Since(known.since)
}
