package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// orphans are the processes whose parents, jobs or their descendants, have ended: the supervisor is their subreaper, so they
// become its children. One that left its job's process group is known by its environment, and killed when the job has ended.
type orphans struct {
	fd   int  // /proc/…/children of the thread that adopts; -1: this kernel does not have it
	any  bool // some were alive at the last look
	next int64
	buf  [4096]byte

	between map[int]int64 // since which clock reading a process is [orphans.becoming]
}

// becomingFor is how long a process may be between two programs. That takes milliseconds, and on a machine under load more; one that
// is stuck there must not hold up every job that ends.
const becomingFor = time.Second

// adoptOrphans makes this process their subreaper. The jobs themselves must be forked by another thread than the first.
func adoptOrphans() orphans {
	pid := os.Getpid()
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil || unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != nil {
		return orphans{fd: -1} // they go to process 1; jobs are still ended by group
	}
	return orphans{fd: fd, between: map[int]int64{}}
}

// kill kills those whose environment has the variable mark, reaps those that have ended, and returns how many with mark are
// left. At most some 500 are looked at in one call; the rest come up as those go.
func (o *orphans) kill(mark string) (left int) {
	if o.fd < 0 {
		return 0
	}
	for {
		left, reaped := o.pass(mark)
		if !reaped {
			return left
		}
	}
}

// pass is one look. What a process leaves that ends during it becomes an orphan too, and is not in the list that was read: after one that
// reaped another is needed.
func (o *orphans) pass(mark string) (left int, reaped bool) {
	n, err := unix.Pread(o.fd, o.buf[:], 0)
	o.any = false
	if err != nil || n == 0 {
		return 0, false
	}
	for _, word := range bytes.Fields(o.buf[:n]) {
		pid, err := strconv.Atoi(string(word))
		if err != nil {
			continue
		}
		if got, _ := unix.Wait4(pid, nil, unix.WNOHANG, nil); got == pid {
			reaped = true
			delete(o.between, pid)
			continue
		}
		o.any = true
		switch {
		case mark == "":
		case hasVariable(pid, func(v []byte) bool { return string(v) == mark }):
			_ = unix.Kill(pid, unix.SIGKILL) // ours and not reaped: the number is its own
			left++
		case o.becoming(pid):
			left++ // looked at again, when it has an environment
		}
	}
	return left, reaped
}

// reap reaps those that have ended by themselves.
func (o *orphans) reap(now int64) {
	o.kill("")
	o.next = now + int64(time.Second)
}

// becoming tells whether a process is between two programs: it has given up the environment of the one and not got that of the
// other yet. Whose it is cannot be told in that moment. It is asked of orphans only, whose numbers are their own until they are reaped.
func (o *orphans) becoming(pid int) bool {
	if !betweenPrograms(pid) {
		delete(o.between, pid)
		return false
	}
	now := clock()
	if o.between[pid] == 0 {
		o.between[pid] = now
	}
	return now-o.between[pid] < int64(becomingFor)
}

// betweenPrograms tells it by the end of the environment, which the kernel sets last. A process that hides its environment, as
// ssh-agent and all that is setuid do, shows the same, and its environment cannot be opened.
func betweenPrograms(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	fd, err := unix.Open(dir+"/environ", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return false
	}
	const state, envEnd = 3, 51 // fields of proc(5), which counts from 1; the second is the name, in parentheses
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > envEnd-state && string(fields[0]) != "Z" && string(fields[envEnd-state]) == "0"
}

// hasVariable tells whether the environment that the process was started with has a variable (name=value) that match likes.
func hasVariable(pid int, match func([]byte) bool) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if match(v) {
			return true
		}
	}
	return false
}
