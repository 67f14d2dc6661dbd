package consumers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// A job that has ended, and whose output is still on its way, ended as it did: nothing that comes meanwhile is why, and nothing of it is
// tried again.
func TestDrained_whatComesAfterTheEndIsNotItsCause(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		body  string
		comes func(t *testing.T, b *bench, w *started, run string)
		want  []string
	}{
		"the timeout": {`{"timeout": "300ms"}`, func(t *testing.T, b *bench, _ *started, run string) {
			b.until(t, run, "past its deadline", func(e schemas.RunEvent) bool {
				if e.Deadline != nil {
					<-time.After(time.Until(e.Deadline.Add(200 * time.Millisecond)))
				}
				return e.Deadline != nil
			})
		}, []string{"pending 1", "running 1", "completed 1"}},
		"the second signal": {"", func(t *testing.T, b *bench, w *started, _ string) {
			w.drain()
			w.stop()
			b.status(t, "w1", schemas.WorkerDraining)
		}, []string{"pending 1", "running 1", "completed 1"}},
		"a cancel": {"", func(t *testing.T, b *bench, _ *started, run string) {
			b.cancel(t, run)
			b.reaches(t, run, schemas.Cancelling)
		}, []string{"pending 1", "running 1", "cancelling 1 cancel_requested", "completed 1"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, time.Minute, nil)
			c := b.newCloud(t, nil)
			w := b.start(t, consumers.Config{Name: "w1", Slots: 1})
			run := b.request(t, test.body)
			e := c.next(t)
			e.begin()
			b.runs(t, run)
			e.finish()
			test.comes(t, b, w, run)
			e.end(runners.Result{}, nil)
			if diff := cmp.Diff(test.want, slices.Compact(states(b.events(t, run)))); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			select {
			case <-e.stopped:
				t.Error("what had ended was stopped")
			default:
			}
		})
	}
}

// How long a job ran does not count the time in which its output was read.
func TestDrained_runningTimeIsTheJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	c := b.newCloud(t, nil)
	b.worker(t, "w1", 1)
	run := b.request(t, "")
	e := c.next(t)
	e.begin()
	b.runs(t, run)
	ended := time.Now()
	<-time.After(300 * time.Millisecond)
	e.end(runners.Result{Ended: ended}, nil)
	events := b.events(t, run)
	last := events[len(events)-1]
	if got, want := time.Duration(*last.RunningMS)*time.Millisecond, ended.Sub(*last.Started); got > want || got < want-2*time.Millisecond {
		t.Errorf("ran for %s, want %s", got, want)
	}
}
