// Package runnertest has what every runner has to promise ([Conform]) and a runner without infrastructure for the tests of
// those that use one ([Fake]).
package runnertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// Patience is how long the suite waits for what has to come. It bounds a failing test, never a passing one.
const Patience = 30 * time.Second

// Harness tells the suite how to drive one kind of runner.
type Harness struct {
	// New opens a runner on dir, as a worker does that starts, or starts again. The suite closes it.
	New func(t testing.TB, dir string) runners.Runner

	// Shell is the job configuration that runs a POSIX shell script with the given environment on top.
	Shell func(script string, env map[string]string) json.RawMessage

	// Bad is a job configuration that can never start: its program or image does not exist.
	Bad json.RawMessage

	// Abandon is the worker's death: it takes the runner's connections away without a goodbye. nil: executions do not
	// outlive their worker, and the suite leaves out what needs it.
	Abandon func(t testing.TB, r runners.Runner)

	// Running tells whether a process whose command line has word is running. nil: it cannot be told.
	Running func(t testing.TB, word string) bool

	Leases     bool // its executions are [runners.Leased]
	OneStream  bool // stdout and stderr come as one
	ResultFile bool // $WEIR_RESULT_FILE becomes the result's value
	Text       bool // output is text: what is no UTF-8 is replaced, and empty lines are left out
	Provisions bool // an execution is on its way when Start returns: Wait tells that it can never start
	Remembers  bool // the infrastructure knows an ended execution for a while after it was forgotten, and lists it to the next worker
}

// Conform checks every promise of [runners.Runner] and [runners.Execution].
func Conform(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, *bench){
		"Start_twiceFindsTheFirst":        startTwice,
		"Start_badProgramIsPermanent":     badProgram,
		"Start_givesEnvironment":          environment,
		"Find_unknownIsGone":              findUnknown,
		"Find_afterWorkersDeath":          findAfterDeath,
		"Find_endedIsKeptUntilForgotten":  findEnded,
		"List_namesWhatIsLeft":            listLeft,
		"Wait_givesExitCode":              exitCodes,
		"Wait_givesSignal":                exitSignal,
		"Wait_endsWithItsContext":         waitContext,
		"Output_comesInOrder":             outputOrder,
		"Output_isStoredOnceOverWorkers":  outputOnce,
		"Output_ofAJobThatDiesAtOnce":     outputAtOnce,
		"Output_longLinesAreSplit":        longLines,
		"Output_bytesAreKept":             rawBytes,
		"Output_slowReceiverBlocksNobody": slowReceiver,
		"Result_comesFromFile":            resultFile,
		"Stop_politely":                   stopPolitely,
		"Stop_bySignal":                   stopBySignal,
		"Stop_killsAfterGrace":            stopKills,
		"Stop_twice":                      stopTwice,
		"Ended_leavesNothingBehind":       leftovers,
		"Lease_killsWhenItRunsOut":        leaseRunsOut,
		"Lease_isExtended":                leaseExtended,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := &bench{Harness: h, dir: dir, name: strings.ToLower(strings.ReplaceAll(name, "_", "-"))}
			b.runner = h.New(t, dir)
			t.Cleanup(func() {
				if err := b.runner.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test(t, b)
		})
	}
}

// bench is one test's runner and what it has started.
type bench struct {
	Harness
	dir    string
	name   string
	runner runners.Runner
}

func (b *bench) spec(script string, out runners.Output) runners.Spec {
	return runners.Spec{
		Name: b.name, Run: "run-" + b.name, Attempt: 1, Pool: "pool", Queue: "default", Deployment: "deployment", Worker: "worker",
		Parameters: json.RawMessage(`{"n":1}`), Job: b.Shell(script, nil), Output: out,
	}
}

func (b *bench) start(t *testing.T, script string, out runners.Output) runners.Execution {
	t.Helper()
	return b.startSpec(t, b.spec(script, out))
}

func (b *bench) startSpec(t *testing.T, spec runners.Spec) runners.Execution {
	t.Helper()
	e, err := b.runner.Start(patient(t), spec)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { _ = e.Stop(patient(t), 0) })
	return e
}

// run starts a script and waits for its end.
func (b *bench) run(t *testing.T, script string) (runners.Result, *Recorder) {
	t.Helper()
	out := NewRecorder()
	return wait(t, b.start(t, script, out)), out
}

func wait(t *testing.T, e runners.Execution) runners.Result {
	t.Helper()
	res, err := e.Wait(patient(t))
	if err != nil {
		t.Fatalf("wait: %v", err)
	}
	return res
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Patience)
	t.Cleanup(cancel)
	return ctx
}

func (b *bench) stdout() runners.Stream {
	if b.OneStream {
		return ""
	}
	return runners.Stdout
}

func startTwice(t *testing.T, b *bench) {
	out := NewRecorder()
	first := b.start(t, "echo started; exec sleep 600", out)
	out.Await(t, 1)
	second := b.start(t, "echo started; exec sleep 600", out)
	if first.ID() != second.ID() {
		t.Errorf("started twice: got executions %s and %s, want one", first.ID(), second.ID())
	}
	if got := out.Lines(""); len(got) != 1 {
		t.Errorf("got output %q, want one line", got)
	}
}

func badProgram(t *testing.T, b *bench) {
	spec := b.spec("", NewRecorder())
	spec.Job = b.Bad
	e, err := b.runner.Start(patient(t), spec)
	if err == nil && b.Provisions {
		_, err = e.Wait(patient(t))
	}
	if reason, ok := runners.IsPermanent(err); !ok {
		t.Errorf("start = %v (reason %q), want a permanent error", err, reason)
	}
	if f, ok := b.runner.(runners.Forgetter); ok && b.Provisions {
		f.Forget(b.name)
	}
	if _, err := b.runner.Find(patient(t), runners.Sought{Name: b.name, Output: NewRecorder()}); !errors.Is(err, runners.ErrGone) {
		t.Errorf("find after a failed start = %v, want ErrGone", err)
	}
}

func environment(t *testing.T, b *bench) {
	spec := b.spec("", NewRecorder())
	out := NewRecorder()
	spec.Output, spec.Attempt, spec.Trace = out, 3, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	spec.Job = b.Shell(`for v in WEIR_RUN_ID WEIR_ATTEMPT WEIR_POOL WEIR_QUEUE WEIR_DEPLOYMENT WEIR_WORKER WEIR_PARAMETERS TRACEPARENT OWN; do
eval "echo $v=\$$v"; done; env | grep -c '^NATS_'`, map[string]string{"OWN": "a b"})
	wait(t, b.startSpec(t, spec))
	want := []string{
		"WEIR_RUN_ID=" + spec.Run, "WEIR_ATTEMPT=3", "WEIR_POOL=pool", "WEIR_QUEUE=default", "WEIR_DEPLOYMENT=deployment",
		"WEIR_WORKER=worker", `WEIR_PARAMETERS={"n":1}`, "TRACEPARENT=" + spec.Trace, "OWN=a b", "0",
	}
	if diff := cmp.Diff(want, out.Lines(b.stdout())); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func findUnknown(t *testing.T, b *bench) {
	if _, err := b.runner.Find(patient(t), runners.Sought{Name: "never-started", Output: NewRecorder()}); !errors.Is(err, runners.ErrGone) {
		t.Errorf("find = %v, want ErrGone", err)
	}
}

// die lets the worker die and another come.
func (b *bench) die(t *testing.T) {
	t.Helper()
	if b.Abandon == nil {
		t.Skip("executions of this runner end with their worker")
	}
	b.Abandon(t, b.runner)
	b.runner = b.New(t, b.dir)
}

func findAfterDeath(t *testing.T, b *bench) {
	out := NewRecorder() // of both workers: it knows what is stored, as a run's log does
	first := b.start(t, "echo one; read x < "+b.fifo(t)+"; echo two; exit 7", out)
	out.Await(t, 1)
	b.settle(t)
	b.die(t)
	second, err := b.runner.Find(patient(t), runners.Sought{Name: b.name, Output: out})
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	if first.ID() != second.ID() {
		t.Errorf("found %s, want %s", second.ID(), first.ID())
	}
	b.feed(t)
	if got := wait(t, second).ExitCode; got != 7 {
		t.Errorf("got exit code %d, want 7", got)
	}
	if diff := cmp.Diff([]string{"one", "two"}, out.Lines("")); diff != "" {
		t.Errorf("lines seen by both workers (-want +got):\n%s", diff)
	}
}

func findEnded(t *testing.T, b *bench) {
	b.run(t, "exit 5")
	b.die(t)
	e, err := b.runner.Find(patient(t), runners.Sought{Name: b.name, Output: NewRecorder()})
	if err != nil {
		t.Fatalf("find an ended execution: %v", err)
	}
	if got := wait(t, e).ExitCode; got != 5 {
		t.Errorf("got exit code %d, want 5", got)
	}
	f, ok := b.runner.(runners.Forgetter)
	if !ok {
		return
	}
	f.Forget(b.name)
	if _, err := b.runner.Find(patient(t), runners.Sought{Name: b.name, Output: NewRecorder()}); !errors.Is(err, runners.ErrGone) {
		t.Errorf("find after forget = %v, want ErrGone", err)
	}
}

func listLeft(t *testing.T, b *bench) {
	if _, ok := b.runner.(runners.Lister); !ok {
		t.Skip("this runner cannot list its executions")
	}
	list := func() []string {
		t.Helper()
		names, err := b.runner.(runners.Lister).List(patient(t))
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		slices.Sort(names)
		return names
	}
	if got := list(); len(got) > 0 {
		t.Errorf("list of a new worker: got %q, want nothing", got)
	}
	name, forgets := b.name, false
	for _, end := range []string{"forgotten", "ended"} {
		b.name = name + "-" + end
		b.run(t, "exit 1")
		if f, ok := b.runner.(runners.Forgetter); ok && end == "forgotten" {
			f.Forget(b.name)
			forgets = true
		}
	}
	b.name = name + "-running"
	b.start(t, "exec sleep 600", NewRecorder())
	want := []string{name + "-ended", name + "-running"}
	if !forgets {
		want = []string{name + "-ended", name + "-forgotten", name + "-running"}
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	b.die(t)
	if b.Remembers && forgets {
		want = slices.Insert(want, 1, name+"-forgotten")
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("list of the next worker (-want +got):\n%s", diff)
	}
}

// each is one of several executions of a test. They run side by side where starting one takes seconds.
func (b *bench) each(t *testing.T, name string, test func(*testing.T, *bench)) {
	t.Run(name, func(t *testing.T) {
		if b.Provisions {
			t.Parallel()
		}
		one := *b
		one.name += "-" + name
		test(t, &one)
	})
}

func exitCodes(t *testing.T, b *bench) {
	for _, code := range []int{0, 1, 77, 255} {
		b.each(t, strconv.Itoa(code), func(t *testing.T, b *bench) {
			res, _ := b.run(t, fmt.Sprintf("exit %d", code))
			if res.ExitCode != code || res.Signal != "" || res.Reason != "" {
				t.Errorf("got code %d, signal %q, reason %q", res.ExitCode, res.Signal, res.Reason)
			}
			if res.Started.IsZero() || res.Ended.Before(res.Started) {
				t.Errorf("started %v, ended %v", res.Started, res.Ended)
			}
		})
	}
}

func exitSignal(t *testing.T, b *bench) {
	res, _ := b.run(t, "kill -SEGV $$")
	if res.ExitCode != 139 || res.Signal != "SIGSEGV" {
		t.Errorf("got code %d, signal %q, want 139, SIGSEGV", res.ExitCode, res.Signal)
	}
}

func waitContext(t *testing.T, b *bench) {
	e := b.start(t, "exec sleep 600", NewRecorder())
	ctx, cancel := context.WithCancel(patient(t))
	cancel()
	if _, err := e.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait = %v, want context.Canceled", err)
	}
}

// warm runs a job, so that whatever the runner sets up at its first start is there.
func (b *bench) warm(t *testing.T) {
	t.Helper()
	spec := b.spec("exit 0", NewRecorder())
	spec.Name += "-warm"
	wait(t, b.startSpec(t, spec))
}

func leaseRunsOut(t *testing.T, b *bench) {
	if !b.Leases {
		t.Skip("executions of this runner have no lease of their own")
	}
	b.warm(t)
	spec := b.spec("trap '' TERM HUP; sleep 600 & wait; wait", NewRecorder())
	spec.Lease = time.Now().Add(time.Second)
	res := wait(t, b.startSpec(t, spec))
	if res.Reason != schemas.ReasonLeaseLost || res.Signal != "SIGKILL" {
		t.Errorf("got reason %q, signal %q, want lease_lost, SIGKILL", res.Reason, res.Signal)
	}
	if late := res.Ended.Sub(spec.Lease); late < 0 || late > time.Second {
		t.Errorf("killed %s after the lease's end, want at once and not before", late)
	}
}

func leaseExtended(t *testing.T, b *bench) {
	if !b.Leases {
		t.Skip("executions of this runner have no lease of their own")
	}
	b.warm(t)
	spec := b.spec("sleep 2; exit 3", NewRecorder())
	spec.Lease = time.Now().Add(time.Second)
	e := b.startSpec(t, spec)
	if err := e.(runners.Leased).Lease(time.Now().Add(Patience)); err != nil {
		t.Fatalf("lease: %v", err)
	}
	if res := wait(t, e); res.ExitCode != 3 {
		t.Errorf("got code %d, reason %q, want 3", res.ExitCode, res.Reason)
	}
}
