package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// keeper starts what a server does for runs that no worker looks after.
func (b *bench) keeper(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	k := consumers.NewKeeper(b.Conn, name, []runners.Type{b.infra.poolType()}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Errorf("the keeper did not end within %s", patience)
		}
	})
}

func TestKeeper_expiresWhatNoWorkerTakes(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	b.deploy(t, schemas.Deployment{Name: "brief", Command: schemas.Command{"true"}, ExpiresAfter: schemas.Duration(time.Second)})
	before := b.request(t, fmt.Sprintf(`{"expires_at": %q}`, time.Now().Add(time.Second).Format(time.RFC3339Nano)))
	b.keeper(t, "server1")
	b.keeper(t, "server2")
	at := time.Now().Add(1500 * time.Millisecond)
	after := b.request(t, fmt.Sprintf(`{"expires_at": %q}`, at.Format(time.RFC3339Nano)))
	never := b.request(t, "")
	r, err := b.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "brief"})
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{before, after, r.Run} {
		events := b.events(t, run)
		if got, want := states(events), []string{"failed 0 expired"}; !cmp.Equal(got, want) {
			t.Errorf("run %s: got %v, want %v", run, got, want)
		}
		if by := events[0].Worker; !strings.HasPrefix(by, "server:server") || schemas.ValidName(by) {
			t.Errorf("run %s: recorded by %q, want a name that no worker can have", run, by)
		}
		if late := events[0].Time.Sub(at); late > 5*time.Second {
			t.Errorf("run %s was recorded as expired %s too late", run, late)
		}
	}
	b.waiting(t, 1)
	if _, err := b.Request(t.Context(), "dev", never); err != nil {
		t.Errorf("the run that does not expire: %v", err)
	}
}

// A deployment that is given an expiry expires what waits for it already.
func TestKeeper_expiresByWhatTheDeploymentSaysNow(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	b.keeper(t, "server1")
	run := b.request(t, "")
	b.deploy(t, schemas.Deployment{Name: "hello", Command: schemas.Command{"true"}, ExpiresAfter: schemas.Duration(time.Second)})
	if got, want := states(b.events(t, run)), []string{"failed 0 expired"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestKeeper_cancelsWhereThereIsNoWorker(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	run := b.request(t, "")
	if err := b.RequestCancel(t.Context(), "dev", run, "not today"); err != nil {
		t.Fatal(err)
	}
	b.keeper(t, "server1")
	if got, want := states(b.events(t, run)), []string{"cancelled 0 cancel_requested"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The pool's only worker is gone: the run is not shown as running any more, and goes on when there is a worker again.
func TestKeeper_recoversWhatTheLastWorkerLost(t *testing.T) {
	t.Parallel()
	const ackWait = 2 * time.Second
	b := newBench(t, ackWait, nil)
	b.keeper(t, "server1")
	_, kill := b.worker(t, "w1", 2)
	run := b.request(t, "")
	b.runs(t, run)
	<-b.infra.began
	kill()
	killed := time.Now()
	waiting := b.request(t, "")
	b.reaches(t, run, schemas.Retrying)
	// A worker counts as lost after ten seconds, longer than this ack wait.
	if took := time.Since(killed); took > streams.OfflineAfter+5*time.Second {
		t.Errorf("the lost run was found after %s", took)
	}
	b.worker(t, "w2", 2)
	for range 2 {
		(<-b.infra.began).end(runners.Result{})
	}
	events := b.events(t, run)
	want := []string{"pending 1", "running 1", "retrying 1 worker_lost", "pending 2", "running 2", "completed 2"}
	if got := states(events); !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := states(b.events(t, waiting)); len(got) != 3 {
		t.Errorf("got %v for the run that waited, want one attempt", got)
	}
	b.empty(t)
}

// JetStream publishes what a schedule asks for by itself, so nobody sees it pass by. The schedule comes when the keeper has been there
// for long.
func TestKeeper_expiresWhatARepeatingScheduleAsksFor(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	b.keeper(t, "server1")
	b.deploy(t, schemas.Deployment{Name: "hello", Command: schemas.Command{"true"}, ExpiresAfter: schemas.Duration(100 * time.Millisecond)})
	first := b.request(t, "")
	b.events(t, first) // the keeper has looked at the pool
	expired := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() {
		watched <- b.WatchRuns(ctx, streams.Filter{States: []schemas.State{schemas.Failed}}, func(e streams.Recorded) error {
			expired <- e.Run
			return nil
		})
	}()
	defer func() {
		cancel()
		if err := <-watched; err != nil {
			t.Error(err)
		}
	}()
	msg := nats.NewMsg("weir.schedule.dev.default.hello.tick")
	msg.Header.Set("Nats-Schedule", "@every 1s")
	msg.Header.Set("Nats-Schedule-Target", streams.RunSubject("dev", "default", "hello"))
	if _, err := b.JS.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	// The first firing could be found by a look that was due anyway; those that come later are found only by looking again.
	for n := 0; n < 3; {
		select {
		case run := <-expired:
			if !strings.HasPrefix(run, "dev-tick-") {
				t.Errorf("run %s expired, want only firings", run)
			}
			n++
		case <-time.After(6 * time.Second):
			t.Fatalf("%d firings expired, and then none within 6 s", n)
		}
	}
}

// Somebody names a request like another one: a worker rejects it, and until then nobody's run expires for it.
func TestKeeper_expiresNoOtherRequestsRun(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	body := []byte(fmt.Sprintf(`{"expires_at": %q}`, time.Now().Add(-time.Second).Format(time.RFC3339Nano)))
	msg := nats.NewMsg(streams.RunSubject("dev", "default", "hello"))
	msg.Data = body
	msg.Header.Set(streams.HeaderRunID, "dev-2")
	if _, err := b.JS.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	other := b.request(t, "")
	b.keeper(t, "server1")
	last := b.request(t, string(body))
	b.events(t, last)
	if e, err := b.LastEvent(t.Context(), "dev", "hello", other); !errors.Is(err, streams.ErrNotFound) {
		t.Fatalf("run %s: got %s, %v, want no event", other, e.State, err)
	}
	b.worker(t, "w1", 1)
	(<-b.infra.began).end(runners.Result{})
	if got, want := states(b.events(t, other)), []string{"pending 1", "running 1", "completed 1"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
