package runnertest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

func fakeSpec(name string, out runners.Output) runners.Spec {
	return runners.Spec{Name: name, Run: "run", Attempt: 1, Parameters: json.RawMessage("{}"), Output: out}
}

func TestFake_runsUntilReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFake()
		go func() {
			if err := f.Await(t.Context(), "a"); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour)
			f.Release("a", runners.Result{ExitCode: 3})
		}()
		first, err := f.Open().Start(t.Context(), fakeSpec("a", NewRecorder()))
		if err != nil {
			t.Fatal(err)
		}
		second, err := f.Open().Start(t.Context(), fakeSpec("a", NewRecorder()))
		if err != nil || first != second || f.Count("a") != 1 {
			t.Errorf("second start = %v, %v after %d starts, want the first", second, err, f.Count("a"))
		}
		res, err := second.Wait(t.Context())
		if err != nil || res.ExitCode != 3 || res.Ended.Sub(res.Started) != time.Hour {
			t.Errorf("wait = %+v, %v, want exit code 3 after an hour", res, err)
		}
		again, err := f.Open().Find(t.Context(), runners.Sought{Name: "a", Output: NewRecorder()})
		if err != nil || again != first {
			t.Errorf("find by another worker = %v, %v, want the first", again, err)
		}
		f.Open().(runners.Forgetter).Forget("a")
		if _, err := f.Open().Find(t.Context(), runners.Sought{Name: "a", Output: NewRecorder()}); !errors.Is(err, runners.ErrGone) {
			t.Errorf("find after forget = %v, want ErrGone", err)
		}
	})
}

func TestFake_followsItsPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal := errors.New("refused")
		plans := map[string]Plan{
			"refused": {Refuse: refusal},
			"done":    {Done: true, Result: runners.Result{ExitCode: 1}, Lines: []Line{{Stream: runners.Stderr, Text: "no"}}},
			"later":   {After: time.Minute, Result: runners.Result{ExitCode: 2}},
			"deaf":    {Ignores: time.Hour},
		}
		f := NewFake()
		f.Plan = func(s runners.Spec) Plan { return plans[s.Name] }
		r := f.Open()
		out := NewRecorder()
		if _, err := r.Start(t.Context(), fakeSpec("refused", out)); !errors.Is(err, refusal) || f.Count("refused") != 0 {
			t.Errorf("start = %v after %d starts, want a refusal and none", err, f.Count("refused"))
		}
		done, _ := r.Start(t.Context(), fakeSpec("done", out))
		if res, err := done.Wait(t.Context()); err != nil || res.ExitCode != 1 {
			t.Errorf("done: %+v, %v", res, err)
		}
		if diff := cmp.Diff([]string{"no"}, out.Lines(runners.Stderr)); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
		begun := time.Now()
		later, _ := r.Start(t.Context(), fakeSpec("later", out))
		if res, err := later.Wait(t.Context()); err != nil || res.ExitCode != 2 || time.Since(begun) != time.Minute {
			t.Errorf("later: %+v, %v after %s", res, err, time.Since(begun))
		}
		begun = time.Now()
		deaf, _ := r.Start(t.Context(), fakeSpec("deaf", out))
		if err := deaf.Stop(t.Context(), time.Second); err != nil || time.Since(begun) != time.Second {
			t.Errorf("stop = %v after %s, want the grace of a second", err, time.Since(begun))
		}
		if res, _ := deaf.Wait(t.Context()); res.Signal != "SIGKILL" {
			t.Errorf("deaf: got signal %q, want SIGKILL", res.Signal)
		}
	})
}

func TestFake_leaseAndLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFake()
		s := fakeSpec("a", NewRecorder())
		s.Lease = time.Now().Add(10 * time.Second)
		begun := time.Now()
		a, _ := f.Open().Start(t.Context(), s)
		time.Sleep(5 * time.Second)
		if err := a.(runners.Leased).Lease(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		res, err := a.Wait(t.Context())
		if err != nil || res.Reason != schemas.ReasonLeaseLost || time.Since(begun) != 15*time.Second {
			t.Errorf("wait = %+v, %v after %s, want lease_lost after 15s", res, err, time.Since(begun))
		}
		b, _ := f.Open().Start(t.Context(), fakeSpec("b", NewRecorder()))
		c, _ := f.Open().Start(t.Context(), fakeSpec("c", NewRecorder()))
		if diff := cmp.Diff([]string{"run"}, f.Overlaps()); diff != "" {
			t.Errorf("overlaps (-want +got):\n%s", diff)
		}
		f.Vanish("b")
		if _, err := b.Wait(t.Context()); !errors.Is(err, runners.ErrGone) {
			t.Errorf("wait for what vanished = %v, want ErrGone", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("wait = %v, want context.DeadlineExceeded", err)
		}
	})
}
