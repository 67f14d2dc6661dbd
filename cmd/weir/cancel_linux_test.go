package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/schemas"
)

// With nothing but the nats command.
func TestCancel_isRecordedOnceAllThatTheJobStartedIsDead(t *testing.T) {
	t.Parallel()
	nats := natsBinary(t)
	dir := stubbornProject(t, "grace: 1s")
	url, conn := onServer(t, dir)
	workerIn(t, dir, url, "a")
	run := submit(t, conn)
	pids := awaitBeats(t, dir)
	reached(t, conn, run, inState(schemas.Running, 1))
	if out, err := exec.CommandContext(t.Context(), nats, "-s", url, "pub", "weir.cancel.dev."+run, "no longer needed").CombinedOutput(); err != nil {
		t.Fatalf("nats pub: %v\n%s", err, out)
	}
	asked := reached(t, conn, run, inState(schemas.Cancelling, 1))
	gone := reached(t, conn, run, func(e schemas.RunEvent) bool { return e.State.Final() })
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d lives after the run's end was recorded", pid)
		}
	}
	if gone.State != schemas.Cancelled || gone.Attempt != 1 || !strings.Contains(asked.Message, "no longer needed") {
		t.Errorf("got %s of attempt %d and %q, want cancelled, 1 and the words of the one who asked", gone.State, gone.Attempt, asked.Message)
	}
	if took := gone.Time.Sub(asked.Time); took < time.Second || took > 4*time.Second {
		t.Errorf("the job was gone %s after the cancel, want its grace of 1 s and little more", took)
	}
}
