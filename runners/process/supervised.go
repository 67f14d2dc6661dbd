package process

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// job is one execution as its supervisor has it. All of it belongs to the supervisor's loop.
type job struct {
	name   string
	number int64  // names its spool file
	peer   *peer  // the worker that holds it; nil: none does
	tag    uint64 // that worker's number for it

	pid    int    // 0 while it is being forked
	pidfd  int    // -1 once reaped
	pipes  [2]int // read ends; -1: closed
	lines  [2]splitter
	begun  int64 // clock reading of the start
	folder folder
	group  *cgroup

	spool  *spool
	sent   int64 // bytes of records given to the worker's connection
	behind bool  // it is in its worker's list of those that wait for room
	told   bool  // the ending was given to that connection

	lease  int64 // clock reading past which it is killed; 0: never
	kill   int64 // clock reading at which a stop's grace ends; 0: none runs
	retry  int64 // clock reading at which to look again whether all of its group is gone
	tries  int
	lost   bool // killed for its lease
	exited bool // the process itself has ended; what it started may not have
	ended  bool // all of it is gone
	forgot bool // to be forgotten once it has ended
	end    ending
	kept   int // bytes of its ending in the journal
}

const (
	// goneWithin bounds the wait for a killed group: a process in an uninterruptible system call cannot be waited for.
	goneWithin = 5 * time.Second
	// drainAtMost is how much output is read after the end: as much as the largest pipe holds.
	drainAtMost = 1 << 20
	// maxParameters is the largest WEIR_PARAMETERS; Linux takes at most 128 KiB in one variable.
	maxParameters = 100 << 10
)

// start has a job forked, or attaches to the one that has its name.
func (s *supervisor) start(p *peer, tag uint64, l *launch) {
	if j := s.jobs[l.name]; j != nil {
		s.attach(j, p, tag)
		return
	}
	s.number++
	j := &job{
		name: l.name, number: s.number, peer: p, tag: tag, pidfd: -1, pipes: [2]int{-1, -1}, lease: l.lease,
		spool: &spool{path: spoolPath(s.dir, s.number)},
	}
	for i := range j.lines {
		j.lines[i] = splitter{stream: byte(i), max: runners.MaxLine}
	}
	s.jobs[j.name] = j
	s.live++
	b := &birth{job: j, launch: l, mark: s.marker + l.name, null: s.null, pidfd: -1, pipes: j.pipes}
	if j.folder, b.err = s.folders.take(); b.err != nil {
		s.born(b)
		return
	}
	j.group = s.cgroups.make(l)
	b.folder, b.group = j.folder.path, j.group
	s.forking++
	s.forks.start(b)
}

// births takes what the forking threads have brought.
func (s *supervisor) births() {
	born := s.forks.take(s.newborn)
	for i, b := range born {
		s.forking--
		s.born(b)
		born[i] = nil
	}
	s.newborn = born
}

// born makes a forked job part of the loop, or says that it could not be started.
func (s *supervisor) born(b *birth) {
	j := b.job
	j.pid, j.pidfd, j.pipes, j.begun = b.pid, b.pidfd, b.pipes, b.begun
	j.end.pid, j.end.started = b.pid, b.started
	if b.err != nil {
		s.live--
		delete(s.jobs, j.name)
		s.discard(j)
		if p := j.peer; p != nil {
			errno, _ := errors.AsType[syscall.Errno](b.err)
			out, mark := openFrame(p.out, kindRefused, j.tag)
			p.out = closeFrame(appendText(appendInt(out, int64(errno)), b.err.Error()), mark)
		}
		return
	}
	s.soon(j.lease)
	s.soon(j.kill)
	if j.pipes[0] >= 0 {
		s.young = append(s.young, j)
	}
	if p := j.peer; p != nil {
		p.out = appendFrame(p.out, kindStarted, j.tag, int64(j.pid), j.end.started)
	}
	if err := s.poll.add(j.pidfd, unix.EPOLLIN, source{job: j, stream: -1}); err != nil {
		s.log.Error("job cannot be watched", "execution", j.name, "err", err)
		j.signal(unix.SIGKILL)
		s.exited(j)
	}
}

// discard gives back what a job that did not start had.
func (s *supervisor) discard(j *job) {
	for _, fd := range j.pipes {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if j.folder.path != "" {
		s.folders.give(j.folder, j.folder.touched(time.Now().UnixNano()))
	}
	j.group.remove()
}

// signal sends sig to the job's process group. The group's number cannot have been given to another: the process is reaped
// only by the loop, and after that the number stays taken while the group has members.
func (j *job) signal(sig syscall.Signal) {
	if j.ended || j.pid <= 0 { // or it is not forked yet
		return
	}
	_ = unix.Kill(-j.pid, sig)
	if sig == unix.SIGKILL {
		j.group.kill()
	}
}

// stop sends the polite signal and sets the end of the grace. A second stop can only bring that end nearer.
func (s *supervisor) stop(j *job, grace time.Duration, polite unix.Signal) {
	if j.ended {
		return
	}
	if grace > 0 {
		s.trace(j)
		j.signal(polite)
		j.signal(unix.SIGCONT) // a job that was suspended hears the first only now
	}
	if kill := clock() + int64(max(grace, 0)); j.kill == 0 || kill < j.kill {
		j.kill = kill
		s.soon(kill)
	}
}

// watchYoung watches the pipes of jobs that turn out to run longer.
func (s *supervisor) watchYoung(now int64) {
	n := 0
	for ; n < len(s.young) && (s.young[n].ended || now-s.young[n].begun >= int64(youngFor)); n++ {
		j := s.young[n]
		for stream, fd := range j.pipes {
			if j.ended || fd < 0 {
				continue
			}
			if err := s.poll.add(fd, unix.EPOLLIN, source{job: j, stream: stream}); err != nil {
				s.log.Error("output cannot be watched", "execution", j.name, "err", err)
			}
		}
	}
	if n > 0 {
		s.young = append(s.young[:0], s.young[n:]...)
	}
}

// read takes what a pipe has to give, once. It returns how much that was.
func (s *supervisor) read(j *job, stream int) int {
	fd := j.pipes[stream]
	if fd < 0 {
		return 0
	}
	n, err := unix.Read(fd, s.buf)
	if err != nil && (errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)) {
		return 0
	}
	if n <= 0 {
		s.poll.drop(fd)
		j.pipes[stream] = -1
		return 0
	}
	s.block = j.lines[stream].cut(s.block[:0], time.Now().UnixNano(), s.buf[:n])
	s.output(j, s.block)
	return n
}

// output keeps a block of records and gives it to the worker if that one has all before it.
func (s *supervisor) output(j *job, block []byte) {
	if len(block) == 0 {
		return
	}
	at := j.spool.size
	if err := j.spool.write(block); err != nil {
		if j.end.message == "" {
			s.log.Error("output is lost", "execution", j.name, "err", err)
			j.end.message = "some of the output was lost: " + err.Error()
		}
		return
	}
	switch {
	case j.peer == nil || j.behind:
	case j.sent == at && s.room(j):
		s.sendBlock(j, block)
	default:
		s.pump(j)
	}
}

// trace notes which processes are the job's, before a signal ends those that connect them.
func (s *supervisor) trace(j *job) {
	if !j.exited && j.pid > 0 {
		s.orphans.trace(j.pid, j.name)
	}
}

// exited reaps the process and ends what is left of its group.
func (s *supervisor) exited(j *job) {
	if j.exited {
		return
	}
	j.exited = true
	s.orphans.end(j) // those that have left its group, while the members that started them live
	// While it is a zombie its number is its own: whatever is in its group now is its own too.
	_ = unix.Kill(-j.pid, unix.SIGKILL)
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(j.pid, &ws, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	s.poll.drop(j.pidfd)
	j.pidfd = -1
	e := endingOf(syscall.WaitStatus(ws))
	j.end.code, j.end.signal, j.end.ended = e.code, e.signal, time.Now().UnixNano()
	s.settle(j)
}

// settle finishes the job if nothing of it is left, and else kills what is and looks again.
func (s *supervisor) settle(j *job) {
	if j.retry = 0; s.gone(j) {
		s.finish(j)
		return
	}
	if time.Now().UnixNano()-j.end.ended > int64(goneWithin) {
		s.log.Error("some of a job's processes cannot be killed", "execution", j.name, "group", j.pid)
		j.end.message = fmt.Sprintf("some processes of group %d could not be killed within %s", j.pid, goneWithin)
		s.finish(j)
		return
	}
	j.signal(unix.SIGKILL)
	j.retry = clock() + int64(min(time.Millisecond<<j.tries, 50*time.Millisecond))
	j.tries = min(j.tries+1, 6)
	s.soon(j.retry)
}

// gone tells whether no process of the job is left: none in its group, none that left it and was adopted, none in its cgroup.
func (s *supervisor) gone(j *job) bool {
	left := s.orphans.end(j) // also reaps those of the group
	return j.group.gone() && unix.Kill(-j.pid, 0) == unix.ESRCH && left == 0
}

// finish records how the job ended: the rest of its output first.
func (s *supervisor) finish(j *job) {
	for stream := range j.pipes {
		for total := 0; total < drainAtMost; {
			n := s.read(j, stream)
			if n == 0 {
				break
			}
			total += n
		}
		if fd := j.pipes[stream]; fd >= 0 { // held by a process that is not ours to kill
			s.poll.drop(fd)
			j.pipes[stream] = -1
		}
		s.output(j, j.lines[stream].finish(s.block[:0], j.end.ended))
	}
	touched := j.folder.touched(j.end.ended)
	if touched {
		j.end.take(readResult(j.folder.path))
	}
	s.folders.give(j.folder, touched)
	if j.lost {
		j.end.reason, j.end.message = schemas.ReasonLeaseLost, "the worker's right to the run was not confirmed in time"
	} else if j.group.oom() {
		j.end.reason, j.end.message = schemas.ReasonOOMKilled, "the job used more memory than it was given"
	}
	j.group.remove()
	j.ended = true
	s.live--
	s.orphans.forget(j.name)
	if j.forgot {
		s.drop(j)
		return
	}
	j.kept = s.journal.ended(j.name, j.number, &j.end)
	s.pump(j)
	j.spool.rest()
}

// readResult reads what the job left in its result file, and one byte more than a result may have.
func readResult(dir string) []byte {
	fd, err := unix.Open(filepath.Join(dir, resultFile), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	b := make([]byte, runners.MaxResult+1)
	n := 0
	for n < len(b) {
		m, err := unix.Read(fd, b[n:])
		if m <= 0 || err != nil {
			break
		}
		n += m
	}
	return b[:n]
}

// forget drops what is kept of a job, now or once it has ended.
func (s *supervisor) forget(j *job) {
	if !j.ended {
		j.forgot = true
		return
	}
	s.journal.forget(j.name, j.kept)
	s.drop(j)
}

func (s *supervisor) drop(j *job) {
	j.spool.remove()
	delete(s.jobs, j.name)
}
