package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// NATS goes away at each of the requests that a worker makes until it is ready: it waits, and starts when NATS is back.
func TestWorker_waitsForANATSThatGoesAwayAsItStarts(t *testing.T) {
	t.Parallel()
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

// A server may be setting NATS up when a worker comes: that is waited for, and not for ever.
func TestWorker_waitsForANATSThatIsBeingSetUp(t *testing.T) {
	t.Parallel()
	for _, comes := range []bool{true, false} {
		t.Run(map[bool]string{true: "which comes to an end", false: "which does not"}[comes], func(t *testing.T) {
			t.Parallel()
			s := streamstest.Server(t)
			conn := streamstest.Dial(t, s)
			log := &bare{said: make(chan struct{}, 100)}
			w, err := consumers.New(conn, consumers.Config{
				Name: "w1", Pool: "dev", Dir: t.TempDir(), Types: []runners.Type{newInfrastructure(nil).poolType()}, Logger: slog.New(log),
			})
			if err != nil {
				t.Fatal(err)
			}
			drain, end := context.WithCancel(t.Context())
			defer end()
			began := time.Now()
			ready, ended := make(chan struct{}), make(chan error, 1)
			go func() { ended <- w.Run(drain, drain, func(consumers.Ready) { close(ready) }) }()
			<-log.said // it has looked
			if comes {
				if err := conn.Setup(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.CreatePool(t.Context(), schemas.Pool{Name: "dev", Type: "process"}); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-ready:
				if !comes {
					t.Error("it is ready without a pool")
				}
				end()
				<-ended
			case err := <-ended:
				if took := time.Since(began); comes || !errors.Is(err, streams.ErrNotSetUp) || took < 4*time.Second {
					t.Errorf("it ended after %s: %v", took, err)
				}
			case <-time.After(30 * time.Second):
				t.Error("it is neither ready nor has it ended after 30 s")
			}
		})
	}
}

// bare is a log that tells when something is said.
type bare struct{ said chan struct{} }

func (b *bare) Enabled(context.Context, slog.Level) bool { return true }
func (b *bare) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *bare) WithGroup(string) slog.Handler            { return b }
func (b *bare) Handle(context.Context, slog.Record) error {
	b.said <- struct{}{}
	return nil
}
