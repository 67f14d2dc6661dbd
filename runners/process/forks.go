package process

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxForkers is how many forks are under way at once. A fork returns when the child has become its program: on a busy machine
// one thread alone starts half as many jobs as eight (measured on 2 cores with 6 busy loops beside), and one that hangs in an
// exec from a file system that does not answer must not hold up the others.
const maxForkers = 8

// forks starts processes on threads of its own, which live as long as it does: the kernel ends a job when the thread that
// forked it ends (PR_SET_PDEATHSIG).
type forks struct {
	bell func() // tells the loop that births are waiting
	wg   sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond // waiting or closed has changed
	waiting []*birth
	born    []*birth
	threads int
	idle    int // threads that wait for work, less those that were called
	closed  bool
}

// birth is one fork: what is asked for, and what came of it. The forking thread leaves the job itself alone.
type birth struct {
	job    *job
	launch *launch
	folder string // the job's own
	group  *cgroup
	mark   string // the environment variable that marks the job
	null   int    // /dev/null

	pid     int // 0: it was not forked
	pidfd   int
	pipes   [2]int // read ends; -1: none
	begun   int64  // clock reading
	started int64  // Unix nanoseconds
	err     error
}

func newForks(bell func()) *forks {
	f := &forks{bell: bell}
	f.work.L = &f.mu
	return f
}

// start has b forked; [forks.take] gives it back.
func (f *forks) start(b *birth) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = append(f.waiting, b)
	switch {
	case f.idle > 0:
		f.idle--
		f.work.Signal()
	case f.threads < maxForkers:
		f.threads++
		f.wg.Go(func() { offMain(f.run) })
	}
}

// take returns the births since it was last called, and keeps the slice it is given for the next ones.
func (f *forks) take(reuse []*birth) []*birth {
	f.mu.Lock()
	defer f.mu.Unlock()
	born := f.born
	f.born = reuse[:0]
	return born
}

// run is one forking thread.
func (f *forks) run() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		for len(f.waiting) == 0 && !f.closed {
			f.idle++
			f.work.Wait()
		}
		if f.closed {
			return
		}
		b := f.waiting[0]
		f.waiting = append(f.waiting[:0], f.waiting[1:]...)
		f.mu.Unlock()
		b.err = b.fork()
		f.mu.Lock()
		f.born = append(f.born, b)
		if len(f.born) == 1 {
			f.bell()
		}
	}
}

// close ends the threads, and with them whatever they have forked.
func (f *forks) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.work.Broadcast()
	f.wg.Wait()
}

// offMain runs f on a locked thread that is not the process's first: orphans are adopted by the first, so that the jobs,
// children of others, are not listed among them.
func offMain(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			offMain(f)
			runtime.UnlockOSThread()
			return
		}
		f() // still locked: the thread ends here
	}()
	<-done
}

// fork starts the job's process in a process group of its own, in the supervisor's session, which has no terminal. A session
// of its own would come with a scheduling group (autogroup), and made a hundredth of what a no-op run costs.
func (b *birth) fork() (err error) {
	l := b.launch
	if l.lease != 0 && clock() >= l.lease {
		return fmt.Errorf("the lease ran out before the start: %w", unix.ETIME)
	}
	env, err := b.environ()
	if err != nil {
		return err
	}
	dir := l.dir
	if dir == "" {
		dir = b.folder
	}
	out := [2]int{b.null, b.null}
	if !l.discard {
		if err := b.openPipes(&out); err != nil {
			return err
		}
		defer func() {
			unix.Close(out[0])
			unix.Close(out[1])
		}()
	}
	sys := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &b.pidfd}
	if b.group != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, b.group.fd
	}
	b.begun, b.started = clock(), time.Now().UnixNano()
	b.pid, err = syscall.ForkExec(l.path, l.argv, &syscall.ProcAttr{
		Dir: dir, Env: env, Files: []uintptr{uintptr(b.null), uintptr(out[0]), uintptr(out[1])}, Sys: sys,
	})
	if err != nil {
		b.pid = 0
		return err
	}
	if b.pidfd < 0 { // a kernel before 5.2, or one that filters clone's flags
		if b.pidfd, err = unix.PidfdOpen(b.pid, 0); err != nil {
			_ = unix.Kill(-b.pid, unix.SIGKILL)
			_, _ = unix.Wait4(b.pid, nil, 0, nil)
			b.pid = 0
			return fmt.Errorf("watch the job's process: %w", err)
		}
	}
	return nil
}

// openPipes makes the pipes of both outputs: the write ends go to out.
func (b *birth) openPipes(out *[2]int) error {
	for i := range out {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			if i > 0 {
				unix.Close(out[0])
			}
			return fmt.Errorf("make a pipe for the output: %w", err)
		}
		_ = unix.SetNonblock(p[0], true)
		b.pipes[i], out[i] = p[0], p[1]
	}
	return nil
}

// environ adds what only the supervisor knows.
func (b *birth) environ() ([]string, error) {
	l := b.launch
	env := append(make([]string, 0, len(l.env)+4), l.env...)
	env = append(env, b.mark, "WEIR_RESULT_FILE="+b.folder+"/"+resultFile)
	if len(l.params) <= maxParameters {
		return append(env, "WEIR_PARAMETERS="+l.params), nil
	}
	path := filepath.Join(b.folder, "parameters.json")
	if err := os.WriteFile(path, []byte(l.params), 0o600); err != nil {
		return nil, fmt.Errorf("write the parameters' file: %w", err)
	}
	return append(env, "WEIR_PARAMETERS_FILE="+path), nil
}
