package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

// ran starts a job, waits for its end and forgets it.
func ran(t *testing.T, r *runner, name, script string, more map[string]any) {
	t.Helper()
	e, err := r.Start(patient(t), spec(name, shell(t, script, more), nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := waitFor(t, e); err != nil {
		t.Fatal(err)
	}
	r.Forget(name)
	r.removals.Wait()
}

// names are those of the containers of r's system, sorted.
func names(t *testing.T, r *runner) []string {
	t.Helper()
	prefix := "weir-" + r.config.System + ".p."
	var names []string
	for name := range strings.FieldsSeq(shared.Docker(t, "ps", "-a", "--format", "{{.Names}}", "--filter", "label="+labelSystem+"="+r.config.System)) {
		names = append(names, strings.TrimPrefix(name, prefix))
	}
	slices.Sort(names)
	return names
}

// What counts is the end, not the start, and no deployment's failures take another's place.
func TestForget_keepsTheLastThatFailed(t *testing.T) {
	shared.Up(t)
	r := open(t, t.TempDir())
	defer r.Close()
	keep := map[string]any{"keep_failed": 2}
	out := runnertest.NewRecorder()
	long, err := r.Start(patient(t), spec("long.1", shell(t, "trap 'exit 1' USR1; echo ready; while :; do sleep 0.1; done", keep), out))
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	for n := range 3 {
		ran(t, r, fmt.Sprintf("failed-%d.1", n), "exit 1", keep)
		ran(t, r, fmt.Sprintf("well-%d.1", n), "exit 0", keep)
	}
	shared.Docker(t, "kill", "-s", "USR1", long.ID())
	if _, err := waitFor(t, long); err != nil {
		t.Fatal(err)
	}
	r.Forget("long.1")
	r.removals.Wait()
	other := spec("other.1", shell(t, "exit 1", map[string]any{"keep_failed": 1}), nil)
	other.Deployment = "another"
	e, err := r.Start(patient(t), other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := waitFor(t, e); err != nil {
		t.Fatal(err)
	}
	r.Forget("other.1")
	r.removals.Wait()
	ran(t, r, "asked-for.1", "exit 1", map[string]any{"auto_remove": false})
	ran(t, r, "plain.1", "exit 1", nil)
	if diff := cmp.Diff([]string{"asked-for.1.kept", "failed-2.1.kept", "long.1.kept", "other.1.kept"}, names(t, r)); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	if list, err := r.List(patient(t)); err != nil || len(list) > 0 {
		t.Errorf("list: got %q, %v, want no execution", list, err)
	}
}

// A worker that was killed after it had recorded a run's end comes again, and is told to forget what it finds.
func TestForget_asTheNextWorker(t *testing.T) {
	shared.Up(t)
	dir := t.TempDir()
	first := open(t, dir)
	for name, more := range map[string]map[string]any{"a.1": nil, "b.1": {"keep_failed": 1}} {
		e, err := first.Start(patient(t), spec(name, shell(t, "exit 1", more), nil))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := waitFor(t, e); err != nil {
			t.Fatal(err)
		}
	}
	_ = first.abandon()
	second := open(t, dir)
	defer second.Close()
	list, err := second.List(patient(t))
	slices.Sort(list)
	if err != nil || !slices.Equal(list, []string{"a.1", "b.1"}) {
		t.Errorf("list: got %q, %v", list, err)
	}
	for _, name := range list {
		second.Forget(name)
	}
	second.removals.Wait()
	if diff := cmp.Diff([]string{"b.1.kept"}, names(t, second)); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
}

// What is not this system's is never touched, whatever it is called.
func TestOthers_areLeftAlone(t *testing.T) {
	shared.Up(t)
	r, other := open(t, t.TempDir()), open(t, t.TempDir())
	defer r.Close()
	defer other.Close()
	theirs, err := other.Start(patient(t), spec("run.1", shell(t, "exec sleep 600", nil), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Stop(patient(t), 0) }()
	name := r.containerName("taken.1")
	stranger := shared.Docker(t, "run", "-d", "--name", name, busybox, "sleep", "600")
	defer shared.Docker(t, "rm", "-f", stranger)

	if list, err := r.List(patient(t)); err != nil || len(list) > 0 {
		t.Errorf("list: got %q, %v, want nothing", list, err)
	}
	if _, err := r.Find(patient(t), runners.Sought{Name: "taken.1", Output: runnertest.NewRecorder()}); err == nil || errors.Is(err, runners.ErrGone) {
		t.Errorf("find = %v, want an error that says whose the name is", err)
	}
	_, err = r.Start(patient(t), spec("taken.1", shell(t, "true", nil), nil))
	if _, permanent := runners.IsPermanent(err); !permanent || !strings.Contains(err.Error(), "not Weir's") {
		t.Errorf("start = %v, want a permanent error that says whose the name is", err)
	}
	r.Forget("taken.1")
	r.removals.Wait()
	_ = shared.Docker(t, "inspect", stranger) // fails when it is not there
	if isClosed(theirs.(*execution).died) {
		t.Error("another system's container has ended")
	}
}

// A container has the labels of its image but for its own, and an image may have Weir's: one that was made of a container of Weir's has.
func TestLabels_ofAnImageMeanNothing(t *testing.T) {
	shared.Up(t)
	dir := t.TempDir()
	first := open(t, dir)
	engine := map[string]string{labelTombstone: "true", labelSilent: "true", labelSystem: first.config.System, labelPool: "p", labelExecution: "stranger.1"}
	commit := []string{"commit"}
	for label, value := range engine {
		commit = append(commit, "-c", "LABEL "+label+"="+value)
	}
	base := shared.Docker(t, "create", busybox)
	shared.Docker(t, append(commit, base, "weir-test/labelled:1")...)
	shared.Docker(t, "rm", base)
	stranger := shared.Docker(t, "run", "-d", "weir-test/labelled:1", "sleep", "600")
	defer shared.Docker(t, "rm", "-f", stranger)
	_, err := first.Start(patient(t), spec("run.1", shell(t, "echo began; exec sleep 600", map[string]any{"image": "weir-test/labelled:1"}), nil))
	if err != nil {
		t.Fatal(err)
	}
	_ = first.abandon()

	second := open(t, dir)
	defer second.Close()
	if list, err := second.List(patient(t)); err != nil || !slices.Equal(list, []string{"run.1"}) {
		t.Errorf("list: got %q, %v, want the job's and no other", list, err)
	}
	out := runnertest.NewRecorder()
	e, err := second.Find(patient(t), runners.Sought{Name: "run.1", Output: out})
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1) // its output is stored
	if err := e.Stop(patient(t), 0); err != nil {
		t.Error(err)
	}
	second.Forget("run.1")
	second.removals.Wait()
	if left, err := second.list(patient(t)); err != nil || len(left) > 0 {
		t.Errorf("left: got %v, %v, want nothing that is Weir's", left, err)
	}
	_ = shared.Docker(t, "inspect", stranger) // fails when it is not there
}

// An engine that takes its time to remove a container is not asked without a pause, and not for longer than anybody waits.
func TestFind_waitsForARemoval(t *testing.T) {
	shared.Up(t)
	dir := t.TempDir()
	var asked atomic.Int64
	p := &proxy{answer: func(a *http.Response) {
		if !strings.HasSuffix(a.Request.URL.Path, ".1/json") {
			return
		}
		asked.Add(1)
		body := fmt.Sprintf(`{"State": {"Status": "removing"}, "Config": {"Labels": {%q: %q, %q: "p"}}}`, labelSystem, systemOf(dir), labelPool)
		a.StatusCode, a.Body, a.ContentLength = http.StatusOK, io.NopCloser(strings.NewReader(body)), int64(len(body))
		a.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}}
	p.serve(t, shared.Host())
	r := openOn(t, dir, p.host)
	defer r.Close()
	why := errors.New("nobody waits any more")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*firstWait, why)
	defer cancel()
	_, err := r.Find(ctx, runners.Sought{Name: "run.1", Output: runnertest.NewRecorder()})
	if n := asked.Load(); !errors.Is(err, why) && !errors.Is(err, context.DeadlineExceeded) || n == 0 || n > 5 {
		t.Errorf("got %v after %d questions, want 1 to 5 of them until the time was over", err, n)
	}
}

func TestLeftover_isWhatNobodyHasUseFor(t *testing.T) {
	r := &runner{held: map[string]*execution{"held.1": {}}}
	now := time.Unix(1_800_000_000, 0)
	tombstone := map[string]string{labelTombstone: "true", labelExecution: "a.1"}
	for _, tt := range []struct {
		state  container.ContainerState
		age    time.Duration
		labels map[string]string
		want   bool
	}{
		{container.StateExited, 8 * 24 * time.Hour, nil, true},
		{container.StateExited, 6 * 24 * time.Hour, nil, false},
		{container.StateCreated, 8 * 24 * time.Hour, nil, true},
		{container.StateCreated, time.Minute, nil, false},
		{container.StateRunning, 100 * 24 * time.Hour, nil, false},
		{container.StatePaused, 100 * 24 * time.Hour, nil, false},
		{container.StateExited, 8 * 24 * time.Hour, map[string]string{labelExecution: "held.1"}, false},
		{container.StateCreated, 25 * time.Hour, tombstone, true},
		{container.StateCreated, 23 * time.Hour, tombstone, false},
	} {
		c := container.Summary{State: tt.state, Created: now.Add(-tt.age).Unix(), Labels: tt.labels}
		if got := r.leftover(c, now); got != tt.want {
			t.Errorf("%s for %s, %v: got leftover %v, want %v", tt.state, tt.age, tt.labels, got, tt.want)
		}
	}
}

// A container that somebody removes under a run is gone: that the engine killed it first is no end of the job's.
func TestWait_containerIsRemovedByHand(t *testing.T) {
	shared.Up(t)
	r := open(t, t.TempDir())
	defer r.Close()
	e, err := r.Start(patient(t), spec("run.1", shell(t, "exec sleep 600", nil), nil))
	if err != nil {
		t.Fatal(err)
	}
	shared.Docker(t, "rm", "-f", e.ID())
	if res, err := waitFor(t, e); !errors.Is(err, runners.ErrGone) {
		t.Errorf("got %+v, %v, want ErrGone", res, err)
	}
}

// A container that somebody restarts under a run is at work again when the run has ended, and does not stay so.
func TestForget_containerWasRestartedByHand(t *testing.T) {
	shared.Up(t)
	r := open(t, t.TempDir())
	defer r.Close()
	out := runnertest.NewRecorder()
	e, err := r.Start(patient(t), spec("run.1", shell(t, "trap 'exit 0' TERM; echo began; while :; do sleep 0.1; done", nil), out))
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	shared.Docker(t, "restart", e.ID())
	if res, err := waitFor(t, e); err != nil || res.ExitCode != 0 || res.Reason != "" {
		t.Errorf("got %+v, %v, want the exit code with which the job ended", res, err)
	}
	r.Forget("run.1")
	r.removals.Wait()
	if left := names(t, r); len(left) > 0 {
		t.Errorf("left: got %q, want none", left)
	}
}

// A job that has ended well and whose container is removed before its result was read has not ended without one.
func TestWait_containerIsRemovedBeforeItsResultIsRead(t *testing.T) {
	shared.Up(t)
	p := newProxy(t, shared.Host(), "/archive", false)
	r := openOn(t, t.TempDir(), p.host)
	defer r.Close()
	e, err := r.Start(patient(t), spec("run.1", shell(t, `echo 1 >"$WEIR_RESULT_FILE"`, nil), nil))
	if err != nil {
		t.Fatal(err)
	}
	<-p.held
	shared.Docker(t, "rm", e.ID())
	close(p.release)
	if res, err := waitFor(t, e); err != nil || res.Reason != schemas.ReasonResultInvalid || !strings.Contains(res.Message, "was removed") {
		t.Errorf("got %+v, %v, want result_invalid and why", res, err)
	}
}

func TestWait_jobRunsOutOfMemory(t *testing.T) {
	shared.Up(t)
	r := open(t, t.TempDir())
	defer r.Close()
	e, err := r.Start(patient(t), spec("run.1", shell(t, "head -c 200m /dev/zero | tail", map[string]any{"memory": 16, "memswap_limit": "16m"}), nil))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := waitFor(t, e); err != nil || res.Reason != "oom_killed" {
		t.Errorf("got exit code %d, reason %q, %v, want oom_killed", res.ExitCode, res.Reason, err)
	}
}
