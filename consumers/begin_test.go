package consumers_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// NATS goes away at each of the requests that a worker makes until it is ready: it waits, and starts when NATS is back.
func TestWorker_waitsForANATSThatGoesAwayAsItStarts(t *testing.T) {
	s := streamstest.Listen(t)
	b := newBenchOn(t, s, 1, time.Second, nil)
	const most = 20
	var requests atomic.Int64
	t.Run("at each request", func(t *testing.T) {
		for n := 1; n <= most; n++ {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				if b.startsThough(t, s, n) {
					requests.Add(1)
				}
			})
		}
	})
	if n := requests.Load(); n < 5 || n == most {
		t.Errorf("a worker made %d requests until it was ready, want some, and fewer than %d", n, most)
	}
}

// startsThough starts a worker, with a NATS that is away for a moment when it makes its nth request. false: it is ready before.
func (b *bench) startsThough(t *testing.T, s *server.Server, n int) bool {
	const timeout = 200 * time.Millisecond
	p := streamstest.NewProxy(t, s.Addr().String(), 1)
	reached := p.BlockAt(n, "PUB $")
	conn, err := streams.Connect(t.Context(), streams.Config{Server: p.URL(), Timeout: timeout, Patient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w, err := consumers.New(conn, consumers.Config{
		Name: fmt.Sprintf("w%d", n), Pool: "dev", Slots: 1, Dir: t.TempDir(), Types: []runners.Type{b.infra.poolType()},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	drain, end := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- w.Run(drain, drain, func(consumers.Ready) { close(ready) }) }()
	defer func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-reached:
	case <-ready:
		return false
	case <-time.After(30 * time.Second):
		t.Fatal("the worker is neither ready nor at that request after 30 s")
	}
	select {
	case err := <-ended:
		ended <- err
		t.Fatal("the worker ended")
	case <-time.After(3 * timeout): // nobody waits for an answer any more
	}
	p.Unblock(t)
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal("the worker ended when NATS was back")
	case <-time.After(30 * time.Second):
		t.Fatal("the worker is not ready 30 s after NATS is back")
	}
	return true
}
