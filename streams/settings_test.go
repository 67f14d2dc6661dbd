package streams_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

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

// clustered starts three servers that form a cluster and connects to the first.
func clustered(t *testing.T) *streams.Conn {
	t.Helper()
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, l.Addr().String())
		l.Close()
	}
	var servers []*server.Server
	for i, route := range routes {
		_, port, _ := net.SplitHostPort(route)
		number, _ := strconv.Atoi(port)
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: number}, Routes: server.RoutesFromStr("nats://" + strings.Join(routes, ",nats://")),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("a server of the cluster is not ready after 20 s")
		}
	}
	led := func() bool {
		return slices.ContainsFunc(servers, func(s *server.Server) bool {
			return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers)
		})
	}
	for limit := time.Now().Add(20 * time.Second); !led(); time.Sleep(10 * time.Millisecond) { // it tells nobody
		if time.Now().After(limit) {
			t.Fatal("the cluster has no leader after 20 s")
		}
	}
	nc, err := nats.Connect(servers[0].ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c, err := streams.Open(nc, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAdjust_givesSharedStreamsMoreReplicas(t *testing.T) {
	c := clustered(t)
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
