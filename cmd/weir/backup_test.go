package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// documented is the command of docs/operations.md that begins so.
func documented(t *testing.T, prefix string) string {
	t.Helper()
	for _, b := range blocks(t, filepath.Join("docs", "operations.md")) {
		for _, c := range b.commands {
			if strings.HasPrefix(c.text, prefix) {
				return c.text
			}
		}
	}
	t.Fatalf("docs/operations.md has no command %q", prefix)
	return ""
}

func TestBackup_whatWaitedGoesOnWhereItIsRestored(t *testing.T) {
	t.Parallel()
	nats := natsBinary(t)
	dir := scripted(t, shortest, `test $WEIR_ATTEMPT -gt 1 || test $WEIR_RUN_ID != again`, "retries: {max: 1, backoff: 5s, jitter: 0}")
	sh := func(url, command string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-c", command)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "NATS_URL="+url, "PATH="+filepath.Dir(nats)+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	url, conn := onServer(t, dir)
	sh(url, "nats pub -J -H 'Weir-Run-Id: again' weir.run.dev.default.job ''")
	if worker := workerIn(t, dir, url, "a", "--run-once"); worker.exit(t) != exitOK {
		t.Fatalf("worker: %s", worker.output())
	}
	reached(t, conn, "again", inState(schemas.Retrying, 1))
	sh(url, "nats pub -J -H 'Weir-Run-Id: waits' weir.run.dev.default.job ''")
	sh(url, "nats pub -J --schedule-every 1s --schedule-dest weir.run.dev.default.job weir.schedule.dev.default.job.often ''")
	sh(url, documented(t, "nats account backup"))

	restored := bare(t)
	sh(restored, documented(t, "nats account restore"))
	start(t, dir, "--server", restored, "server", "start", "--http-listen", "off").await(t, "server is ready")
	conn = connectTo(t, restored)
	workerIn(t, dir, restored, "b")
	for run, attempt := range map[string]int{"again": 2, "waits": 1} {
		e := reached(t, conn, run, func(e schemas.RunEvent) bool { return e.State.Final() })
		if e.State != schemas.Completed || e.Attempt != attempt || e.Worker != "b" {
			t.Errorf("run %s: got %s in attempt %d by %s, want completed in attempt %d by b", run, e.State, e.Attempt, e.Worker, attempt)
		}
	}
	fired, enough := map[string]bool{}, errors.New("enough")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := conn.WatchRuns(ctx, streams.Filter{Pool: "dev", States: []schemas.State{schemas.Completed}}, func(e streams.Recorded) error {
		if fired[e.Run] = true; len(fired) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("runs of the schedule after the restore: got %v, %v, want that it goes on", fired, err)
	}
}
