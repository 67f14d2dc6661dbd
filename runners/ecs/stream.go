package ecs

import (
	"time"

	"github.com/weir-run/weir/runners"
)

// stream is one execution's output: a log stream of CloudWatch, as far as it has been read. What it holds between two reads is a place
// in it, and what came of the run's result. Its fields are under its group's mu, or of the one read that has it.
//
// A line's position is its event's time in milliseconds and the line's number within that millisecond: the same whenever it is read,
// so that reading goes on at any line, and an answer that begins before it does no harm. CloudWatch keeps a stream's events in the order
// of their time and of their coming, and whoever writes one is a single log driver.
type stream struct {
	e      *execution
	out    runners.Output // nil: it is not stored
	name   string
	result resultReader
	group  *logGroup

	last  int64 // ms of the last line that was given, or of what can be the first
	count int   // lines of that ms that were given
	from  int64 // ms before which all that is there has been read, as far as is known; never before last

	due   time.Time     // of the next read
	wait  time.Duration // between the reads before it
	in    *streamQueue  // of the group's, where it is if it is not being read
	index int           // in that queue; -1: not there

	behind   bool      // there is more than a read of many has room for: it is read alone
	token    *string   // where that goes on
	numbered int       // lines of the ms last that the reads along token have met
	lacks    time.Time // since when CloudWatch says that there is no such stream; zero: it does not
	refused  time.Time // since when it refuses to show it; zero: it does not
	over     time.Time // when the job's containers had ended; zero: they have not
	quiet    time.Time // when a read began since which nothing new came; zero: something came

	size int // bytes given and not flushed
}

// positionBits hold a line's number within its millisecond.
const positionBits = 20

// resultOverlap is how long before the last stored line reading goes on. The lines there are known, and left out by their receiver, but
// parts of a result among them were not stored.
const resultOverlap = 10 * time.Second

// resume goes on behind the line of that position, or begins with the first one that can be, which is not older than the task.
func (s *stream) resume(position int64, created time.Time) {
	s.last, s.count = max(created.UnixMilli(), position>>positionBits-resultOverlap.Milliseconds(), 0), 0
	s.from = s.last
}

// A pass is one way through a stream's events, in order. It knows how many lines of the millisecond s.last it has met.
type pass struct {
	s     *stream
	young int64 // ms from which on events are left for later: others of an earlier time may still be on their way
	met   int
	cut   bool // it met what it must not take yet: nothing after that either
}

// take gives an event's lines that were not given before.
func (p *pass) take(at int64, message string) {
	s := p.s
	switch {
	case p.cut || at < s.last:
		return
	case at >= p.young:
		p.cut = true
		return
	case at > s.last:
		s.last, s.count, p.met = at, 0, 0
	}
	for text := message; ; {
		part, more := text, false
		if len(part) > runners.MaxLine {
			part, more = part[:runners.MaxLine], true
		}
		text = text[len(part):]
		if p.met++; p.met > s.count {
			s.count = p.met
			s.give(at, part, more || len(message) == driverPart && len(text) == 0)
		}
		if !more {
			return
		}
	}
}

// driverPart is the length at which the log driver cuts a line, in bytes.
const driverPart = 16 << 10

// give gives the line with which s.last and s.count were reached.
func (s *stream) give(at int64, text string, goesOn bool) {
	line := []byte(text)
	if s.result.take(line) {
		return
	}
	s.size += len(line) + 1
	if s.out == nil {
		return
	}
	s.out.Line(runners.Line{
		Stream: runners.Stdout, At: time.UnixMilli(at), Position: at<<positionBits | int64(min(s.count-1, 1<<positionBits-1)), Text: line, Continued: goesOn,
	})
}

// missing gives a line that says that the output is not complete.
func (s *stream) missing(why string) {
	at := max(time.Now().UnixMilli(), s.last+1)
	s.last, s.count = at, 1
	if s.out != nil {
		s.out.Line(runners.Line{
			Stream: runners.Stderr, At: time.UnixMilli(at), Position: at << positionBits, Text: []byte("weir: output may be missing from here on: " + why),
		})
	}
	s.size++
}
