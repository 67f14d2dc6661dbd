package process

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// orphans are the processes whose parents, jobs or their descendants, have ended: the supervisor is their subreaper, so they
// become its children. One that left its job's process group is killed when that job has ended. Whose it is, [origin] tells.
type orphans struct {
	fd     int // /proc/…/children of the thread that adopts; -1: this kernel does not have it
	jobs   map[string]*job
	marker string // what the environment of every job begins with; the job's name follows
	log    *slog.Logger

	any   bool // some were alive at the last look
	next  int64
	buf   []byte          // reused by list
	known map[int]*origin // of orphans, and of descendants that were traced
}

// becomingFor is how long a process may be between two programs. That takes milliseconds, and on a machine under load more; one that
// is stuck there must not hold up every job that ends.
const becomingFor = time.Second

// adoptOrphans makes this process their subreaper. The jobs themselves must be forked by another thread than the first.
func adoptOrphans(jobs map[string]*job, marker string, log *slog.Logger) *orphans {
	o := &orphans{jobs: jobs, marker: marker, log: log, known: map[int]*origin{}}
	pid := os.Getpid()
	var err error
	o.fd, err = unix.Open(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil || unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != nil {
		o.fd = -1 // they go to process 1; jobs are still ended by group
	}
	return o
}

// end kills those that no job is left for, reaps those that have ended, and returns how many are left that j, which has ended, must
// wait for.
func (o *orphans) end(j *job) (left int) {
	if o.fd < 0 {
		return 0
	}
	for {
		left, reaped := o.pass(j)
		if !reaped {
			return left
		}
	}
}

// pass is one look. What a process leaves that ends during it becomes an orphan too, and is not in the list that was read: after one that
// reaped another is needed.
func (o *orphans) pass(j *job) (left int, reaped bool) {
	o.any = false
	for word := range bytes.FieldsSeq(o.list()) {
		pid, err := strconv.Atoi(string(word))
		if err != nil {
			continue
		}
		if got, _ := unix.Wait4(pid, nil, unix.WNOHANG, nil); got == pid {
			reaped = true
			delete(o.known, pid)
			continue
		}
		o.any = true
		p := o.look(pid)
		switch {
		case o.kept(p):
			if p.between != 0 && clock()-p.between < int64(becomingFor) {
				left++ // looked at again, when it has an environment
			}
		case o.kill(pid, p, j):
			left++
		}
	}
	return left, reaped
}

// list reads the numbers of all orphans: a read gives a page of them at most.
func (o *orphans) list() []byte {
	const page = 4096
	for b := o.buf[:0]; ; {
		b = slices.Grow(b, page)
		n, err := unix.Pread(o.fd, b[len(b):cap(b)], int64(len(b)))
		if err != nil || n == 0 {
			o.buf = b
			return b
		}
		b = b[:len(b)+n]
	}
}

// kill kills one that no job is left for, and tells whether j must wait until it has ended. One whose job is not known counts as that of the
// job at whose end it was found to be nobody else's, so that it is waited for once.
func (o *orphans) kill(pid int, p *origin, j *job) bool {
	if p.job == "" && j != nil {
		p.job = j.name
	}
	o.trace(pid, p.job)
	// Ours and not reaped: the number is its own.
	if err := unix.Kill(pid, unix.SIGKILL); errors.Is(err, unix.EPERM) {
		if !p.spared {
			p.spared = true
			o.log.Warn("a process that a job has left belongs to another user and lives on", "pid", pid, "execution", p.job)
		}
		return false
	}
	return j != nil && p.job == j.name
}

// reap reaps those that have ended by themselves.
func (o *orphans) reap(now int64) {
	o.end(nil)
	o.next = now + int64(time.Second)
}

// forget drops what was traced from a job that is over and has not become an orphan.
func (o *orphans) forget(name string) {
	for pid, p := range o.known {
		if p.job == name && !p.adopted {
			delete(o.known, pid)
		}
	}
}
