package streams_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// entry is the line at position n.
func entry(n int) streams.LogEntry {
	return streams.LogEntry{Stream: "stdout", Position: int64(n), Line: fmt.Appendf(nil, "line %d", n)}
}

// stored reads the run's log as lines.
func stored(t *testing.T, c *streams.Conn, run string) (lines []string) {
	t.Helper()
	if err := c.ReadLogs(t.Context(), run, false, func(l streams.LogLine) error { lines = append(lines, l.Line); return nil }); err != nil {
		t.Fatal(err)
	}
	return lines
}

// numbered is the lines of positions 1 to n.
func numbered(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d", i+1)
	}
	return lines
}

func flush(t *testing.T, w *streams.LogWriter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestLogWriter_storesManyLinesInOrder(t *testing.T) {
	c := streamstest.Connect(t)
	w := c.Logs("dev", "hello", "dev-1", 1)
	const n = 5321
	for i := range n {
		w.Write(entry(i + 1))
		if i%1234 == 0 {
			flush(t, w)
		}
	}
	flush(t, w)
	if diff := cmp.Diff(numbered(n), stored(t, c, "dev-1")); diff != "" {
		t.Errorf("stored lines (-want +got):\n%.2000s", diff)
	}
}

func TestLogWriter_leavesOutWhatAnotherStored(t *testing.T) {
	c := streamstest.Connect(t)
	first, second := c.Logs("dev", "hello", "dev-1", 1), c.Logs("dev", "hello", "dev-1", 1)
	for i := range 300 {
		first.Write(entry(i + 1))
		if i < 200 {
			second.Write(entry(i + 1))
		}
	}
	flush(t, second)
	flush(t, first) // the frozen worker comes back with what it still had
	if last, err := second.Last(t.Context()); err != nil || last != 300 {
		t.Errorf("last = %d, %v, want 300", last, err)
	}
	third := c.Logs("dev", "hello", "dev-1", 1)
	for i := range 301 {
		third.Write(entry(i + 1))
	}
	flush(t, third)
	if diff := cmp.Diff(numbered(301), stored(t, c, "dev-1")); diff != "" {
		t.Errorf("stored lines (-want +got):\n%.2000s", diff)
	}
}

func TestLogWriter_laterAttemptShutsOutTheOneBefore(t *testing.T) {
	c := streamstest.Connect(t)
	one, two := c.Logs("dev", "hello", "dev-1", 1), c.Logs("dev", "hello", "dev-1", 2)
	one.Write(entry(1))
	flush(t, one)
	if last, err := two.Last(t.Context()); err != nil || last != 0 {
		t.Errorf("last of attempt 2 = %d, %v, want 0", last, err)
	}
	claimed := event("dev-1", schemas.Pending, "w2")
	claimed.Attempt = 2
	if _, err := c.Append(claimed, 0, "").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	two.Write(streams.LogEntry{Stream: "stdout", Position: 1, Line: []byte("again")})
	flush(t, two)
	one.Write(entry(2))
	flush(t, one)
	if diff := cmp.Diff([]string{"line 1", "again"}, stored(t, c, "dev-1")); diff != "" {
		t.Errorf("stored lines (-want +got):\n%s", diff)
	}
}

// Somebody publishes a line to a run's log by hand, whatever its headers say: no line of the job's is lost or doubled.
func TestLogWriter_goesOnAfterALineByHand(t *testing.T) {
	for _, header := range []string{"", "no line", "1", "9.1", "2.7", "-1.3"} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			c := streamstest.Connect(t)
			if _, err := c.Append(event("dev-1", schemas.Pending, "w1"), 0, "").Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			by := func(hand string) {
				msg := nats.NewMsg("weir.log.dev.hello.dev-1")
				msg.Data = []byte(hand)
				if header != "" {
					msg.Header.Set(streams.HeaderLine, header)
				}
				if _, err := c.JS.PublishMsg(t.Context(), msg); err != nil {
					t.Fatal(err)
				}
			}
			by("before")
			w := c.Logs("dev", "hello", "dev-1", 1)
			w.Write(entry(1))
			flush(t, w)
			w.Write(entry(2))
			by("between")
			flush(t, w)
			by("after")
			again := c.Logs("dev", "hello", "dev-1", 1) // the worker was restarted
			if last, err := again.Last(t.Context()); err != nil || last != 2 {
				t.Errorf("last = %d, %v, want 2", last, err)
			}
			for n := 1; n <= 3; n++ {
				again.Write(entry(n))
			}
			flush(t, again)
			want := []string{"before", "line 1", "between", "line 2", "after", "line 3"}
			if diff := cmp.Diff(want, stored(t, c, "dev-1")); diff != "" {
				t.Errorf("stored lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogWriter_storesOneByOneWhereBatchesAreRefused(t *testing.T) {
	c := streamstest.Connect(t)
	s, err := c.JS.Stream(t.Context(), streams.LogStream)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.AllowAtomicPublish = false
	if _, err := c.JS.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	w := c.Logs("dev", "hello", "dev-1", 1)
	for i := range 1000 {
		w.Write(entry(i + 1))
	}
	flush(t, w)
	if diff := cmp.Diff(numbered(1000), stored(t, c, "dev-1")); diff != "" {
		t.Errorf("stored lines (-want +got):\n%.2000s", diff)
	}
}

// TestLogWriter_brokenConnectionsLoseAndDoubleNothing cuts the connection at random bytes, so that lines and acknowledgements
// are lost on their way, and restarts the server in between.
func TestLogWriter_brokenConnectionsLoseAndDoubleNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	s := serve(t, server.Options{StoreDir: dir, Port: server.RANDOM_PORT})
	addr := s.Addr().(*net.TCPAddr)
	p := streamstest.NewProxy(t, addr.String(), seed)
	c := dialProxy(t, p)
	if err := streamstest.Dial(t, s).Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	const n, writers = 20_000, 3
	var wg sync.WaitGroup
	for k := range writers {
		sizes := rand.New(rand.NewPCG(seed, uint64(k)+1))
		wg.Go(func() {
			w := c.Logs("dev", "hello", fmt.Sprintf("dev-%d", k), 1)
			for i := 0; i < n; {
				for range 1 + sizes.IntN(1+sizes.IntN(3000)) {
					if i < n {
						i++
						w.Write(entry(i))
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				err := w.Flush(ctx)
				cancel()
				if err != nil {
					t.Errorf("flush: %v", err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for cuts := 0; ; cuts++ {
		pause := time.Duration(random.IntN(60)) * time.Millisecond
		if cuts > 60 {
			pause = time.Minute
		}
		select {
		case <-done:
			t.Logf("%d cuts", cuts)
			reader := streamstest.Dial(t, s)
			for k := range writers {
				if diff := cmp.Diff(numbered(n), stored(t, reader, fmt.Sprintf("dev-%d", k))); diff != "" {
					t.Errorf("stored lines of run %d (-want +got):\n%.2000s", k, diff)
				}
			}
			return
		case <-time.After(pause):
			p.Cut()
			if cuts == 5 {
				s.Shutdown()
				s.WaitForShutdown()
				s = serve(t, server.Options{StoreDir: dir, Port: addr.Port})
			}
		}
	}
}

// serve starts a server that can be started again.
func serve(t *testing.T, o server.Options) *server.Server {
	t.Helper()
	o.Host, o.JetStream, o.NoLog, o.NoSigs = "127.0.0.1", true, true, true
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready after 10 s")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

// dialProxy connects through p and comes back at once.
func dialProxy(t *testing.T, p *streamstest.Proxy) *streams.Conn {
	t.Helper()
	nc, err := nats.Connect(p.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
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

func TestLogWriter_lineThatFitsNoMessageIsCut(t *testing.T) {
	c := streamstest.Dial(t, serve(t, server.Options{StoreDir: t.TempDir(), Port: server.RANDOM_PORT, MaxPayload: 8 << 10}))
	if err := c.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w := c.Logs("dev", "hello", "dev-1", 1)
	w.Write(streams.LogEntry{Stream: "stdout", Position: 1, Line: bytes.Repeat([]byte("x"), 64<<10)})
	w.Write(streams.LogEntry{Stream: "stdout", Position: 2, Line: []byte("next")})
	flush(t, w)
	if got := stored(t, c, "dev-1"); len(got) != 2 || len(got[0]) != 7<<10 || got[1] != "next" {
		t.Errorf("got %d lines, the first of %d bytes, want 7168 bytes of it and the next", len(got), len(got[0]))
	}
}

func TestLogWriter_flushEndsWithItsContext(t *testing.T) {
	s := streamstest.Listen(t)
	c := streamstest.Dial(t, s)
	if err := c.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w := c.Logs("dev", "hello", "dev-1", 1)
	s.Shutdown()
	w.Write(entry(1))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := w.Flush(ctx)
	if err == nil || !strings.Contains(err.Error(), "store output") {
		t.Errorf("flush without a server = %v, want why the output is not stored", err)
	}
}
