package process

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
)

// unprivileged tells whether a test that root's rights would make easy may go on here. As root it runs the test in a process of
// another user, and takes over how that went.
func unprivileged(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return true
	}
	const nobody = 65534
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chown(d, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as another user: %v\n%s", err, out)
	}
	return false
}

// leaveHider is a script that leaves a process which has left its group and hides its environment. The supervisor's program, which is
// this one, plays it.
func leaveHider(word string) string {
	return "mkfifo ready; (setsid /proc/$PPID/exe hider " + word + " >ready 2>/dev/null &); read x <ready"
}

func TestMarkOf_tellsThatAnEnvironmentIsHidden(t *testing.T) {
	t.Parallel()
	if !unprivileged(t) {
		return
	}
	hider := exec.Command("/proc/self/exe", "hider", "x")
	hider.Env = []string{"MARK=job"}
	out, err := hider.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hider.Start(); err != nil {
		t.Fatal(err)
	}
	defer hider.Wait()
	defer hider.Process.Kill()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if name, readable := markOf(hider.Process.Pid, "MARK="); name != "" || readable {
		t.Errorf("mark of a process that hides it: got %q, readable %v", name, readable)
	}
	if name, readable := markOf(os.Getpid(), "TMPDIR="); name == "" || !readable {
		t.Errorf("mark of this process: got %q, readable %v", name, readable)
	}
}

func TestKept_whileItMayBelongToAJobThatRuns(t *testing.T) {
	t.Parallel()
	o := &orphans{jobs: map[string]*job{
		"runs": {begun: 500 * tick}, "has exited": {begun: 100 * tick, exited: true}, "is over": {begun: 100 * tick, exited: true, ended: true},
	}}
	for _, c := range []struct {
		what string
		p    origin
		want bool
	}{
		{"a running job's", origin{job: "runs", start: 600}, true},
		{"that of one that has exited", origin{job: "has exited", start: 600}, false},
		{"that of one that is over", origin{job: "is over", start: 600}, false},
		{"that of one that is forgotten", origin{job: "forgotten", start: 600}, false},
		{"anybody's, younger than a running job", origin{start: 501}, true},
		{"anybody's, of the same age", origin{start: 500}, true},
		{"anybody's, older than the running job", origin{start: 498}, false},
		{"anybody's, of an age that is hidden", origin{}, true},
	} {
		if got := o.kept(&c.p); got != c.want {
			t.Errorf("a process that is %s: kept %v, want %v", c.what, got, c.want)
		}
	}
	o.jobs["is being forked"] = &job{}
	if !o.kept(&origin{start: 400}) {
		t.Error("a process that a job may have started which is just being forked is not kept")
	}
}

// leave is a script that starts a process which has left its group and has no environment. with goes before it.
func leave(with, word string) string {
	return "mkfifo ready; (setsid " + with + " env -i /bin/sh -c 'echo up; exec sleep " + word + "' >ready 2>/dev/null &); read x <ready"
}

// newWord is an argument by which a test finds its processes; those that are left are killed when it is over.
func newWord(t *testing.T) string {
	word := fmt.Sprintf("31536000.%d", time.Now().UnixNano())
	t.Cleanup(func() {
		for _, pid := range running(t, word) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return word
}

func TestEnd_isNotHeldUpByProcessesThatHideTheirEnvironment(t *testing.T) {
	t.Parallel()
	if !unprivileged(t) {
		return
	}
	r := open(t, t.TempDir(), "")
	other := startBlocked(t, r, "other")
	word := newWord(t)
	for _, job := range []struct{ name, script string }{{"leaves", leaveHider(word)}, {"next", "exit 0"}} {
		begun := time.Now()
		res := run(t, r, spec(job.name, shell(job.script), nowhere{}))
		if took := time.Since(begun); res.ExitCode != 0 || res.Message != "" || took > goneWithin/2 {
			t.Errorf("%s: got code %d, message %q after %s, want code 0, none, at once", job.name, res.ExitCode, res.Message, took)
		}
	}
	other.release(t)
	if left := running(t, word); len(left) > 0 {
		t.Errorf("processes %v are left when no job is", left)
	}
}

// blocked is a job that ends when it is released.
type blocked struct {
	fifo string
	e    runners.Execution
}

func startBlocked(t *testing.T, r runners.Runner, name string) blocked {
	t.Helper()
	b := blocked{fifo: filepath.Join(t.TempDir(), "fifo")}
	if err := syscall.Mkfifo(b.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.e, err = r.Start(patient(t), spec(name, shell("read x < "+b.fifo), nowhere{})); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b blocked) release(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(b.fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.e.Wait(patient(t)); err != nil {
		t.Fatal(err)
	}
}

func TestEnd_takesAlongWhatHasNoEnvironment(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), "")
	for _, script := range []string{"", "nohup"} {
		word := newWord(t)
		if res := run(t, r, spec("job"+script, shell(leave(script, word)), nowhere{})); res.ExitCode != 0 || res.Message != "" {
			t.Errorf("got code %d, message %q", res.ExitCode, res.Message)
		}
		if left := running(t, word); len(left) > 0 {
			t.Errorf("processes %v outlive their job", left)
		}
	}
}

// One of several jobs that run ends; another of them might have started what it leaves.
func TestEnd_amongOtherJobs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script func(word string) string
		end    func(*testing.T, runners.Execution) // nil: by itself
		left   bool                                // until the other job has ended
	}{
		{name: "cleared", script: func(w string) string { return leave("", w) }, left: true},
		{name: "below one that is known", script: func(w string) string {
			return "mkfifo ready; (setsid sh -c \"setsid env -i /bin/sh -c 'echo up; exec sleep " + w + "'; :\" >ready 2>/dev/null &); read x <ready"
		}},
		{name: "in its group", script: func(w string) string {
			return "mkfifo ready; (env -i /bin/sh -c 'echo up; exec sleep " + w + "' >ready 2>/dev/null &); read x <ready"
		}},
		{name: "below its group", script: func(w string) string {
			return "mkfifo ready; (env -i /bin/sh -c \"setsid env -i /bin/sh -c 'echo up; exec sleep " + w + "'; :\" >ready 2>/dev/null &); read x <ready"
		}},
		{name: "stopped", script: func(w string) string {
			return "setsid env -i /bin/sh -c 'echo up; exec sleep " + w + "' & wait"
		}, end: func(t *testing.T, e runners.Execution) { stop(t, e, time.Hour) }},
		{name: "killed", script: func(w string) string {
			return "trap '' TERM; setsid env -i /bin/sh -c 'echo up; exec sleep " + w + "' & wait"
		}, end: func(t *testing.T, e runners.Execution) { stop(t, e, 0) }},
		{name: "lease lost", script: func(w string) string {
			return "setsid env -i /bin/sh -c 'echo up; exec sleep " + w + "' & wait"
		}, end: func(t *testing.T, e runners.Execution) { e.(runners.Leased).Lease(time.Now()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := open(t, t.TempDir(), "")
			other, word := startBlocked(t, r, "other"), newWord(t)
			out := runnertest.NewRecorder()
			e, err := r.Start(patient(t), spec("job", shell(c.script(word)), out))
			if err != nil {
				t.Fatal(err)
			}
			if c.end != nil {
				out.Await(t, 1)
				c.end(t, e)
			}
			if res, err := e.Wait(patient(t)); err != nil || res.Message != "" && c.name != "lease lost" {
				t.Errorf("wait = %+v, %v", res, err)
			}
			if left := running(t, word); (len(left) > 0) != c.left {
				t.Errorf("processes %v are left, want some: %v", left, c.left)
			}
			other.release(t)
			if left := running(t, word); len(left) > 0 {
				t.Errorf("processes %v are left when no job is", left)
			}
		})
	}
}

func stop(t *testing.T, e runners.Execution, grace time.Duration) {
	t.Helper()
	if err := e.Stop(patient(t), grace); err != nil {
		t.Fatal(err)
	}
}

func TestEnd_leavesTheProcessesOfOtherJobsAlone(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), "")
	word, out := newWord(t), runnertest.NewRecorder()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := r.Start(patient(t), spec("other", shell(leave("", word)+"; echo left; read x < "+fifo), out))
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	before := running(t, word) // its shell is one of them
	for i := range 3 {
		run(t, r, spec(fmt.Sprint("job", i), shell("(setsid sleep 1000 &); exit 0"), nowhere{}))
	}
	if now := running(t, word); !slices.Equal(now, before) {
		t.Errorf("of a job that runs there were processes %v, and are %v after other jobs have ended", before, now)
	}
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Wait(patient(t)); err != nil {
		t.Fatal(err)
	}
	if left := running(t, word); len(left) > 0 {
		t.Errorf("processes %v outlive their job", left)
	}
}

func TestEnd_findsWhatItLeftAmongManyOfAnotherJob(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), "")
	out := runnertest.NewRecorder()
	many := "(i=0; while [ $i -lt 900 ]; do sleep 1000 & i=$((i+1)); done); echo up; exec sleep 1000"
	e, err := r.Start(patient(t), spec("other", shell(many), out))
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	word := newWord(t)
	if res := run(t, r, spec("job", shell("setsid -f sleep "+word), nowhere{})); res.Message != "" {
		t.Errorf("got message %q", res.Message)
	}
	if left := running(t, word); len(left) > 0 {
		t.Errorf("processes %v outlive their job", left)
	}
	stop(t, e, 0)
}
