package consumers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// told is a start that says what it waits for, and then what it has.
func told(_ context.Context, s runners.Spec, e *task) error {
	s.Tell(runners.Progress{Reason: schemas.ReasonCapacity, Message: "no room"})
	s.Tell(runners.Progress{ID: e.ID(), Details: json.RawMessage(`{"zone":"a"}`)})
	return nil
}

// eventIDs are those of all events of the bench, in order.
func (b *bench) eventIDs(t *testing.T) (ids []string) {
	t.Helper()
	consumer, err := b.JS.OrderedConsumer(t.Context(), streams.EventStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.FetchNoWait(1000)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		var e struct{ ID string }
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

func TestProvisioned_tellsWhatItWaitsForUntilItRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	c := b.newCloud(t, told)
	b.worker(t, "w1", 1)
	run := b.request(t, "")
	e := c.next(t)
	b.until(t, run, "on its way", func(ev schemas.RunEvent) bool { return ev.Execution != "" })
	e.begin()
	b.runs(t, run)
	e.end(runners.Result{}, nil)
	events := b.events(t, run)
	want := []string{"pending 1", "pending 1 capacity_unavailable", "pending 1", "running 1", "completed 1"}
	if diff := cmp.Diff(want, states(events)); diff != "" {
		t.Fatalf("states (-want +got):\n%s", diff)
	}
	for i, want := range []struct{ execution, details, message string }{
		{"", "", ""}, {"", "", "no room"}, {e.ID(), `{"zone":"a"}`, ""}, {e.ID(), `{"task":"` + e.ID() + `"}`, ""}, {e.ID(), `{"task":"` + e.ID() + `"}`, ""},
	} {
		if got := events[i]; got.Execution != want.execution || string(got.Details) != want.details || got.Message != want.message || got.Place != "region/today" {
			t.Errorf("%s: got execution %q, details %s, message %q, place %q, want %+v", got.State, got.Execution, got.Details, got.Message, got.Place, want)
		}
		if started := events[i].Started != nil; started != (i >= 3) {
			t.Errorf("event %d, %s: got started %v", i, events[i].State, events[i].Started)
		}
	}
	seen := map[string]bool{}
	for _, id := range b.eventIDs(t) {
		if seen[id] {
			t.Errorf("two events have the ID %s", id)
		}
		seen[id] = true
	}
	if len(seen) != len(want) {
		t.Errorf("got %d IDs, want %d", len(seen), len(want))
	}
}

// A job may begin, and be over, at any moment at which nobody looks: its run has been running all the same.
func TestProvisioned_whatRanHasBeenRunning(t *testing.T) {
	t.Parallel()
	want := []string{"pending 1", "running 1", "failed 1 exit_code"}
	for when, script := range map[string]func(e *task){
		"before it is looked at": func(e *task) { e.begin() },
		"while it is looked at":  func(e *task) { e.looked = e.begin },
		"and ends at once":       func(e *task) { e.looked = func() { e.begin(); e.end(runners.Result{ExitCode: 3}, nil) } },
		"and that is not heard":  func(e *task) { e.unseen = true },
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, time.Minute, nil)
			c := b.newCloud(t, func(_ context.Context, s runners.Spec, e *task) error {
				s.Tell(runners.Progress{ID: e.ID()})
				script(e)
				return nil
			})
			b.worker(t, "w1", 1)
			run := b.request(t, "")
			e := c.next(t)
			unheard := when == "and that is not heard"
			b.until(t, run, "looked at", func(ev schemas.RunEvent) bool { return unheard && ev.Execution != "" || ev.State == schemas.Running })
			e.end(runners.Result{ExitCode: 3}, nil)
			got := states(b.events(t, run))
			if diff := cmp.Diff(want, append(got[:1], got[2:]...)); diff != "" { // but for what it told
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProvisioned_whatNeverRanSaysWhy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err               error
		want              string
		crashes, excused  int
		atLeast, mostDown time.Duration // until the next attempt
	}{
		{runners.Permanent(schemas.ReasonImageNotFound, errors.New("no image")), "failed 1 image_not_found", 0, 0, 0, 0},
		{runners.Because(schemas.ReasonImagePullFailed, errors.New("no network")), "retrying 1 image_pull_failed", 1, 0, time.Second, 2 * time.Second},
		{runners.Because(schemas.ReasonCapacity, errors.New("no room")), "retrying 1 capacity_unavailable", 0, 1, 5 * time.Second, 15 * time.Second},
		{runners.Because(schemas.ReasonSpotInterrupted, errors.New("taken back")), "retrying 1 spot_interrupted", 0, 1, 0, time.Second},
	} {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, time.Minute, nil)
			c := b.newCloud(t, nil)
			b.worker(t, "w1", 1)
			run := b.request(t, "")
			c.next(t).end(runners.Result{}, tt.err)
			var last schemas.RunEvent
			b.until(t, run, tt.want, func(e schemas.RunEvent) bool {
				last = e
				return e.State == schemas.Retrying || e.State.Final()
			})
			if got := states([]schemas.RunEvent{last})[0]; got != tt.want || last.Crashes != tt.crashes || last.Excused != tt.excused || last.ExitCode != nil {
				t.Errorf("got %s, %d crashes, %d excused, exit code %v, want %s, %d, %d and none", got, last.Crashes, last.Excused, last.ExitCode, tt.want, tt.crashes, tt.excused)
			}
			if last.RetryAt != nil {
				if wait := last.RetryAt.Sub(last.Time); wait < tt.atLeast-100*time.Millisecond || wait > tt.mostDown {
					t.Errorf("the next attempt is due after %s, want %s to %s", wait, tt.atLeast, tt.mostDown)
				}
			}
		})
	}
}

// Capacity that is taken back again and again ends no run, and uses up none of its retries.
func TestProvisioned_lostCapacityCountsForNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	c := b.newCloud(t, nil)
	b.worker(t, "w1", 1)
	run := b.request(t, `{"retries": {"max": 1, "backoff": 0}}`)
	for n := 1; n <= 7; n++ {
		e := c.next(t)
		e.begin()
		switch n {
		case 6:
			e.end(runners.Result{ExitCode: 1}, nil)
		case 7:
			e.end(runners.Result{}, nil)
		default:
			e.end(runners.Result{NoCode: true, Reason: schemas.ReasonSpotInterrupted, Message: "taken back"}, nil)
		}
	}
	events := b.events(t, run)
	if last := events[len(events)-1]; last.State != schemas.Completed || last.Attempt != 7 || last.Crashes != 0 || last.Excused != 5 {
		t.Errorf("got %v with %d crashes and %d excused attempts, want completed in attempt 7, with 0 and 5", states(events), last.Crashes, last.Excused)
	}
}

// Nobody knows how it ended: that is no success.
func TestProvisioned_anUnknownExitCodeIsNotZero(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	c := b.newCloud(t, nil)
	b.worker(t, "w1", 1)
	run := b.request(t, "")
	for range 3 {
		e := c.next(t)
		e.begin()
		e.end(runners.Result{NoCode: true}, nil)
	}
	events := b.events(t, run)
	if last := events[len(events)-1]; last.State != schemas.Crashed || last.Reason != schemas.ReasonExecutionLost || last.ExitCode != nil {
		t.Errorf("got %v, exit code %v, want crashed, execution_lost and none", states(events), last.ExitCode)
	}
}

func TestProvisioned_isCancelledOnItsWay(t *testing.T) {
	t.Parallel()
	for _, during := range []string{"the start", "the wait"} {
		t.Run("during "+during, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, time.Minute, nil)
			c := b.newCloud(t, func(ctx context.Context, s runners.Spec, e *task) error {
				s.Tell(runners.Progress{ID: e.ID()})
				if during == "the wait" {
					return nil
				}
				<-ctx.Done()
				if errors.Is(context.Cause(ctx), runners.ErrLetGo) {
					t.Error("the start was let go")
				}
				_ = e.Stop(ctx, 0)
				return context.Cause(ctx)
			})
			b.worker(t, "w1", 1)
			run := b.request(t, "")
			e := c.next(t)
			b.until(t, run, "on its way", func(ev schemas.RunEvent) bool { return ev.Execution != "" })
			b.cancel(t, run)
			events := b.events(t, run)
			last := events[len(events)-1]
			if diff := cmp.Diff([]string{"pending 1", "pending 1", "cancelling 1 cancel_requested", "cancelled 1 cancel_requested"}, states(events)); diff != "" || last.ExitCode != nil {
				t.Errorf("exit code %v, states (-want +got):\n%s", last.ExitCode, diff)
			}
			select {
			case <-e.stopped:
			default:
				t.Error("the task was not stopped")
			}
		})
	}
}

// The worker is lost while the task is on its way. The next one finds it by all that was recorded, and holds it where it stands.
func TestProvisioned_isTakenOverOnItsWay(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Second, nil)
	c := b.newCloud(t, told)
	_, kill := b.worker(t, "w1", 1)
	run := b.request(t, "")
	e := c.next(t)
	b.until(t, run, "on its way", func(ev schemas.RunEvent) bool { return ev.Execution != "" })
	kill()
	b.worker(t, "w2", 1)
	b.heldBy(t, run, "w2")
	e.begin()
	b.runs(t, run)
	e.end(runners.Result{}, nil)
	events := b.events(t, run)
	want := []string{"pending 1", "pending 1 capacity_unavailable", "pending 1", "pending 1 held", "running 1", "completed 1"}
	if diff := cmp.Diff(want, states(events)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	sought := c.sought[0]
	if sought.Name != run+".1" || sought.ID != e.ID() || sought.Place != "region/today" || sought.Output == nil {
		t.Errorf("got %+v sought, want name, ID and place as they were recorded", sought)
	}
	if got := c.started(); len(got) != 1 {
		t.Errorf("got %v started, want one", got)
	}
}

// A worker that is lost while it waits for room had begun nothing: that is no crash, however often it happens.
func TestProvisioned_lostWhileItWaitsForRoomIsNoCrash(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Second, nil)
	c := b.newCloud(t, func(ctx context.Context, s runners.Spec, _ *task) error {
		s.Tell(runners.Progress{Reason: schemas.ReasonCapacity, Message: "no room"})
		if s.Worker == "w4" {
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	var run string
	for n := range 4 {
		w := b.start(t, consumers.Config{Name: fmt.Sprintf("w%d", n+1), Slots: 1})
		if n == 0 {
			run = b.request(t, "")
		}
		e := c.next(t)
		b.until(t, run, "waiting for room", func(ev schemas.RunEvent) bool {
			return ev.Attempt == n+1 && ev.Reason == schemas.ReasonCapacity
		})
		if n < 3 {
			c.lose(e.spec.Name)
			w.kill()
			continue
		}
		e.begin()
		e.end(runners.Result{}, nil)
	}
	events := b.events(t, run)
	if last := events[len(events)-1]; last.State != schemas.Completed || last.Attempt != 4 || last.Crashes != 0 || last.Excused != 3 {
		t.Errorf("got %v with %d crashes and %d excused attempts, want completed in attempt 4, with 0 and 3", states(events), last.Crashes, last.Excused)
	}
}

// Where a run is does not follow from what its deployment says by now.
func TestProvisioned_takenOverStaysWhereItIs(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Second, nil)
	c := b.newCloud(t, nil)
	w := b.start(t, consumers.Config{Name: "w1", Slots: 1})
	run := b.request(t, "")
	e := c.next(t)
	e.begin()
	b.runs(t, run)
	w.kill()
	moved := &movedCloud{c}
	b.kind.New = func(context.Context, runners.Config) (runners.Runner, error) { return moved, nil }
	b.worker(t, "w2", 1)
	b.heldBy(t, run, "w2")
	e.end(runners.Result{}, nil)
	for _, ev := range b.events(t, run) {
		if ev.Place != "region/today" {
			t.Errorf("%s by %s: got place %q, want the one where it was started", ev.State, ev.Worker, ev.Place)
		}
	}
}

// movedCloud starts elsewhere by now.
type movedCloud struct{ *cloud }

func (movedCloud) Place(json.RawMessage) string { return "region/tomorrow" }

// The timeout is the job's: what it waits for is not its fault.
func TestProvisioned_timeoutCountsFromRunning(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	c := b.newCloud(t, nil)
	b.worker(t, "w1", 1)
	run := b.request(t, `{"timeout": "400ms"}`)
	e := c.next(t)
	select {
	case <-e.stopped:
		t.Fatal("the run timed out on its way")
	case <-time.After(time.Second): // longer than its timeout
	}
	e.begin()
	begun := time.Now()
	events := b.events(t, run)
	last := events[len(events)-1]
	if last.Reason != schemas.ReasonTimedOut || last.Started == nil || last.Started.Sub(begun).Abs() > 300*time.Millisecond {
		t.Errorf("got %v, started %v, want timed_out, started at %s", states(events), last.Started, begun)
	}
	if ran := last.Time.Sub(begun); ran < 390*time.Millisecond { // it was seen to begin a moment before this did
		t.Errorf("the job ran for %s, want its 400ms", ran)
	}
	if last.ProvisionMS == nil || *last.ProvisionMS < 900 || last.RunningMS == nil || *last.RunningMS < 400 || *last.RunningMS > 2000 {
		t.Errorf("got provisioning %v, running %v ms", last.ProvisionMS, last.RunningMS)
	}
}

// heard is what a start has heard of its lease.
type heard struct {
	held  bool
	cause error
	after time.Duration
}

// listening is a first start that listens until its lease is over or its context has ended, says what it heard, and fails.
func listening(saw chan<- heard, cut <-chan time.Time, tells bool, goOn <-chan struct{}) func(context.Context, runners.Spec, *task) error {
	first := true
	return func(ctx context.Context, s runners.Spec, e *task) error {
		if !first {
			return nil
		}
		first = false
		if tells {
			s.Tell(runners.Progress{ID: e.ID()})
		}
		at := <-cut
		look := time.NewTicker(10 * time.Millisecond)
		defer look.Stop()
		for s.Held() && ctx.Err() == nil {
			select {
			case <-look.C:
			case <-ctx.Done():
			}
		}
		if tells {
			<-ctx.Done()
		}
		saw <- heard{s.Held(), context.Cause(ctx), time.Since(at)}
		<-goOn
		return errors.New("nothing was started")
	}
}

// A worker is cut off from NATS while a task is on its way: the start is let go, and the next worker goes on with the task.
func TestProvisioned_startIsLetGoWithItsLease(t *testing.T) {
	t.Parallel()
	const ackWait = 2 * time.Second
	b := newBench(t, ackWait, nil)
	saw, cut, goOn := make(chan heard, 1), make(chan time.Time, 1), make(chan struct{})
	c := b.newCloud(t, listening(saw, cut, true, goOn))
	close(goOn)
	w := b.start(t, consumers.Config{Name: "w1", Slots: 1})
	run := b.request(t, "")
	e := c.next(t)
	b.until(t, run, "on its way", func(ev schemas.RunEvent) bool { return ev.Execution != "" })
	w.kill()
	cut <- time.Now()
	if got := <-saw; got.held || got.after > ackWait || !errors.Is(got.cause, runners.ErrLetGo) {
		t.Errorf("got held %v, cause %v after %s, want it let go within an ack wait", got.held, got.cause, got.after)
	}
	b.worker(t, "w2", 1)
	b.heldBy(t, run, "w2")
	e.begin()
	e.end(runners.Result{}, nil)
	events := b.events(t, run)
	if last := events[len(events)-1]; last.State != schemas.Completed || last.Worker != "w2" || last.Attempt != 1 {
		t.Errorf("got %v by %s, want completed by w2 in attempt 1", states(events), last.Worker)
	}
}

// A worker that was cut off from NATS before it had begun anything hears that its right is over, and begins nothing. What it thinks of its
// start does not count: another may have the run.
func TestProvisioned_startHearsThatItsLeaseIsOver(t *testing.T) {
	t.Parallel()
	const ackWait = 2 * time.Second
	s := streamstest.Listen(t)
	b := newBenchOn(t, s, 1, ackWait, nil)
	p := streamstest.NewProxy(t, s.Addr().String(), 1)
	conn, err := streams.Connect(t.Context(), streams.Config{Server: p.URL()})
	if err != nil {
		t.Fatal(err)
	}
	saw, cut, goOn := make(chan heard, 1), make(chan time.Time, 1), make(chan struct{})
	c := b.newCloud(t, listening(saw, cut, false, goOn))
	b.through = conn
	b.start(t, consumers.Config{Name: "w1", Slots: 1})
	run := b.request(t, "")
	c.next(t)
	b.reaches(t, run, schemas.Pending)
	c.lose(run + ".1")
	back := conn.NC.StatusChanged(nats.CONNECTED)
	p.Block()
	cut <- time.Now()
	if got := <-saw; got.held || got.after > ackWait || got.cause != nil {
		t.Errorf("got held %v, cause %v after %s, want the right to be over within an ack wait, and the start's context not", got.held, got.cause, got.after)
	}
	p.Unblock(t)
	<-back
	close(goOn)
	e := c.next(t)
	e.begin()
	e.end(runners.Result{}, nil)
	events := b.events(t, run)
	if last := events[len(events)-1]; events[1].Reason != schemas.ReasonWorkerLost || last.State != schemas.Completed || last.Attempt != 2 {
		t.Errorf("got %v, want worker_lost, then attempt 2 completed", states(events))
	}
}

// What was told is stored, and NATS's answer is late: the run is not taken for another's.
func TestProvisioned_progressWhoseAnswerIsLateIsNotSomebodyElses(t *testing.T) {
	t.Parallel()
	s := streamstest.Listen(t)
	b := newBenchOn(t, s, 1, 3*time.Second, nil)
	p := streamstest.NewProxy(t, s.Addr().String(), 1)
	c := b.newCloud(t, func(_ context.Context, s runners.Spec, e *task) error {
		p.Rate.Store(1) // after the next one, answers hardly come
		s.Tell(runners.Progress{Reason: schemas.ReasonCapacity})
		s.Tell(runners.Progress{ID: e.ID()})
		p.Rate.Store(0)
		e.begin()
		return nil
	})
	conn, err := streams.Connect(t.Context(), streams.Config{Server: p.URL()})
	if err != nil {
		t.Fatal(err)
	}
	b.through = conn
	b.worker(t, "w1", 1)
	run := b.request(t, "")
	e := c.next(t)
	b.runs(t, run)
	e.end(runners.Result{}, nil)
	got := states(b.events(t, run))
	got = slices.DeleteFunc(got[1:], func(s string) bool { return s == "pending 1" }) // what cannot be recorded soon is told by the next event
	if diff := cmp.Diff([]string{"pending 1 capacity_unavailable", "running 1", "completed 1"}, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// A worker that is told twice to stop while it starts something gives the run back, and that is nobody's fault.
func TestProvisioned_stoppedDuringTheStartIsGivenBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	first := true
	c := b.newCloud(t, func(ctx context.Context, _ runners.Spec, e *task) error {
		if !first {
			return nil
		}
		first = false
		<-ctx.Done()
		return errors.New("a request was cut off")
	})
	w := b.start(t, consumers.Config{Name: "w1", Slots: 1})
	run := b.request(t, "")
	c.next(t)
	w.drain()
	w.stop()
	b.ended(t, w)
	b.worker(t, "w2", 1)
	e := c.next(t)
	e.begin()
	e.end(runners.Result{}, nil)
	events := b.events(t, run)
	last := events[len(events)-1]
	if events[1].Reason != schemas.ReasonWorkerStopped || last.State != schemas.Completed || last.Crashes != 0 || last.Excused != 1 {
		t.Errorf("got %v with %d crashes and %d excused, want worker_stopped, then completed, with 0 and 1", states(events), last.Crashes, last.Excused)
	}
}
