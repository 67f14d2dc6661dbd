package consumers_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// stopNow stops a worker as a server stops those that it runs inside, and waits until it has ended.
func (b *bench) stopNow(t *testing.T, w *started) {
	t.Helper()
	began := time.Now()
	w.drain()
	w.stop()
	b.ended(t, w)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the worker took %s to end", took)
	}
}

// soon is how long a run that was let go may take until another worker holds it, by far shorter than the ack wait of these tests.
const soon = 5 * time.Second

// A worker that lets its runs go stops nothing and records nothing, and another holds them at once.
func TestLetGo_leavesWhatItHoldsToTheNext(t *testing.T) {
	t.Parallel()
	for _, runs := range []bool{true, false} {
		t.Run(map[bool]string{true: "running", false: "on its way"}[runs], func(t *testing.T) {
			t.Parallel()
			b := newBench(t, time.Minute, nil)
			c := b.newCloud(t, func(_ context.Context, s runners.Spec, e *task) error {
				s.Tell(runners.Progress{ID: e.ID()})
				return nil
			})
			w := b.start(t, consumers.Config{Name: "w1", Slots: 1, LetGo: true})
			run := b.request(t, "")
			e := c.next(t)
			if runs {
				e.begin()
				b.runs(t, run)
			} else {
				b.until(t, run, "on its way", func(ev schemas.RunEvent) bool { return ev.Execution != "" })
			}
			b.start(t, consumers.Config{Name: "w2", Slots: 1, LetGo: true})
			let := time.Now()
			b.stopNow(t, w)
			b.heldBy(t, run, "w2")
			if took := time.Since(let); took > soon {
				t.Errorf("the other worker held the run after %s", took)
			}
			if workers, err := b.Workers(t.Context(), "dev"); err != nil || len(workers) != 1 || workers[0].Name != "w2" {
				t.Errorf("got workers %v, %v, want w2 alone", workers, err)
			}
			select {
			case <-e.stopped:
				t.Error("the task was stopped")
			default:
			}
			e.begin()
			e.end(runners.Result{}, nil)
			events := b.events(t, run)
			last := events[len(events)-1]
			if last.State != schemas.Completed || last.Attempt != 1 || last.Crashes+last.Excused != 0 || len(c.started()) != 1 {
				t.Errorf("got %v, %v started, want one attempt", states(events), c.started())
			}
			for i, ev := range events {
				if ev.Worker == "w1" && i > 2 || ev.Reason == schemas.ReasonWorkerStopped {
					t.Errorf("got %s, %q from %s in %v", ev.State, ev.Reason, ev.Worker, states(events))
				}
			}
			b.empty(t)
		})
	}
}

// A start that is let go leaves what it has begun to the next worker. One that has begun nothing yet is no crash.
func TestLetGo_duringTheStart(t *testing.T) {
	t.Parallel()
	for _, begun := range []bool{true, false} {
		t.Run(map[bool]string{true: "a task is begun", false: "nothing is begun"}[begun], func(t *testing.T) {
			t.Parallel()
			b := newBench(t, time.Minute, nil)
			first := true
			cause := make(chan error, 1)
			c := b.newCloud(t, func(ctx context.Context, s runners.Spec, e *task) error {
				if !first {
					return nil
				}
				first = false
				if begun {
					s.Tell(runners.Progress{ID: e.ID()})
				}
				<-ctx.Done()
				cause <- context.Cause(ctx)
				return context.Cause(ctx)
			})
			w := b.start(t, consumers.Config{Name: "w1", Slots: 1, LetGo: true})
			run := b.request(t, "")
			e := c.next(t)
			if begun {
				b.until(t, run, "on its way", func(ev schemas.RunEvent) bool { return ev.Execution != "" })
			} else {
				c.lose(run + ".1")
			}
			let := time.Now()
			b.stopNow(t, w)
			if err := <-cause; !errors.Is(err, runners.ErrLetGo) {
				t.Errorf("the start ended with cause %v, want ErrLetGo", err)
			}
			b.start(t, consumers.Config{Name: "w1", Slots: 1, LetGo: true}) // the same name: the server was started anew
			b.until(t, run, "held again", func(ev schemas.RunEvent) bool { return ev.Reason == schemas.ReasonHeld || ev.Attempt == 2 })
			if took := time.Since(let); took > soon {
				t.Errorf("the next worker had the run after %s", took)
			}
			want := []string{"pending 1", "pending 1", "pending 1 held", "running 1", "completed 1"}
			if !begun {
				e = c.next(t)
				want = []string{"pending 1", "pending 1 worker_stopped", "retrying 1 worker_stopped", "pending 2", "running 2", "completed 2"}
			}
			b.until(t, run, "pending", func(ev schemas.RunEvent) bool { return ev.State == schemas.Pending })
			e.begin()
			b.runs(t, run)
			e.end(runners.Result{}, nil)
			events := b.events(t, run)
			got := states(events)
			if !begun && len(got) == len(want)+1 {
				got = append(got[:4], got[5:]...) // it may be seen on its way first
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			if last := events[len(events)-1]; last.Crashes != 0 {
				t.Errorf("got %d crashes, want none", last.Crashes)
			}
		})
	}
}

// What ends with its lease cannot be left to another worker: it is stopped, and given back.
func TestLetGo_isNothingForWhatEndsWithItsWorker(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	w := b.start(t, consumers.Config{Name: "w1", Slots: 1, LetGo: true})
	run := b.request(t, "")
	b.runs(t, run)
	w.drain()
	w.stop()
	b.ended(t, w)
	e := <-b.infra.began
	select {
	case <-e.stopped:
	default:
		t.Error("the job was not stopped")
	}
	b.until(t, run, "given back", func(ev schemas.RunEvent) bool { return ev.Reason == schemas.ReasonWorkerStopped })
}

// Without it the second signal stops what runs, also where it could go on.
func TestLetGo_isAskedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	c := b.newCloud(t, nil)
	w := b.start(t, consumers.Config{Name: "w1", Slots: 1})
	run := b.request(t, "")
	e := c.next(t)
	e.begin()
	b.runs(t, run)
	w.drain()
	w.stop()
	b.ended(t, w)
	select {
	case <-e.stopped:
	default:
		t.Error("the task was not stopped")
	}
}

// A server that is stopped while NATS is away ends all the same: what it cannot say is found by the next.
func TestLetGo_endsThoughNATSIsAway(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(map[bool]string{false: "for a moment", true: "for longer than the lease"}[lost], func(t *testing.T) {
			t.Parallel()
			s := streamstest.Listen(t)
			b := newBenchOn(t, s, 1, time.Second, nil)
			p := streamstest.NewProxy(t, s.Addr().String(), 1)
			conn, err := streams.Connect(t.Context(), streams.Config{Server: p.URL()})
			if err != nil {
				t.Fatal(err)
			}
			c := b.newCloud(t, nil)
			b.through = conn
			w := b.start(t, consumers.Config{Name: "w1", Slots: 2, LetGo: true})
			run := b.request(t, "")
			e := c.next(t)
			e.begin()
			b.runs(t, run)
			p.Block()
			if lost {
				<-time.After(2 * time.Second) // the worker has given the run up
			}
			began := time.Now()
			w.drain()
			w.stop()
			b.ended(t, w)
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("the worker took %s to end", took)
			}
			b.start(t, consumers.Config{Name: "w2", Slots: 1, LetGo: true})
			b.heldBy(t, run, "w2")
			e.end(runners.Result{}, nil)
			if events := b.events(t, run); events[len(events)-1].Attempt != 1 || len(c.started()) != 1 {
				t.Errorf("got %v, %v started, want one attempt", states(events), c.started())
			}
		})
	}
}
