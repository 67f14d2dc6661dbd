package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

// shell is a job configuration that runs a script.
func shell(script string) string {
	b, _ := json.Marshal(map[string]any{"command": []string{"/bin/sh", "-c", script}})
	return string(b)
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), runnertest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// supervisorOf asks the supervisor of dir for its process ID.
func supervisorOf(t testing.TB, r runners.Runner) int {
	t.Helper()
	k := r.(*runner).link.Load()
	raw, err := k.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var cred *unix.Ucred
	if err := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return int(cred.Pid)
}

// awaitEnd waits until a process has ended.
func awaitEnd(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(runnertest.Patience); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 {
			t.Fatalf("process %d has not ended: %v", pid, err)
		}
		return
	}
}

func TestWorker_killedFindsItsJobRunning(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	worker, lines := startWorker(t, dir, shell("echo one; echo two; read x < "+fifo+"; echo three; exit 7"), time.Hour)
	for _, want := range []string{"one", "two"} {
		if got, _ := lines.line(); got != want {
			t.Fatalf("worker tells %q, want %q", got, want)
		}
	}
	r := open(t, t.TempDir(), "") // gives the worker's acknowledgement the time of a supervisor's start
	run(t, r, spec("other", shell("exit 0"), nowhere{}))
	worker.Process.Signal(syscall.SIGKILL)
	worker.Wait()

	out := runnertest.NewRecorder()
	e, err := open(t, dir, "").Find(patient(t), runners.Sought{Name: "job", Output: out})
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	res, err := e.Wait(patient(t))
	if err != nil || res.ExitCode != 7 {
		t.Errorf("wait = code %d, %v, want 7", res.ExitCode, err)
	}
	if diff := cmp.Diff([]string{"three"}, out.Lines("")); diff != "" {
		t.Errorf("lines of the second worker (-want +got):\n%s", diff)
	}
}

func TestWorker_frozenLosesItsJobWhenTheLeaseEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	worker, lines := startWorker(t, dir, shell("trap '' TERM; sleep 1000 & echo $$; wait"), 2*time.Second)
	first, ok := lines.line()
	if !ok {
		t.Fatal("the worker's job did not start")
	}
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	worker.Process.Signal(syscall.SIGSTOP)
	awaitEnd(t, pid)
	e, err := open(t, dir, "").Find(patient(t), runners.Sought{Name: "job", Output: nowhere{}})
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	if res, err := e.Wait(patient(t)); err != nil || res.Reason != schemas.ReasonLeaseLost {
		t.Errorf("wait = reason %q, %v, want lease_lost", res.Reason, err)
	}
}

func TestSupervisor_killedTakesItsJobsAlong(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), "")
	out := runnertest.NewRecorder()
	word := fmt.Sprintf("31536000.%d", time.Now().UnixNano())
	e, err := r.Start(patient(t), spec("job", shell("sleep "+word+" & (setsid sleep "+word+" &); echo ready; wait"), out))
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	syscall.Kill(supervisorOf(t, r), syscall.SIGKILL)
	if _, err := e.Wait(patient(t)); !errors.Is(err, runners.ErrGone) {
		t.Errorf("wait = %v, want ErrGone", err)
	}
	if got := running(t, word); len(got) > 0 {
		t.Errorf("processes %v of the job are running though it is gone", got)
	}
	if _, err := r.Find(patient(t), runners.Sought{Name: "job", Output: nowhere{}}); !errors.Is(err, runners.ErrGone) {
		t.Errorf("find = %v, want ErrGone", err)
	}
	if res := run(t, r, spec("next", shell("exit 4"), nowhere{})); res.ExitCode != 4 {
		t.Errorf("the next supervisor's job: got code %d, want 4", res.ExitCode)
	}
}

func TestSupervisor_killedWithItsWorkerLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	word := fmt.Sprintf("31536000.%d", time.Now().UnixNano())
	worker, lines := startWorker(t, dir, shell("sleep "+word+" & (setsid sleep "+word+" &); echo $PPID; wait"), time.Hour)
	first, ok := lines.line()
	if !ok {
		t.Fatal("the worker's job did not start")
	}
	supervisor, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	worker.Process.Signal(syscall.SIGKILL)
	worker.Wait()
	syscall.Kill(supervisor, syscall.SIGKILL)
	awaitEnd(t, supervisor)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) { // nobody's child any more: there is no event to wait for
		left := running(t, word)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes %v of the job outlive it, its supervisor and its worker", left)
		}
	}
	if _, err := open(t, dir, "").Find(patient(t), runners.Sought{Name: "job", Output: nowhere{}}); !errors.Is(err, runners.ErrGone) {
		t.Errorf("find = %v, want ErrGone", err)
	}
}

func TestSupervisor_restartKeepsHowJobsEnded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, "")
	const n = 30
	for i := range n {
		s := spec(fmt.Sprint("job-", i), shell(fmt.Sprintf("echo line %d; printf %d > $WEIR_RESULT_FILE; exit %d", i, i, i%2)), nowhere{})
		run(t, r, s)
		if i%3 == 0 {
			r.(runners.Forgetter).Forget(s.Name)
		}
	}
	if _, err := r.Find(patient(t), runners.Sought{Name: "never", Output: nowhere{}}); !errors.Is(err, runners.ErrGone) { // what was sent before is served
		t.Fatal(err)
	}
	pid := supervisorOf(t, r)
	syscall.Kill(pid, syscall.SIGKILL)
	awaitEnd(t, pid)
	again := open(t, dir, "")
	for i := range n {
		e, err := again.Find(patient(t), runners.Sought{Name: fmt.Sprint("job-", i), Output: nowhere{}})
		if i%3 == 0 {
			if !errors.Is(err, runners.ErrGone) {
				t.Errorf("find forgotten job %d = %v, want ErrGone", i, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("find job %d: %v", i, err)
		}
		res, err := e.Wait(patient(t))
		if err != nil || res.ExitCode != i%2 || string(res.Value) != fmt.Sprint(i) {
			t.Errorf("job %d: got code %d, value %s, %v", i, res.ExitCode, res.Value, err)
		}
	}
}

func TestSupervisor_restartKeepsOutputNobodyTook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, "")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	out := runnertest.NewRecorder()
	if _, err := r.Start(patient(t), spec("job", shell("echo taken; read x < "+fifo+"; echo kept; echo kept too >&2"), out)); err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	if _, err := r.Find(patient(t), runners.Sought{Name: "never", Output: nowhere{}}); !errors.Is(err, runners.ErrGone) {
		t.Fatal(err)
	}
	pid := supervisorOf(t, r)
	abandon(r)
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	awaitJournal(t, dir)
	syscall.Kill(pid, syscall.SIGKILL)
	awaitEnd(t, pid)
	rest := runnertest.NewRecorder()
	e, err := open(t, dir, "").Find(patient(t), runners.Sought{Name: "job", Output: rest})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := e.Wait(patient(t)); err != nil || res.ExitCode != 0 {
		t.Errorf("wait = %+v, %v", res, err)
	}
	got := rest.Lines("")
	if len(got) > 0 && got[0] == "taken" { // the worker died before it said that it had it: whoever stores it knows it by its position
		got = got[1:]
	}
	if len(got) != 2 || !strings.HasPrefix(got[0], "kept") || !strings.HasPrefix(got[1], "kept") {
		t.Errorf("got output %q, want the two kept lines", got)
	}
}

func TestSupervisor_endsWhenItsWorkerCloses(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), "")
	run(t, r, spec("job", shell("exit 0"), nowhere{}))
	pid := supervisorOf(t, r)
	r.Close()
	awaitEnd(t, pid)
}

func TestClose_leavesJobsRunning(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, "")
	out := runnertest.NewRecorder()
	first, err := r.Start(patient(t), spec("job", shell("trap 'exit 3' TERM; echo up; while :; do sleep 100 & wait; done"), out))
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	r.Close()
	second, err := open(t, dir, "").Find(patient(t), runners.Sought{Name: "job", Output: nowhere{}})
	if err != nil || second.ID() != first.ID() {
		t.Fatalf("find after close = %v, want the same execution", err)
	}
	if err := second.Stop(patient(t), runnertest.Patience); err != nil {
		t.Fatal(err)
	}
	if res, err := second.Wait(patient(t)); err != nil || res.ExitCode != 3 {
		t.Errorf("wait = code %d, %v, want 3", res.ExitCode, err)
	}
}

func TestWorker_successorTakesOverWhatItAsksFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := open(t, dir, "")
	stays, err := old.Start(patient(t), spec("stays", shell("sleep 1; exit 4"), nowhere{}))
	if err != nil {
		t.Fatal(err)
	}
	goes, err := old.Start(patient(t), spec("goes", shell("exec sleep 1000"), nowhere{}))
	if err != nil {
		t.Fatal(err)
	}
	taken, err := open(t, dir, "").Find(patient(t), runners.Sought{Name: "goes", Output: nowhere{}})
	if err != nil || taken.ID() != goes.ID() {
		t.Fatalf("find = %v, want the same execution", err)
	}
	if _, err := goes.Wait(patient(t)); !errors.Is(err, errMoved) || errors.Is(err, runners.ErrGone) {
		t.Errorf("wait of the worker before = %v, want errMoved", err)
	}
	if err := goes.Stop(patient(t), 0); !errors.Is(err, errMoved) {
		t.Errorf("stop by the worker before = %v, want errMoved", err)
	}
	if res, err := stays.Wait(patient(t)); err != nil || res.ExitCode != 4 {
		t.Errorf("wait for what was not taken = code %d, %v, want 4", res.ExitCode, err)
	}
	ctx, cancel := context.WithTimeout(patient(t), 50*time.Millisecond)
	defer cancel()
	if _, err := taken.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait = %v, want that the job runs on", err)
	}
	if err := taken.Stop(patient(t), 0); err != nil {
		t.Error(err)
	}
}

func TestConnect_longFolderNames(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if res := run(t, open(t, dir, ""), spec("job", shell("exit 6"), nowhere{})); res.ExitCode != 6 {
		t.Errorf("got code %d, want 6", res.ExitCode)
	}
}

func TestSupervise_secondOneLeaves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir, "")
	run(t, r, spec("job", shell("exit 0"), nowhere{}))
	if err := Supervise(patient(t), dir); err != nil {
		t.Errorf("second supervisor of a folder = %v, want nil", err)
	}
}

// awaitJournal waits until an ending is on disk.
func awaitJournal(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(runnertest.Patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if info, err := os.Stat(filepath.Join(dir, "endings")); err == nil && info.Size() > 0 {
			return
		}
	}
	t.Fatal("no ending on disk")
}
