package streams_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// sharedStreams are the names of those that Setup makes.
var sharedStreams = []string{"WEIR_EVENTS", "KV_weir_runs", "WEIR_LOGS", "WEIR_DEAD", "KV_weir_config", "KV_weir_workers"}

func ages(t *testing.T, c *streams.Conn) []time.Duration {
	t.Helper()
	var out []time.Duration
	for _, name := range sharedStreams {
		s, err := c.JS.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s.CachedInfo().Config.MaxAge)
	}
	return out
}

func TestAdjust_changesOnlyTheAgesItIsGiven(t *testing.T) {
	c := streamstest.Connect(t)
	day := 24 * time.Hour
	for _, tt := range []struct {
		set  streams.Settings
		want []time.Duration
	}{
		{streams.Settings{}, []time.Duration{7 * day, 30 * day, 7 * day, 0, 0, day}},
		{streams.Settings{KeepEvents: 2 * day}, []time.Duration{2 * day, 30 * day, 7 * day, 0, 0, day}},
		{streams.Settings{KeepRuns: day, KeepLogs: time.Hour}, []time.Duration{2 * day, day, time.Hour, 0, 0, day}},
	} {
		if err := c.Adjust(t.Context(), tt.set); err != nil {
			t.Fatal(err)
		}
		if err := c.Setup(t.Context(), 1); err != nil { // as at the next start, without flags
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, ages(t, c)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.set, diff)
		}
		every, err := c.HeldEvery(t.Context())
		if err != nil || every != tt.want[0]/2 {
			t.Errorf("HeldEvery: got %v, %v, want %v", every, err, tt.want[0]/2)
		}
	}
}

func TestHeldEvery_isNeverWhereEventsAreKeptForEver(t *testing.T) {
	c := streamstest.Connect(t)
	s, err := c.JS.Stream(t.Context(), streams.EventStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxAge = 0
	if _, err := c.JS.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if every, err := c.HeldEvery(t.Context()); err != nil || every != 0 {
		t.Errorf("got %v, %v, want 0", every, err)
	}
}

func TestSettings_refuseWhatCannotBeMeant(t *testing.T) {
	for _, tt := range []struct {
		set  streams.Settings
		want string
	}{
		{streams.Settings{Replicas: 5, KeepEvents: time.Hour, KeepRuns: time.Hour, KeepLogs: time.Hour}, ""},
		{streams.Settings{Replicas: 2}, "2 replicas: NATS agrees among 1, 3 or 5"},
		{streams.Settings{Replicas: -1}, "-1 replicas: NATS agrees among 1, 3 or 5"},
		{streams.Settings{KeepEvents: 59 * time.Minute}, "events kept for 59m0s: keep them for at least 1h0m0s"},
		{streams.Settings{KeepRuns: -time.Hour}, "runs kept for -1h0m0s: keep them for at least 1h0m0s"},
		{streams.Settings{KeepLogs: time.Second}, "logs kept for 1s: keep them for at least 1h0m0s"},
	} {
		got := ""
		if err := tt.set.Check(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.set, got, tt.want)
		}
	}
}

func TestAdjust_givesSharedStreamsMoreReplicas(t *testing.T) {
	c := streamstest.Dial(t, streamstest.Cluster(t)[0])
	if err := c.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	three := streams.Settings{Replicas: 3}
	if err := c.Adjust(t.Context(), three); !errors.Is(err, streams.ErrRefused) || !strings.Contains(err.Error(), "nats stream rm KV_weir_runs") {
		t.Fatalf("a view made for one replica: got %v, want what to do about it", err)
	}
	if err := c.JS.DeleteStream(t.Context(), "KV_weir_runs"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Setup(t.Context(), 3), c.Adjust(t.Context(), three)); err != nil {
		t.Fatal(err)
	}
	for _, name := range sharedStreams {
		s, err := c.JS.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().Config.Replicas; got != 3 {
			t.Errorf("%s: got %d replicas, want 3", name, got)
		}
	}
}
