package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
)

func TestFlowRunCancel_worksWithNothingButNATS(t *testing.T) {
	t.Parallel()
	url, conn := newProject(t)
	do := func(args ...string) result { return weir(t, append([]string{"-s", url, "flow-run"}, args...)...) }
	weir(t, "-s", url, "deployment", "run", "etl").ok(t)
	weir(t, "-s", url, "deployment", "run", "etl", "--id", "named").ok(t)
	weir(t, "-s", url, "deployment", "run", "etl", "-q", "urgent").ok(t)
	weir(t, "-s", url, "deployment", "run", "etl").ok(t)

	if out := do("inspect", "named").ok(t); !strings.Contains(out, "Scheduled") {
		t.Errorf("a named run that waits: %s", out)
	}
	rows := decodeJSON[[]cancelled](t, do("cancel", "dev-1", "named", "--reason", "not needed", "-j").ok(t))
	want := []cancelled{
		{Run: "dev-1", Pool: "dev", Deployment: "etl", State: schemas.Cancelled},
		{Run: "named", Pool: "dev", Deployment: "etl", State: schemas.Cancelled},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("cancel (-want +got):\n%s", diff)
	}
	if got := final(t, conn, "named"); !strings.Contains(got.Message, "not needed") {
		t.Errorf("message: got %q, want the reason in it", got.Message)
	}
	if got := do("cancel", "dev-1"); got.code != exitRefused || !strings.Contains(got.stderr, "cancelled") {
		t.Errorf("cancelled before: exit code %d, want %d: %s", got.code, exitRefused, got.stderr)
	}
	for _, run := range []string{"dev-99", "nobody", "x-1"} {
		if got := do("cancel", run); got.code != exitNotFound {
			t.Errorf("%s: exit code %d, want %d: %s", run, got.code, exitNotFound, got.stderr)
		}
	}
	for _, args := range []string{"cancel", "cancel dev-3 --pool dev", "cancel --state failed", "retry", "retry --state running", "retry --state failed --watch", "retry --since x"} {
		if got := do(strings.Fields(args)...); got.code != exitUsage {
			t.Errorf("%s: exit code %d, want %d: %s", args, got.code, exitUsage, got.stderr)
		}
	}
	if got := do("cancel", "--pool", "dev"); got.code != exitRefused || !strings.Contains(got.stderr, "Cancel 2 runs?") {
		t.Errorf("in bulk without a terminal: exit code %d, want %d and the count: %s", got.code, exitRefused, got.stderr)
	}
	rows = decodeJSON[[]cancelled](t, do("cancel", "--pool", "dev", "--yes", "-j").ok(t))
	var runs []string
	for _, r := range rows {
		runs = append(runs, r.Run)
	}
	slices.Sort(runs)
	if diff := cmp.Diff([]string{"dev-3", "dev-4"}, runs); diff != "" {
		t.Errorf("cancelled in bulk (-want +got):\n%s", diff)
	}
}

func TestFlowRunRetry_isANewRunThatNamesItsParent(t *testing.T) {
	t.Parallel()
	_, url := startUp(t, writeFiles(t, pythonFiles()))
	conn := connectTo(t, url)
	do := func(args ...string) result { return weir(t, append([]string{"-s", url, "flow-run"}, args...)...) }
	for range 2 {
		weir(t, "-s", url, "deployment", "run", "my-flow", "-p", "name=nobody", "-p", "times=7", "--tag", "mine", "-w")
	}
	rows := decodeJSON[[]rerun](t, do("retry", "development-1", "-p", "name=Ann", "-j").ok(t))
	if len(rows) != 1 || rows[0].Run == "" {
		t.Fatalf("got %+v, want a new run", rows)
	}
	got := final(t, conn, rows[0].Run)
	if got.State != schemas.Completed || got.Parent != "development-1" || string(got.Result) != `{"greeted":"Ann","times":7}` {
		t.Errorf("new run: got %s, parent %q, result %s", got.State, got.Parent, got.Result)
	}
	if diff := cmp.Diff([]string{"mine"}, got.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	do("retry", "--state", "failed", "--since", "1d", "--dry-run").ok(t)
	if got := do("retry", "--state", "failed"); got.code != exitRefused || !strings.Contains(got.stderr, "2 runs again?") {
		t.Errorf("in bulk without a terminal: exit code %d, want %d and the count: %s", got.code, exitRefused, got.stderr)
	}
	first := decodeJSON[[]rerun](t, do("retry", "development-1", "development-2", "-j").ok(t))
	for _, r := range first {
		final(t, conn, r.Run)
	}
	again := decodeJSON[[]rerun](t, do("retry", "--state", "failed", "--yes", "-j").ok(t))
	for _, r := range again {
		if i := slices.IndexFunc(first, func(f rerun) bool { return f.Parent == r.Parent }); i >= 0 && (!r.Duplicate || r.Run != first[i].Run) {
			t.Errorf("run %s asked for again: got %+v, want the run of before, %s", r.Parent, r, first[i].Run)
		}
	}
}
