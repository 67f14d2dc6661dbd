package main

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func TestWorker_runOnceTakesOneRunOfTwo(t *testing.T) {
	t.Parallel()
	dir := scripted(t, shortest, `echo $WEIR_RUN_ID`)
	url, conn := onServer(t, dir)
	first, second := submit(t, conn), submit(t, conn)
	for _, run := range []string{first, second} {
		worker := workerIn(t, dir, url, "a", "--limit", "4", "--run-once")
		if code := worker.exit(t); code != exitOK {
			t.Errorf("worker: exit code %d:\n%s", code, worker.output())
		}
		want := []string{"pending 1  a", "running 1  a", "completed 1  a"}
		if diff := cmp.Diff(want, life(t, conn, run)); diff != "" {
			t.Errorf("run %s (-want +got):\n%s", run, diff)
		}
		if e, err := conn.LastEventIn(t.Context(), "dev", second); run == first && !errors.Is(err, streams.ErrNotFound) {
			t.Errorf("got %s of the second run, %v, want that one worker took one run", e.State, err)
		}
	}
}

func TestWorker_idleExitEndsAWorkerThatHasHeldNothingForSoLong(t *testing.T) {
	t.Parallel()
	dir := scripted(t, shortest, `sleep 1.5`)
	url, conn := onServer(t, dir)
	run := submit(t, conn)
	begun := time.Now()
	worker := workerIn(t, dir, url, "a", "--idle-exit", "500ms")
	if code := worker.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, worker.output())
	}
	if lasted := time.Since(begun); lasted < 2*time.Second {
		t.Errorf("the worker ended after %s, want that it waits for its run and 0.5 s more", lasted)
	}
	want := []string{"pending 1  a", "running 1  a", "completed 1  a"}
	if diff := cmp.Diff(want, life(t, conn, run)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestWorker_drainTimeoutHandsBackWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	dir := scripted(t, shortest, `test $WEIR_ATTEMPT -gt 1 || exec sleep 600`, "grace: 1s")
	url, conn := onServer(t, dir)
	worker := workerIn(t, dir, url, "a", "--drain-timeout", "1s")
	run := submit(t, conn)
	reached(t, conn, run, inState(schemas.Running, 1))
	mustRun(t, dir, "--server", url, "worker", "drain", "a", "--pool", "dev")
	if code := worker.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, worker.output())
	}
	if e := reached(t, conn, run, inState(schemas.Retrying, 1)); e.Reason != schemas.ReasonWorkerStopped || e.Crashes != 0 {
		t.Errorf("got %s and %d crashes, want worker_stopped, which counts as none", e.Reason, e.Crashes)
	}
	workerIn(t, dir, url, "b")
	want := []string{"pending 1  a", "running 1  a", "retrying 1 worker_stopped a", "pending 2  b", "running 2  b", "completed 2  b"}
	if diff := cmp.Diff(want, life(t, conn, run)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Nothing but the nats command and a server: no worker is ever there.
func TestServer_expiresARunThatNoWorkerTakes(t *testing.T) {
	t.Parallel()
	nats := natsBinary(t)
	dir := scripted(t, shortest, `echo never`)
	url, conn := onServer(t, dir)
	expires := time.Now().Add(2 * time.Second)
	body := fmt.Sprintf(`{"expires_at": %q}`, expires.Format(time.RFC3339Nano))
	out, err := exec.CommandContext(t.Context(), nats, "-s", url, "pub", "-J", "weir.run.dev.default.job", body).CombinedOutput()
	if err != nil {
		t.Fatalf("nats pub: %v\n%s", err, out)
	}
	e := reached(t, conn, "dev-1", func(schemas.RunEvent) bool { return true })
	if late := time.Since(expires); e.State != schemas.Failed || e.Reason != schemas.ReasonExpired || e.Attempt != 0 || late < 0 || late > 5*time.Second {
		t.Errorf("got %s, %s, attempt %d, %s after its time, want failed, expired, no attempt, and at most 5 s", e.State, e.Reason, e.Attempt, late)
	}
}
