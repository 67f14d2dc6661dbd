package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

func waitFor(t *testing.T, e runners.Execution) (runners.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*runnertest.Patience)
	defer cancel()
	return e.Wait(ctx)
}

// The engine dies and comes back while the job goes on: nothing of the job is lost, and nothing is told twice.
func TestEngine_killedUnderARunningJob(t *testing.T) {
	engine := dockertest.Own(t, "docker", "--live-restore")
	r := openOn(t, t.TempDir(), engine.Host())
	defer r.Close()
	out := runnertest.NewRecorder()
	e, err := r.Start(patient(t), spec("run.1", shell(t, "i=0; while [ $i -lt 30 ]; do echo $i; sleep 0.1; i=$((i+1)); done; exit 7", nil), out))
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 5)
	engine.Run(t, "kill")
	engine.Run(t, "up")
	res, err := waitFor(t, e)
	if err != nil || res.ExitCode != 7 || res.Reason != "" {
		t.Errorf("got exit code %d, reason %q, %v, want 7", res.ExitCode, res.Reason, err)
	}
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
	}
	if diff := cmp.Diff(want, out.Lines("")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// An engine without live-restore ends its containers, as it stops or as it comes back: that is the infrastructure's doing, not the
// job's.
func TestEngine_endsTheJob(t *testing.T) {
	for _, verb := range []string{"stop", "kill"} {
		t.Run(verb, func(t *testing.T) {
			engine := dockertest.Own(t, "docker", "")
			r := openOn(t, t.TempDir(), engine.Host())
			defer r.Close()
			out := runnertest.NewRecorder()
			e, err := r.Start(patient(t), spec("run.1", shell(t, "trap 'exit 143' TERM; echo ready; while :; do sleep 0.1; done", nil), out))
			if err != nil {
				t.Fatal(err)
			}
			out.Await(t, 1)
			engine.Run(t, verb)
			engine.Run(t, "up")
			res, err := waitFor(t, e)
			if err != nil || res.Reason != schemas.ReasonEngineUnreachable {
				t.Errorf("got exit code %d, reason %q, %v, want engine_unreachable", res.ExitCode, res.Reason, err)
			}
		})
	}
}

// A machine that is shut down stops worker and engine. What the next worker finds dead, nobody heard the end of.
func TestFind_jobEndedWhileNobodyListened(t *testing.T) {
	engine := dockertest.Own(t, "docker", "")
	dir := t.TempDir()
	r := openOn(t, dir, engine.Host())
	jobs := map[int]schemas.Reason{143: schemas.ReasonEngineUnreachable, 7: ""} // what the engine's SIGTERM makes them end with
	name := func(code int) string { return fmt.Sprintf("ends-%d.1", code) }
	for code := range jobs {
		out := runnertest.NewRecorder()
		script := fmt.Sprintf("trap 'exit %d' TERM; echo ready; while :; do sleep 0.1; done", code)
		if _, err := r.Start(patient(t), spec(name(code), shell(t, script, nil), out)); err != nil {
			t.Fatal(err)
		}
		out.Await(t, 1)
	}
	_ = r.abandon() // the worker is killed
	engine.Run(t, "stop")
	engine.Run(t, "up")
	r = openOn(t, dir, engine.Host())
	defer r.Close()
	for code, want := range jobs {
		e, err := r.Find(patient(t), runners.Sought{Name: name(code), Output: runnertest.NewRecorder()})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := waitFor(t, e); err != nil || res.ExitCode != code || res.Reason != want {
			t.Errorf("got exit code %d, reason %q, %v, want %d, reason %q", res.ExitCode, res.Reason, err, code, want)
		}
	}
}

// An engine that does not come back takes what it ran with it: nobody waits for ever.
func TestEngine_isGivenUp(t *testing.T) {
	engine := dockertest.Own(t, "docker", "")
	r := openOn(t, t.TempDir(), engine.Host())
	defer r.Close()
	r.engine.gone = time.Second
	e, err := r.Start(patient(t), spec("run.1", shell(t, "exec sleep 600", nil), nil))
	if err != nil {
		t.Fatal(err)
	}
	engine.Run(t, "kill")
	_, err = waitFor(t, e)
	if !errors.Is(err, runners.ErrGone) || runners.ReasonOf(err, "") != schemas.ReasonEngineUnreachable {
		t.Errorf("wait = %v, want ErrGone for engine_unreachable", err)
	}
	_, err = r.Start(patient(t), spec("run.2", shell(t, "true", nil), nil))
	if _, permanent := runners.IsPermanent(err); permanent || runners.ReasonOf(err, "") != schemas.ReasonEngineUnreachable {
		t.Errorf("start = %v, want engine_unreachable, and another try", err)
	}
	_, err = r.Find(patient(t), runners.Sought{Name: "run.3", Output: runnertest.NewRecorder()})
	if !errors.Is(err, runners.ErrGone) {
		t.Errorf("find = %v, want ErrGone", err)
	}
	engine.Run(t, "up") // or nothing can be cleaned up
}

// impatient makes a worker see soon that its engine hangs, and give it up soon after.
func impatient(e *engine) {
	e.test, e.gone = 500*time.Millisecond, 4*time.Second
}

// An engine that hangs, and closes no connection, is as one that is away: waited for, then given up, and so is the stopping of a run.
func TestEngine_thatHangsIsWaitedForAndGivenUp(t *testing.T) {
	engine := dockertest.Own(t, "docker", "")
	r := openTuned(t, t.TempDir(), engine.Host(), impatient)
	defer r.Close()
	out := runnertest.NewRecorder()
	e, err := r.Start(patient(t), spec("run.1", shell(t, "echo 1; sleep 1; echo 2; exit 7", nil), out))
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	engine.Signal(t, syscall.SIGSTOP)
	t.Cleanup(func() { engine.Signal(t, syscall.SIGCONT) }) // or it cannot be stopped
	for deadline := time.Now().Add(runnertest.Patience); r.engine.away() < time.Second; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody has seen that the engine hangs")
		}
	}
	engine.Signal(t, syscall.SIGCONT)
	if res, err := waitFor(t, e); err != nil || res.ExitCode != 7 || res.Reason != "" {
		t.Errorf("the engine hung for a while: got exit code %d, reason %q, %v, want 7", res.ExitCode, res.Reason, err)
	}
	if diff := cmp.Diff([]string{"1", "2"}, out.Lines("")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}

	e, err = r.Start(patient(t), spec("run.2", shell(t, "exec sleep 600", nil), nil))
	if err != nil {
		t.Fatal(err)
	}
	engine.Signal(t, syscall.SIGSTOP)
	if err := e.Stop(patient(t), time.Minute); !errors.Is(err, runners.ErrGone) {
		t.Errorf("stop = %v, want ErrGone", err)
	}
	if _, err = waitFor(t, e); !errors.Is(err, runners.ErrGone) || runners.ReasonOf(err, "") != schemas.ReasonEngineUnreachable {
		t.Errorf("wait = %v, want ErrGone for engine_unreachable", err)
	}
}

// A job has ended, its engine has said how, and hangs for good before it has shown all of the log and the result.
func TestEngine_isGivenUpWithTheLogOfAJobThatHasEnded(t *testing.T) {
	shared.Up(t)
	p := &proxy{hold: "/logs", held: make(chan struct{}, 10), release: make(chan struct{}), hung: make(chan struct{})}
	p.serve(t, shared.Host())
	r := openTuned(t, t.TempDir(), p.host, impatient)
	defer func() { _ = r.abandon() }()
	out := runnertest.NewRecorder()
	e, err := r.Start(patient(t), spec("run.1", shell(t, "echo 1; exit 0", nil), out))
	if err != nil {
		t.Fatal(err)
	}
	<-p.held
	<-e.(*execution).died
	close(p.hung)
	res, err := waitFor(t, e)
	close(p.release)
	if err != nil || res.ExitCode != 0 || res.Reason != schemas.ReasonResultInvalid {
		t.Errorf("got exit code %d, reason %q, %v, want 0, and that the result could not be read", res.ExitCode, res.Reason, err)
	}
	if lines := out.Lines(""); len(lines) != 1 || !strings.HasPrefix(lines[0], "weir: output may be missing") {
		t.Errorf("got output %q, want a line that says that it is missing", lines)
	}
}

// A run that comes while the engine is away is started when it is back, and a worker that starts meanwhile waits.
func TestEngine_isWaitedFor(t *testing.T) {
	engine := dockertest.Own(t, "docker", "")
	r := openOn(t, t.TempDir(), engine.Host())
	defer r.Close()
	engine.Run(t, "kill")
	type started struct {
		runners.Execution
		err error
	}
	job := shell(t, "exit 3", nil)
	came := make(chan started, 1)
	go func() {
		e, err := r.Start(context.Background(), spec("run.1", job, nil))
		came <- started{e, err}
	}()
	late := make(chan error, 1)
	go func() {
		k, err := dial([]client.Opt{client.WithHost(engine.Host())}, slog.New(slog.DiscardHandler))
		if err == nil {
			var second *runner
			if second, err = newRunner(context.Background(), k, r.config); err == nil {
				err = second.Close()
			}
		}
		late <- err
	}()
	select {
	case s := <-came:
		t.Fatalf("start returned %v while the engine was away", s.err)
	case err := <-late:
		t.Fatalf("a new worker was ready (%v) while the engine was away", err)
	case <-time.After(time.Second):
	}
	engine.Run(t, "up")
	s := <-came
	if s.err != nil {
		t.Fatal(s.err)
	}
	if res, err := waitFor(t, s); err != nil || res.ExitCode != 3 {
		t.Errorf("got exit code %d, %v, want 3", res.ExitCode, err)
	}
	if err := <-late; err != nil {
		t.Error(err)
	}
}
