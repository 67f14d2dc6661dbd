//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weir-run/weir/bench/torture/overlay"
)

// A program is one of the processes that are tortured: it can be killed, frozen and started again, with the same arguments.
// One fault at a time has it: see [nemesis].
type program struct {
	name  string
	path  string
	args  []string
	dir   string // its own folder, with its log
	clock *clock

	mu   sync.Mutex
	cmd  *exec.Cmd     // nil: it was never started; under mu
	done chan struct{} // closed when the process has ended; under mu
	ends []string      // last words of the processes that ended without having been told to; under mu
	told bool          // it was told to end; under mu
}

func newProgram(dir, name, path string, args ...string) (*program, error) {
	p := &program{name: name, path: path, args: args, dir: filepath.Join(dir, name)}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	p.clock, err = newClock(filepath.Join(p.dir, "clock"))
	return p, err
}

// start starts the program unless it runs.
func (p *program) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		select {
		case <-p.done:
		default:
			return nil
		}
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.Env = append(os.Environ(), overlay.ClockVariable+"="+p.clock.file, "NO_COLOR=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done, p.told = cmd, done, false
	go func() {
		_ = cmd.Wait()
		p.mu.Lock()
		if !p.told {
			p.ends = append(p.ends, lastLine(filepath.Join(p.dir, "log")))
		}
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

// signal sends s if the program runs. ends tells that it is meant to end.
func (p *program) signal(s syscall.Signal, ends bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	p.told = p.told || ends
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(s) // may have ended
	}
}

func (p *program) freeze() { p.signal(syscall.SIGSTOP, false) }
func (p *program) thaw()   { p.signal(syscall.SIGCONT, false) }

// kill ends the program at once and waits until it is gone.
func (p *program) kill() {
	p.signal(syscall.SIGKILL, true)
	p.wait(time.Minute)
}

// wait waits until the program has ended, for limit at most, and tells whether it has.
func (p *program) wait(limit time.Duration) bool {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done == nil {
		return true
	}
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// stop ends the program politely within limit, else by force. It tells whether the polite way was enough.
func (p *program) stop(limit time.Duration) bool {
	p.signal(syscall.SIGTERM, true)
	if p.wait(limit) {
		return true
	}
	p.kill()
	return false
}

// surprises are the last words of the program each time it ended by itself.
func (p *program) surprises() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ends
}

// lastLine is a file's last line.
func lastLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	text := strings.TrimSpace(string(b))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// processes are the machine's processes whose command line match likes.
func processes(match func(args []string) bool) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && match(strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// variable is the value of an environment variable in the environment of a process, as /proc has it.
func variable(environ []byte, name string) string {
	for v := range strings.SplitSeq(string(environ), "\x00") {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}
