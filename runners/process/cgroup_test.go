package process

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newCgroup makes a group without limits, for which no controller is needed, where this machine lets the test make one.
func newCgroup(t *testing.T) *cgroup {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(mounts) {
		if f := bytes.Fields(line); len(f) > 2 && string(f[2]) == "cgroup2" {
			parent := filepath.Join(string(f[1]), "weir-"+t.Name())
			g := &cgroup{path: filepath.Join(parent, strconv.FormatInt(time.Now().UnixNano(), 36))}
			if os.MkdirAll(g.path, 0o755) != nil {
				continue
			}
			if g.fd, err = unix.Open(g.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				g.remove()
				os.Remove(parent)
			})
			return g
		}
	}
	t.Skip("no cgroup v2 group can be made here")
	return nil
}

// start starts a process in the group that nothing else tells whose it is.
func (g *cgroup) start(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: g.fd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

func TestGone_notWhileTheJobsCgroupHasAProcess(t *testing.T) {
	t.Parallel()
	g := newCgroup(t)
	left := g.start(t)
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	s := &supervisor{orphans: &orphans{fd: -1}}
	j := &job{name: "job", pid: ended.Process.Pid, exited: true, group: g}
	if s.gone(j) {
		t.Error("the job is gone, want that the process in its cgroup is waited for")
	}
	awaitEnd(t, left.Process.Pid)
	if err := left.Wait(); err == nil {
		t.Error("the process ended by itself, want it killed")
	}
	if !s.gone(j) {
		t.Error("the job is not gone, though nothing is left of it")
	}
}

func TestCgroups_sweepEndsWhatAnEarlierSupervisorsJobsLeft(t *testing.T) {
	t.Parallel()
	g := newCgroup(t)
	left := g.start(t)
	c := &cgroups{parent: filepath.Dir(g.path), log: slog.New(slog.DiscardHandler)}
	c.sweep()
	awaitEnd(t, left.Process.Pid)
	if err := left.Wait(); err == nil {
		t.Error("the process ended by itself, want it killed")
	}
}
