package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
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

func TestEnd_isNotHeldUpByProcessesThatHideTheirEnvironment(t *testing.T) {
	t.Parallel()
	if !unprivileged(t) {
		return
	}
	r := open(t, t.TempDir(), "")
	word := fmt.Sprintf("hider.%d", time.Now().UnixNano())
	t.Cleanup(func() {
		for _, pid := range running(t, word) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	for _, job := range []struct{ name, script string }{{"leaves", leaveHider(word)}, {"next", "exit 0"}} {
		begun := time.Now()
		res := run(t, r, spec(job.name, shell(job.script), nowhere{}))
		if took := time.Since(begun); res.ExitCode != 0 || res.Message != "" || took > goneWithin/2 {
			t.Errorf("%s: got code %d, message %q after %s, want code 0, none, at once", job.name, res.ExitCode, res.Message, took)
		}
	}
}
