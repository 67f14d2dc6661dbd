package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// deadProject is a weir up whose worker has rejected a request for my-flow: run typo, dead letter 1.
func deadProject(t *testing.T) (url string, conn *streams.Conn) {
	t.Helper()
	_, url = startUp(t, writeFiles(t, pythonFiles()))
	conn = connectTo(t, url)
	rejectOne(t, url, conn, "typo", "my-flow")
	return url, conn
}

// rejectOne publishes a request that is rejected, with the nats command, and waits until it is.
func rejectOne(t *testing.T, url string, conn *streams.Conn, run, deployment string) {
	t.Helper()
	p := startProgram(t, t.TempDir(), natsBinary(t), "-s", url, "pub", "-J", "-H", "Weir-Run-Id: "+run, "-H", "X-Mine: kept",
		"weir.run.development.default."+deployment, `{"parameters": {"nmae": "Ada"}, "tags": ["mine"]}`)
	if p.exit(t) != 0 {
		t.Fatal(p.output())
	}
	if got := final(t, conn, run); got.State != schemas.Failed || got.Reason != schemas.ReasonRejected {
		t.Fatalf("run %s: got %s, %s, want it rejected", run, got.State, got.Reason)
	}
}

// final waits for the run's final event.
func final(t *testing.T, conn *streams.Conn, run string) (last streams.Recorded) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := conn.WatchRun(ctx, run, func(e streams.Recorded) error { last = e; return nil }); err != nil || !last.State.Final() {
		t.Fatalf("run %s: got %q, %v, want a final state", run, last.State, err)
	}
	return last
}

func letters(t *testing.T, url string) (ids []uint64) {
	t.Helper()
	for _, l := range decodeJSON[[]streams.DeadLetter](t, weir(t, "-s", url, "dead-letter", "ls", "-j").ok(t)) {
		ids = append(ids, l.ID)
	}
	return ids
}

func TestDeadLetterRetry_ofAMendedRequestRunsAsAnotherRun(t *testing.T) {
	t.Parallel()
	url, conn := deadProject(t)
	do := func(args ...string) result { return weir(t, append([]string{"-s", url, "dead-letter"}, args...)...) }

	if got := do("retry", "1"); got.code != exitRefused || !strings.Contains(got.stderr, "rejected again") || !strings.Contains(got.stderr, "nmae") {
		t.Errorf("unmended: exit code %d, want %d: %s", got.code, exitRefused, got.stderr)
	}
	if got := do("retry", "1", "-p", "name=Ada"); got.code != exitRefused {
		t.Errorf("with a parameter that stands beside the wrong one: exit code %d, want %d: %s", got.code, exitRefused, got.stderr)
	}
	if diff := cmp.Diff([]uint64{1}, letters(t, url)); diff != "" {
		t.Fatalf("letters after refusals (-want +got):\n%s", diff)
	}
	body := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(body, []byte(`{"tags": ["mine"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := decodeJSON[[]retried](t, do("retry", "1", "--body", body, "-p", "name=Ada", "-j").ok(t))
	if len(rows) != 1 || rows[0].ID != 1 || rows[0].Run == "" {
		t.Fatalf("got %+v, want the new run", rows)
	}
	got := final(t, conn, rows[0].Run)
	if got.State != schemas.Completed || got.Parent != "typo" || string(got.Result) != `{"greeted":"Ada","times":1}` {
		t.Errorf("new run: got %s, parent %q, result %s", got.State, got.Parent, got.Result)
	}
	if diff := cmp.Diff([]string{"mine"}, got.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if got := do("retry", "1"); got.code != exitNotFound {
		t.Errorf("retried before: exit code %d, want %d: %s", got.code, exitNotFound, got.stderr)
	}
}

func TestDeadLetterRetry_inBulkGoesPastThoseThatWouldBeRejectedAgain(t *testing.T) {
	t.Parallel()
	url, conn := deadProject(t)
	rejectOne(t, url, conn, "typo_two", "newcomer")
	do := func(args ...string) result { return weir(t, append([]string{"-s", url, "dead-letter"}, args...)...) }
	for _, args := range []string{"retry", "retry 1 --all", "retry x", "retry 0", "retry --all -p name=Ada", "retry --reason rejeced", "delete", "retry 1 --body no-such-file"} {
		if got := do(strings.Fields(args)...); got.code != exitUsage {
			t.Errorf("%s: exit code %d, want %d: %s", args, got.code, exitUsage, got.stderr)
		}
	}
	got := do("retry", "--reason", "rejected", "--pool", "development", "-j")
	rows := decodeJSON[[]retried](t, got.stdout)
	if got.code != exitRefused || len(rows) != 2 || rows[0].Error == "" || rows[1].Run != "" || !strings.Contains(got.stderr, "2 of 2") {
		t.Errorf("in bulk: exit code %d, %+v, %s", got.code, rows, got.stderr)
	}
	if got := do("retry", "--pool", "production"); got.code != exitNotFound {
		t.Errorf("of a pool that is not there: exit code %d, want %d: %s", got.code, exitNotFound, got.stderr)
	}

	if got := do("delete", "1"); got.code != exitRefused || !strings.Contains(got.stderr, "--force") {
		t.Errorf("delete without a terminal: exit code %d, want %d: %s", got.code, exitRefused, got.stderr)
	}
	do("delete", "1", "--force").ok(t)
	if diff := cmp.Diff([]uint64{2}, letters(t, url)); diff != "" {
		t.Errorf("letters after the first is deleted (-want +got):\n%s", diff)
	}
	// What is mended at the deployment's side is retried as it is.
	if _, err := conn.PutDeployment(t.Context(), schemas.Deployment{Name: "newcomer", Pool: "development", Queue: "default", Command: schemas.Command{"true"}}); err != nil {
		t.Fatal(err)
	}
	rows = decodeJSON[[]retried](t, do("retry", "--all", "-j").ok(t))
	if len(rows) != 1 || rows[0].ID != 2 {
		t.Fatalf("got %+v, want letter 2", rows)
	}
	if got := final(t, conn, rows[0].Run); got.State != schemas.Completed || got.Parent != "typo_two" {
		t.Errorf("new run: got %s, parent %q", got.State, got.Parent)
	}
	if ids := letters(t, url); ids != nil {
		t.Errorf("letters: got %v, want none", ids)
	}
}
