// Package dockertest starts real Docker engines for tests, on sockets of their own: what runs on the machine is neither used nor touched.
// They are made by engine.sh, which can be used by hand too.
package dockertest

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The images that an engine has.
const (
	Busybox = "weir-test/busybox:1" // busybox and nothing else
	Python  = "weir-test/python:1"  // the same with Debian's Python
)

//go:embed engine.sh
var engineScript string

// Engine is a real engine of the tests' own. A package that shares one among its tests ends it in TestMain.
type Engine struct {
	asked string
	mu    sync.Mutex
	dir   string // empty: it was not started; under mu
}

// New returns an engine for the tests that need that kind of infrastructure, docker for example. It is not started yet.
func New(kind string) *Engine { return &Engine{asked: kind} }

// Own starts an engine that the test may break, and ends it after the test. flags are dockerd's, beyond the usual ones.
func Own(t *testing.T, kind, flags string) *Engine {
	t.Helper()
	Need(t, kind)
	t.Setenv("DOCKERD_FLAGS", flags)
	e := New(kind)
	t.Cleanup(func() {
		if err := e.Down(); err != nil {
			t.Error(err)
		}
	})
	e.Up(t)
	return e
}

// Need skips the test unless WEIR_TEST asks for that kind of infrastructure. Asked for and absent is a failure.
func Need(t testing.TB, kind string) {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("WEIR_TEST"), ","), kind) {
		t.Skipf("needs a Docker engine: WEIR_TEST=%s make test-integration", kind)
	}
}

// script runs engine.sh.
func script(args ...string) error {
	out, err := exec.Command("bash", append([]string{"-c", engineScript, "engine.sh"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("engine.sh %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Up starts the engine with its images, once.
func (e *Engine) Up(t testing.TB) {
	t.Helper()
	Need(t, e.asked)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dir != "" {
		return
	}
	dir, err := os.MkdirTemp("", "weir-engine-") //nolint:usetesting // it may outlive the test that starts it, and is short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	e.dir = dir
	for _, verb := range []string{"up", "images"} {
		if err := script(verb, dir); err != nil {
			t.Fatal(err)
		}
	}
}

// Down ends the engine and all its containers, and removes its folder.
func (e *Engine) Down() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dir == "" {
		return nil
	}
	return script("down", e.dir)
}

// Run has engine.sh do one thing with the engine: kill, stop, up.
func (e *Engine) Run(t testing.TB, verb string) {
	t.Helper()
	if err := script(verb, e.dir); err != nil {
		t.Fatal(err)
	}
}

// Host is what DOCKER_HOST has to be to reach it.
func (e *Engine) Host() string { return "unix://" + filepath.Join(e.dir, "docker.sock") }

// Docker runs the docker CLI on the engine and returns what it says.
func (e *Engine) Docker(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.Host())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Signal sends dockerd a signal, SIGSTOP for example: it hangs, with its connections open.
func (e *Engine) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(e.dir, "dockerd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// Running tells whether a process that has word in its command line is running, in a container or not.
func Running(t testing.TB, word string) bool {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), word) {
			return true
		}
	}
	return false
}
