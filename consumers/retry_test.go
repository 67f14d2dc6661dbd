package consumers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func TestRetry_untilTheJobSucceeds(t *testing.T) {
	b := newBench(t, time.Minute, func(s runners.Spec, e *scripted) {
		if s.Attempt < 3 {
			e.end(runners.Result{ExitCode: 75})
			return
		}
		e.end(runners.Result{})
	})
	b.worker(t, "w1", 1)
	run := b.request(t, `{"retries": {"max": 5, "backoff": 0.3, "factor": 1, "jitter": 0, "retry_on": ["exit:75"]}}`)
	events := b.events(t, run)
	want := []string{
		"pending 1", "running 1", "retrying 1 exit_code", "pending 2", "running 2", "retrying 2 exit_code", "pending 3", "running 3", "completed 3",
	}
	if got := states(events); !cmp.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i, e := range events {
		if !e.Requested.Equal(events[0].Requested) {
			t.Errorf("event %d: got requested %s, want that of the first attempt, %s", i, e.Requested, events[0].Requested)
		}
		if e.State == schemas.Retrying && events[i+1].Time.Before(*e.RetryAt) {
			t.Errorf("attempt %d was claimed at %s, before %s", events[i+1].Attempt, events[i+1].Time, e.RetryAt)
		}
	}
	b.empty(t)
}

func TestRetry_noMoreThanAskedForAndNeverAfterWhatIsExcluded(t *testing.T) {
	b := newBench(t, time.Minute, ends(runners.Result{ExitCode: 2}))
	b.worker(t, "w1", 2)
	b.deploy(t, schemas.Deployment{Name: "hello", Command: schemas.Command{"true"}, Retries: &schemas.Retries{Max: 1, Backoff: schemas.Duration(250 * time.Millisecond)}})
	for body, attempts := range map[string]int{"": 2, `{"retries": 0}`: 1, `{"retries": {"max": 4, "never_on": ["exit:2"]}}`: 1, `{"retries": {"max": 4, "retry_on": ["exit:3"]}}`: 1} {
		events := b.events(t, b.request(t, body))
		if last := events[len(events)-1]; last.State != schemas.Failed || last.Attempt != attempts {
			t.Errorf("%s: got %v, want failed in attempt %d", body, states(events), attempts)
		}
	}
}

// With a pool that takes one run at a time, another one goes on while the first waits for its retry.
func TestRetry_thatWaitsHoldsNoSlot(t *testing.T) {
	b := newBench(t, time.Minute, func(s runners.Spec, e *scripted) {
		if s.Attempt == 1 && string(s.Parameters) == `{"fail":true}` {
			e.end(runners.Result{ExitCode: 1})
			return
		}
		e.end(runners.Result{})
	})
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	pool.ConcurrencyLimit = 1
	if _, err := b.UpdatePool(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	b.worker(t, "w1", 1)
	first := b.request(t, `{"parameters": {"fail": true}, "retries": {"max": 1, "backoff": 2, "jitter": 0}}`)
	b.reaches(t, first, schemas.Retrying)
	second := b.events(t, b.request(t, ""))
	events := b.events(t, first)
	if done, again := second[len(second)-1].Time, events[3].Time; !done.Before(again) {
		t.Errorf("the second run ended at %s, after the first's retry at %s", done, again)
	}
	if got := events[len(events)-1]; got.State != schemas.Completed || got.Attempt != 2 {
		t.Errorf("got %v, want completed in attempt 2", states(events))
	}
}

// What the infrastructure takes is not counted against the job's own retries.
func TestRetry_crashesAreCountedApart(t *testing.T) {
	b := newBench(t, time.Minute, func(s runners.Spec, e *scripted) {
		switch s.Attempt {
		case 1, 3:
			e.end(runners.Result{Reason: schemas.ReasonLeaseLost})
		case 2:
			e.end(runners.Result{ExitCode: 1})
		default:
			e.end(runners.Result{})
		}
	})
	b.worker(t, "w1", 1)
	events := b.events(t, b.request(t, `{"retries": {"max": 1, "backoff": 0.25}}`))
	if last := events[len(events)-1]; last.State != schemas.Completed || last.Attempt != 4 || last.Crashes != 2 {
		t.Errorf("got %v and %d crashes, want completed in attempt 4 after 2 crashes", states(events), last.Crashes)
	}
}

// A tag may have moved on between two attempts: the second is told what the first ran, and every event tells it too.
func TestRetry_runsTheSameImage(t *testing.T) {
	b := newBench(t, time.Minute, func(s runners.Spec, e *scripted) {
		e.end(runners.Result{ExitCode: 2 - s.Attempt})
	})
	b.worker(t, "w1", 1)
	run := b.request(t, `{"retries": {"max": 1, "backoff": 0.25}}`)
	for _, e := range b.events(t, run) {
		want := "image-of-" + run + ".1"
		if e.State == schemas.Pending && e.Attempt == 1 {
			want = ""
		}
		if e.Image != want {
			t.Errorf("%s of attempt %d: got image %q, want %q", e.State, e.Attempt, e.Image, want)
		}
	}
}

// A copy of a request for an attempt, as one who dies between storing it and acknowledging the last leaves it, starts nothing.
func TestRetry_askedForTwiceIsMadeOnce(t *testing.T) {
	b := newBench(t, time.Minute, func(s runners.Spec, e *scripted) {
		if s.Attempt == 1 {
			e.end(runners.Result{ExitCode: 1})
		}
	})
	b.worker(t, "w1", 5)
	run := b.request(t, `{"retries": {"max": 3, "backoff": 0.25}}`)
	b.reaches(t, run, schemas.Retrying)
	first := <-b.infra.began
	last, err := b.LastEvent(t.Context(), "dev", "hello", run)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b.copyAttempt(t, last.RunEvent, 2)
	}
	second := <-b.infra.began
	b.settles(t, 1)
	second.end(runners.Result{})
	b.events(t, run)
	b.empty(t)
	if got, want := b.infra.started(), []string{first.spec.Name, second.spec.Name}; !cmp.Equal(got, want) {
		t.Errorf("got %v started, want %v", got, want)
	}
}

// Its worker dies between recording that a run is retrying and storing its next attempt: whoever gets the request does that.
func TestRetry_isStoredByWhoeverFindsItMissing(t *testing.T) {
	b := newBench(t, time.Second, nil)
	run := b.request(t, `{"retries": 1}`)
	lost := b.takeAndLose(t)
	at := time.Now().Add(10 * time.Millisecond).UTC()
	e := schemas.RunEvent{
		Run: run, Pool: "dev", Queue: "default", Deployment: "hello", State: schemas.Pending, Attempt: 1, Worker: "gone", Time: at,
		Requested: lost.Requested, Sequence: lost.Sequence,
	}
	last := b.write(t, e, 0)
	e.State, e.Reason, e.RetryAt = schemas.Retrying, schemas.ReasonExitCode, &at
	b.write(t, e, last)
	b.worker(t, "w1", 1)
	again := <-b.infra.began
	if again.spec.Attempt != 2 {
		t.Errorf("got attempt %d, want 2", again.spec.Attempt)
	}
	again.end(runners.Result{})
	b.events(t, run)
	b.empty(t)
}

func TestCancel_ofAnUnknownRunIsNotFound(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	for _, run := range []string{"dev-1", "nightly"} {
		if _, err := consumers.Cancel(t.Context(), b.Conn, "dev", run, ""); !errors.Is(err, streams.ErrNotFound) {
			t.Errorf("%s: got %v, want not found", run, err)
		}
	}
}

// What an exit code means its deployment may say.
func TestRun_endsAsItsExitCodeIsMeant(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, func(s runners.Spec, e *scripted) {
		var p struct{ Code int }
		if err := json.Unmarshal(s.Parameters, &p); err != nil || s.Attempt > 1 && p.Code == 75 {
			p.Code = 0
		}
		e.end(runners.Result{ExitCode: p.Code})
	})
	b.deploy(t, schemas.Deployment{
		Name: "hello", Command: schemas.Command{"true"}, ExitCodes: schemas.ExitCodes{"3": schemas.EndCompleted, "100": schemas.EndCancelled, "75": schemas.EndRetry},
		Retries: &schemas.Retries{Max: 1, Backoff: schemas.Duration(250 * time.Millisecond), NeverOn: []schemas.Cause{"exit_code"}},
	})
	b.worker(t, "w1", 1)
	for code, want := range map[int]string{3: "completed 1 exit_code", 100: "cancelled 1 exit_code", 75: "completed 2", 4: "failed 1 exit_code", 0: "completed 1"} {
		events := b.events(t, b.request(t, fmt.Sprintf(`{"parameters": {"code": %d}}`, code)))
		got := states(events)
		if got[len(got)-1] != want {
			t.Errorf("exit code %d: got %v, want it to end as %s", code, got, want)
		}
		if last := events[len(events)-1]; code < 75 && (last.ExitCode == nil || *last.ExitCode != code) {
			t.Errorf("exit code %d is not in the event: %+v", code, last)
		}
	}
}
