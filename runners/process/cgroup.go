package process

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroups limits jobs by cgroup v2, where the supervisor's own group is one it may divide (systemd: Delegate=yes). Elsewhere
// jobs run without limits, which is said once.
type cgroups struct {
	parent string // folder in which jobs' groups are made
	err    error  // why there are none
	log    *slog.Logger
	warned bool
	next   int
}

// cgroup is one job's group. nil is a job without one.
type cgroup struct {
	path string
	fd   int
}

// newCgroups also ends what the jobs of an earlier supervisor have left in their groups.
func newCgroups(mark string, log *slog.Logger) *cgroups {
	c := &cgroups{log: log}
	_, id, _ := strings.Cut(mark, "=")
	own, err := ownCgroup()
	if err != nil {
		c.err = err
		return c
	}
	c.parent = filepath.Join(own, "weir-"+strings.TrimSuffix(id, "."))
	c.sweep()
	return c
}

func (c *cgroups) sweep() {
	groups, err := os.ReadDir(c.parent)
	if err != nil {
		return // there was none
	}
	for _, e := range groups {
		if e.IsDir() {
			g := &cgroup{path: filepath.Join(c.parent, e.Name()), fd: -1}
			g.kill()
			g.remove()
		}
	}
}

// ownCgroup is the folder of the cgroup v2 group that this process is in.
func ownCgroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(b) {
		if path, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("0::")); ok {
			dir := filepath.Join("/sys/fs/cgroup", string(path))
			if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err != nil {
				return "", fmt.Errorf("no cgroup v2 at %s", dir)
			}
			return dir, nil
		}
	}
	return "", fmt.Errorf("this process is in no cgroup v2 group")
}

// make makes a group for a job that asks for limits; nil when it does not, or when there can be none.
func (c *cgroups) make(l *launch) *cgroup {
	if l.cpu == 0 && l.memory == 0 {
		return nil
	}
	err := c.err
	if err == nil {
		var g *cgroup
		if g, err = c.limited(l); err == nil {
			return g
		}
	}
	if !c.warned {
		c.warned = true
		c.log.Warn("cpu and memory of jobs are not limited: there is no cgroup v2 group to divide (systemd: Delegate=yes)", "err", err)
	}
	return nil
}

func (c *cgroups) limited(l *launch) (*cgroup, error) {
	if c.next == 0 {
		if err := os.Mkdir(c.parent, 0o755); err != nil && !os.IsExist(err) {
			return nil, err
		}
		for _, dir := range []string{filepath.Dir(c.parent), c.parent} {
			// Refused where the group has processes of its own or the controller is not given to us: seen below, when
			// the limit cannot be written.
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu +memory"), 0)
		}
	}
	c.next++
	g := &cgroup{path: filepath.Join(c.parent, strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(c.next)), fd: -1}
	if err := os.Mkdir(g.path, 0o755); err != nil {
		return nil, err
	}
	err := g.limit(l)
	if err == nil {
		g.fd, err = unix.Open(g.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		g.remove()
		return nil, err
	}
	return g, nil
}

// cpuPeriod is the kernel's default scheduling period in microseconds.
const cpuPeriod = 100_000

func (g *cgroup) limit(l *launch) error {
	if l.cpu > 0 {
		quota := max(l.cpu*cpuPeriod/1024, 1000)
		if err := g.write("cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod)); err != nil {
			return err
		}
	}
	if l.memory > 0 {
		if err := g.write("memory.max", strconv.FormatInt(l.memory<<20, 10)); err != nil {
			return err
		}
		_ = g.write("memory.swap.max", "0")    // absent where swap is not accounted
		_ = g.write("memory.oom.group", "1\n") // one killed, all killed
	}
	return nil
}

func (g *cgroup) write(file, text string) error {
	f, err := os.OpenFile(filepath.Join(g.path, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// kill kills every process in the group.
func (g *cgroup) kill() {
	if g != nil {
		_ = g.write("cgroup.kill", "1") // since Linux 5.14
	}
}

// gone tells whether the group has no process, and else kills those it has. Nothing leaves it by clearing its environment.
func (g *cgroup) gone() bool {
	if g == nil {
		return true
	}
	events, err := os.ReadFile(filepath.Join(g.path, "cgroup.events"))
	if err != nil || bytes.Contains(events, []byte("populated 0")) {
		return true
	}
	g.kill()
	return false
}

// oom tells whether the kernel killed a process of the group for its memory.
func (g *cgroup) oom() bool {
	if g == nil {
		return false
	}
	f, err := os.Open(filepath.Join(g.path, "memory.events"))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			return n != "0"
		}
	}
	return false
}

func (g *cgroup) remove() {
	if g == nil {
		return
	}
	if g.fd >= 0 {
		unix.Close(g.fd)
	}
	_ = os.Remove(g.path)
}
