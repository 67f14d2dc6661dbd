package process

import (
	"time"

	"golang.org/x/sys/unix"
)

// timeout is how long the loop may wait for events.
func (s *supervisor) timeout() time.Duration {
	wait := time.Duration(-1)
	if s.due != 0 {
		wait = min(max(time.Duration(s.due-clock()), 0), maxWait)
	} else if s.live > 0 && s.orphans.any {
		wait = maxWait
	}
	if len(s.young) > 0 {
		if w := max(time.Duration(s.young[0].begun+int64(youngFor)-clock()), 0); wait < 0 || w < wait {
			wait = w
		}
	}
	if len(s.peers) == 0 && s.live == 0 {
		if w := max(time.Until(s.idle.Add(idleFor)), 0); wait < 0 || w < wait {
			wait = w
		}
	}
	return wait
}

// tick does what is due.
func (s *supervisor) tick() {
	if len(s.young) == 0 && s.due == 0 && !s.orphans.any {
		return
	}
	now := clock()
	s.watchYoung(now)
	if s.due != 0 && now >= s.due {
		s.expire(now)
	}
	if s.orphans.any && now >= s.orphans.next {
		s.orphans.reap(now)
	}
}

// soon makes sure that the loop looks at its deadlines at t.
func (s *supervisor) soon(t int64) {
	if t != 0 && (s.due == 0 || t < s.due) {
		s.due = t
	}
}

// expire kills and settles the jobs whose time has come, and finds the next deadline.
func (s *supervisor) expire(now int64) {
	s.due = 0
	for _, j := range s.jobs {
		if j.ended || j.pid == 0 {
			continue
		}
		s.enforce(j, now)
		if j.retry != 0 && now >= j.retry {
			s.settle(j)
		}
		if !j.ended {
			s.soon(j.lease)
			s.soon(j.kill)
			s.soon(j.retry)
		}
	}
}

// enforce is the dead man's switch, and the end of a stop's grace.
func (s *supervisor) enforce(j *job, now int64) {
	if j.lease != 0 && now >= j.lease {
		j.lease, j.lost = 0, !j.exited
		s.trace(j)
		j.signal(unix.SIGKILL)
	}
	if j.kill != 0 && now >= j.kill {
		j.kill = 0
		s.trace(j)
		j.signal(unix.SIGKILL)
	}
}
