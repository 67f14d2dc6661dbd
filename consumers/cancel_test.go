package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func (b *bench) cancel(t *testing.T, run string) schemas.RunEvent {
	t.Helper()
	e, err := consumers.Cancel(t.Context(), b.Conn, "dev", run, "wrong date")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestCancel_ofAWaitingRunRemovesItsRequest(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	run := b.request(t, "")
	if e := b.cancel(t, run); e.State != schemas.Cancelled {
		t.Fatalf("got %s, want cancelled", e.State)
	}
	b.empty(t)
	b.worker(t, "w1", 1)
	next := b.request(t, "")
	<-b.infra.began
	if got := b.infra.started(); len(got) != 1 || got[0] != next+".1" {
		t.Errorf("got %v started, want only %s", got, next)
	}
	if got, want := states(b.events(t, run)), []string{"cancelled 0 cancel_requested"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCancel_ofAWaitingRunThatWasNamed(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	b.request(t, "")
	if _, err := b.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "hello", RunID: "nightly"}); err != nil {
		t.Fatal(err)
	}
	if e := b.cancel(t, "nightly"); e.State != schemas.Cancelled {
		t.Fatalf("got %s, want cancelled", e.State)
	}
	if _, err := b.Request(t.Context(), "dev", "nightly"); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("the request is still there: %v", err)
	}
}

func TestCancel_ofARunningRunStopsItsExecution(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	b.worker(t, "w1", 1)
	run := b.request(t, "")
	b.runs(t, run)
	if e := b.cancel(t, run); e.State != schemas.Cancelling {
		t.Fatalf("got %s, want cancelling", e.State)
	}
	events := b.events(t, run)
	want := []string{"pending 1", "running 1", "cancelling 1 cancel_requested", "cancelled 1 cancel_requested"}
	if got := states(events); !cmp.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if last := events[3]; last.Signal != "SIGTERM" || !strings.Contains(last.Message, "wrong date") || !strings.Contains(events[2].Message, "wrong date") || events[2].Worker != "w1" {
		t.Errorf("got %+v after %+v", last, events[2])
	}
	b.empty(t)
}

// Where a request on the subject is all there is: nobody calls a function of Weir's.
func TestCancel_byAMessageAlone(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	b.worker(t, "w1", 1)
	running, waiting := b.request(t, ""), b.request(t, "")
	b.runs(t, running)
	for _, run := range []string{waiting, running, "dev-99", running} {
		if err := b.NC.Publish("weir.cancel.dev."+run, []byte("enough")); err != nil {
			t.Fatal(err)
		}
	}
	for run, want := range map[string]string{running: "cancelled 1 cancel_requested", waiting: "cancelled 0 cancel_requested"} {
		events := states(b.events(t, run))
		if got := events[len(events)-1]; got != want {
			t.Errorf("run %s: got %s, want %s", run, got, want)
		}
	}
	b.empty(t)
}

// A wildcard names no run: nothing is cancelled, and nobody tries it for ever.
func TestCancel_ofWhatIsNoNameIsBuried(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	waiting := b.request(t, "")
	b.worker(t, "w1", 1)
	b.runs(t, waiting)
	subjects := []string{"weir.cancel.dev.*", "weir.cancel.dev.né"}
	for _, s := range subjects {
		if _, err := b.JS.Publish(t.Context(), s, []byte("all of them")); err != nil {
			t.Fatal(err)
		}
	}
	dead := b.dead(t, len(subjects))
	for _, l := range dead {
		if !slices.Contains(subjects, l.Subject) || l.Pool != "dev" || l.Body != "all of them" || l.Reason != schemas.ReasonRejected || !strings.Contains(l.Message, "run name") {
			t.Errorf("got dead letter %+v", l)
		}
	}
	if last, err := b.LastEvent(t.Context(), "dev", "hello", waiting); err != nil || last.State != schemas.Running {
		t.Errorf("got %s, %v, want the run as it was", last.State, err)
	}
	for deadline := time.Now().Add(patience); ; {
		c, err := b.JS.Consumer(t.Context(), "WEIR_POOL_dev", ":cancel")
		if err != nil {
			t.Fatal(err)
		}
		if i := c.CachedInfo(); i.NumAckPending == 0 && i.NumPending == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the cancel requests are still there")
		}
	}
	for _, n := range [][2]string{{"dev", "*"}, {"*", waiting}, {"dev", ""}} {
		if _, err := consumers.Cancel(t.Context(), b.Conn, n[0], n[1], ""); err == nil {
			t.Errorf("cancel of run %q in pool %q: got no error", n[1], n[0])
		}
	}
}

// Somebody has published an event by hand, under one run's subject and with another run's body: what that run's last event is,
// nobody knows.
func TestCancel_ofARunWhoseLogIsContradictorySaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	mine, other := b.request(t, ""), b.request(t, "")
	body, err := schemas.EncodeRunEvent(schemas.RunEvent{
		Run: other, Pool: "dev", Queue: "default", Deployment: "hello", State: schemas.Running, Attempt: 1, Worker: "w1", Time: time.Now().UTC(),
	}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	ack, err := b.JS.Publish(t.Context(), "weir.event.run.dev.hello."+mine+".running", body)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = consumers.Cancel(ctx, b.Conn, "dev", mine, "")
	if !errors.Is(err, streams.ErrContradictory) || !strings.Contains(err.Error(), fmt.Sprintf("nats stream rmm WEIR_EVENTS %d", ack.Sequence)) {
		t.Errorf("got %v, want what is wrong with event %d", err, ack.Sequence)
	}
	if _, err := b.LastEvent(t.Context(), "dev", "hello", other); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("the other run: got %v, want no event", err)
	}
	if runs, err := b.Runs(t.Context(), streams.Filter{}); err != nil || len(runs) > 0 {
		t.Errorf("got the list %v, %v, want it without that event", runs, err)
	}
}

func TestCancel_ofARunThatHasEndedSaysSo(t *testing.T) {
	b := newBench(t, time.Minute, ends(runners.Result{}))
	b.worker(t, "w1", 1)
	run := b.request(t, "")
	b.events(t, run)
	if _, err := consumers.Cancel(t.Context(), b.Conn, "dev", run, ""); !errors.Is(err, consumers.ErrFinal) {
		t.Errorf("got %v, want that the run has ended", err)
	}
	if _, err := consumers.Cancel(t.Context(), b.Conn, "dev", "dev-77", ""); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if got := states(b.events(t, run)); got[len(got)-1] != "completed 1" {
		t.Errorf("got %v, want the completed run as it was", got)
	}
}

func TestCancel_ofARetryingRunStartsNoOther(t *testing.T) {
	b := newBench(t, time.Minute, ends(runners.Result{ExitCode: 1}))
	b.worker(t, "w1", 1)
	run := b.request(t, `{"retries": {"max": 3, "backoff": "1h"}}`)
	b.reaches(t, run, schemas.Retrying)
	b.empty(t) // the next attempt is asked for before the first one's request is acknowledged
	if e := b.cancel(t, run); e.State != schemas.Cancelled {
		t.Fatalf("got %s, want cancelled", e.State)
	}
	if got, want := states(b.events(t, run)), []string{"pending 1", "running 1", "retrying 1 exit_code", "cancelled 1 cancel_requested"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	b.empty(t)
	stream, err := b.JS.Stream(t.Context(), "WEIR_POOL_dev")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n > 0 {
		t.Errorf("%d messages are left in the pool's stream, want none", n)
	}
}

// Only for an ID that was given by hand, of a run that has no event, is all read that waits in the pool.
func TestCancel_looksUpWhatItCan(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	b.request(t, "")
	at := time.Now().Add(time.Hour).UTC()
	retrying := schemas.RunEvent{
		Run: "again", Pool: "dev", Queue: "default", Deployment: "hello", State: schemas.Retrying, Attempt: 1, Worker: "w1", Time: at, RetryAt: &at,
	}
	b.write(t, retrying, 0) // its next attempt is due by now, and waits somewhere among the others
	for _, tc := range []struct {
		run   string
		reads bool
		want  error
	}{
		{"again", false, nil},
		{"dev-1", false, nil},
		{"dev-77", false, streams.ErrNotFound},
		{"nightly", true, streams.ErrNotFound},
	} {
		batches, err := b.NC.SubscribeSync("$JS.API.DIRECT.GET.WEIR_POOL_dev")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := consumers.Cancel(t.Context(), b.Conn, "dev", tc.run, ""); !errors.Is(err, tc.want) {
			t.Errorf("run %s: got %v, want %v", tc.run, err, tc.want)
		}
		if err := b.NC.Flush(); err != nil {
			t.Fatal(err)
		}
		n, _, err := batches.Pending()
		if err != nil || n > 0 != tc.reads {
			t.Errorf("run %s: got %d reads of the stream, %v, want some: %v", tc.run, n, err, tc.reads)
		}
		if err := batches.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

// A worker has recorded that the run goes on with the same request, and died before it did.
func TestCancel_ofARetryingRunThatItsRequestCarriesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	run := b.request(t, "")
	request, err := b.Request(t.Context(), "dev", run)
	if err != nil {
		t.Fatal(err)
	}
	e := schemas.RunEvent{
		Run: run, Pool: "dev", Queue: "default", Deployment: "hello", State: schemas.Pending, Attempt: 1, Worker: "gone", Time: time.Now().UTC(),
		Requested: request.Requested, Sequence: request.Sequence,
	}
	last := b.write(t, e, 0)
	e.State, e.Reason = schemas.Retrying, schemas.ReasonWorkerLost
	b.write(t, e, last)
	if e := b.cancel(t, run); e.State != schemas.Cancelled {
		t.Fatalf("got %s, want cancelled", e.State)
	}
	b.waiting(t, 0)
}

// The owner is gone when the cancel comes: whoever inherits the run carries it out.
func TestCancel_isCarriedOutByWhoeverInheritsTheRun(t *testing.T) {
	for _, lives := range []bool{true, false} {
		b := newBench(t, time.Second, nil)
		_, kill := b.worker(t, "w1", 1)
		run := b.request(t, "")
		b.runs(t, run)
		kill()
		if !lives {
			b.infra.lose(run + ".1")
		}
		b.cancel(t, run)
		b.worker(t, "w2", 1)
		events := b.events(t, run)
		if last := events[len(events)-1]; last.State != schemas.Cancelled || last.Worker != "w2" {
			t.Errorf("execution lives: %v: got %v, want it cancelled by w2", lives, states(events))
		}
		if got := b.infra.started(); len(got) != 1 {
			t.Errorf("got %v started, want one attempt", got)
		}
	}
}

// The hint passes the owner by: its connection is away while the cancel is recorded.
func TestCancel_isHeededAfterAReconnect(t *testing.T) {
	b := newBench(t, 2*time.Second, nil)
	w, run := b.holding(t, "")
	b.deaf(t, w.nc)
	b.cancel(t, run)
	events := b.events(t, run)
	if got := states(events); got[len(got)-1] != "cancelled 1 cancel_requested" {
		t.Errorf("got %v, want it cancelled", got)
	}
}

// 10,000 cancels, each at the moment of a claim: nothing starts after cancelled, and every run ends.
func TestCancel_racesWithClaims(t *testing.T) {
	const runs, racers = 10_000, 8
	if testing.Short() {
		t.Skip("10,000 races take some seconds")
	}
	var startedLate atomic.Int32
	var order sync.Map // run → true once it is cancelled, as the log has it
	b := newBench(t, time.Minute, func(s runners.Spec, _ *scripted) {
		if _, done := order.Load(s.Run); done {
			startedLate.Add(1)
		}
	})
	for _, name := range []string{"w1", "w2"} {
		b.worker(t, name, 50)
	}
	ctx, stop := context.WithCancel(t.Context())
	watching := make(chan error, 1)
	final := make(chan string, runs)
	go func() {
		watching <- b.WatchRuns(ctx, streams.Filter{Pool: "dev"}, func(e streams.Recorded) error {
			if _, done := order.Load(e.Run); done {
				startedLate.Add(1)
			}
			if e.State.Final() {
				order.Store(e.Run, true)
				final <- e.Run
			}
			return nil
		})
	}()
	var wg sync.WaitGroup
	for range racers {
		wg.Go(func() {
			for range runs / racers {
				r, err := b.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "hello"})
				if err == nil {
					_, err = consumers.Cancel(t.Context(), b.Conn, "dev", r.Run, "")
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for range runs {
		select {
		case <-final:
		case <-time.After(30 * time.Second):
			t.Fatal("not every run ended within 30 s of the last cancel")
		}
	}
	stop()
	if err := <-watching; err != nil {
		t.Fatal(err)
	}
	if n := startedLate.Load(); n > 0 {
		t.Errorf("%d things happened to runs that were cancelled", n)
	}
	t.Logf("%d of %d runs were claimed before they were cancelled", len(b.infra.started()), runs)
	b.empty(t)
}

// A run that is due later is a schedule in the pool's stream: JetStream publishes nothing after its cancel.
func TestCancel_ofAScheduledRunRemovesItsSchedule(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	b.worker(t, "w1", 1)
	msg := nats.NewMsg("weir.schedule.dev.default.hello.tonight")
	msg.Header.Set("Nats-Schedule", "@at "+time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	msg.Header.Set("Nats-Schedule-Target", streams.RunSubject("dev", "default", "hello"))
	msg.Header.Set(streams.HeaderRunID, "tonight")
	if _, err := b.JS.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	if e := b.cancel(t, "tonight"); e.State != schemas.Cancelled {
		t.Fatalf("got %s, want cancelled", e.State)
	}
	if _, err := b.Request(t.Context(), "dev", "tonight"); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("the schedule is still there: %v", err)
	}
	if got, want := states(b.events(t, "tonight")), []string{"cancelled 0 cancel_requested"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Of two requests for one run that a worker has at once, one claims it. The other leaves no cancel without its owner.
func TestCancel_reachesTheRunThatWasRequestedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	b.worker(t, "w1", 8)
	for i := range 20 {
		name := "nightly-" + string(rune('a'+i))
		for range 2 {
			b.publish(t, "", nats.Header{streams.HeaderRunID: {name}})
		}
		b.runs(t, name)
		b.settles(t, 1) // the other one is dealt with
		if _, err := consumers.Cancel(t.Context(), b.Conn, "dev", name, ""); err != nil {
			t.Fatal(err)
		}
		b.reaches(t, name, schemas.Cancelled)
		b.empty(t)
	}
}

func TestCancel_sendsTheSignalThatTheDeploymentNames(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	b.deploy(t, schemas.Deployment{Name: "hello", Command: schemas.Command{"true"}, CancelSignal: "SIGINT"})
	b.worker(t, "w1", 1)
	run := b.request(t, "")
	b.runs(t, run)
	e := <-b.infra.began
	b.cancel(t, run)
	b.events(t, run)
	if e.polite != "SIGINT" {
		t.Errorf("stopped by %q, want SIGINT", e.polite)
	}
}
