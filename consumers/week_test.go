package consumers_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// alone is in the environment of a process that runs one test only: the NATS client shares timers between all connections of a process, and
// those whose time is not real must not come to others.
const alone = "WEIR_TEST_ALONE"

// heldAlone runs the test in a process of its own.
func heldAlone(t *testing.T) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), alone+"=1")
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

// No time ends a run: one that goes on for longer than events are kept is held all the while, in one attempt, and its last event is kept.
func TestRun_isHeldForLongerThanEventsAreKept(t *testing.T) {
	t.Parallel()
	if os.Getenv(alone) == "" {
		heldAlone(t)
		return
	}
	kept, more := 7*24*time.Hour, time.Hour
	if raced {
		kept = 24 * time.Hour // a week would be minutes
	}
	// nats-server ages messages by a clock of its own, which is real: by the time at which the first events are too old the two agree.
	start := time.Now().Round(0).Add(-kept - 2*more)
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(start))
		b := newBench(t, 10*time.Minute, nil) // renewals that are few make the test short
		if err := b.Adjust(t.Context(), streams.Settings{KeepEvents: kept}); err != nil {
			t.Fatal(err)
		}
		c := b.newCloud(t, nil)
		w := b.start(t, consumers.Config{Name: "w1", Slots: 1, LetGo: true})
		run := b.request(t, "")
		e := c.next(t)
		e.begin()
		b.runs(t, run)
		requested, err := b.Request(t.Context(), "dev", run)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		<-time.After(kept + more)
		select {
		case <-e.stopped:
			t.Error("the task was stopped")
		case <-w.done:
			t.Error("the worker has ended")
		default:
		}
		if last, err := b.LastEventIn(t.Context(), "dev", run); err != nil || last.State != schemas.Running || last.Reason != schemas.ReasonHeld {
			t.Errorf("got last event %+v, %v, want running, held", last.RunEvent, err)
		}
		if workers, err := b.Workers(t.Context(), "dev"); err != nil || len(workers) != 1 || !cmp.Equal(workers[0].Runs, []string{run}) {
			t.Errorf("got workers %+v, %v, want one that holds the run", workers, err)
		}
		e.end(runners.Result{}, nil)
		events := b.kept(t, run)
		if diff := cmp.Diff([]string{"running 1 held", "running 1 held", "completed 1"}, states(events)); diff != "" { // the first ones are not kept any more
			t.Errorf("states (-want +got):\n%s", diff)
		}
		last := events[len(events)-1]
		if !last.Requested.Equal(requested.Requested) || last.Started == nil || last.Started.Sub(began).Abs() > time.Minute || *last.RunningMS < kept.Milliseconds() {
			t.Errorf("got requested %s, started %v, running for %d ms, want them as they were", last.Requested, last.Started, *last.RunningMS)
		}
		if got := c.started(); len(got) != 1 || last.Crashes+last.Excused != 0 {
			t.Errorf("got %v started and %d crashes, want one and none", got, last.Crashes)
		}
		b.empty(t)
	})
}
