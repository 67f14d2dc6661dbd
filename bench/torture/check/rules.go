package main

import (
	"fmt"
	"slices"

	"github.com/weir-run/weir/bench/torture/history"
	"github.com/weir-run/weir/schemas"
)

// A rule is one promise. check returns how many times it was put to the test, and where it was broken.
type rule struct {
	promise string
	check   func(*story) (checked int, broken []violation)
}

// A violation is where a promise was broken. run is nil where it concerns no run alone.
type violation struct {
	rule string
	text string
	run  *run
}

func broken(r *run, format string, args ...any) violation {
	return violation{text: fmt.Sprintf(format, args...), run: r}
}

var rules = []rule{
	{"every acknowledged request reached a final state", settled},
	{"no two executions of a run overlap", apart},
	{"every execution was claimed before, by its worker, once", claimed},
	{"nothing of a run lives once its final state is seen", dead},
	{"every event may follow the one before it", allowed},
	{"every event names the one before it", linked},
	{"attempts count up by one", counted},
	{"an end is recorded as the job told it", truthful},
	{"output is kept once, in order, and whole once its end is", printed},
	{"a run is cancelled only when somebody asked for it", asked},
	{"an event that was seen stays in the log", kept},
	{"no slot, lease, request or process is left over", clean},
}

func settled(s *story) (checked int, all []violation) {
	for _, r := range s.ordered() {
		if !r.acknowledged {
			continue
		}
		checked++
		if _, ok := r.final(); !ok {
			all = append(all, broken(r, "run %s was acknowledged and has no final state", r.id))
		}
	}
	return checked, all
}

// apart compares what processes wrote about themselves: between its first and its last line, a process certainly lived.
func apart(s *story) (checked int, all []violation) {
	for _, r := range s.ordered() {
		for i, a := range r.processes {
			for _, b := range r.processes[i+1:] {
				if a.Execution == b.Execution {
					continue
				}
				checked++
				if b.From <= a.To {
					all = append(all, broken(r, "run %s: execution %s began at %s while %s lived until %s at least", r.id, b.Execution, at(b.From),
						a.Execution, at(a.To)))
				}
			}
		}
	}
	return checked, all
}

// claimed looks at first processes only: what a job starts is its own affair.
func claimed(s *story) (checked int, all []violation) {
	for _, r := range s.ordered() {
		started := map[int]string{}
		for _, p := range r.processes {
			if p.Child {
				continue
			}
			checked++
			claim := false
			for _, e := range r.events {
				claim = claim || e.Event.State == schemas.Pending && e.Event.Attempt == p.Attempt && e.Event.Worker == p.Worker
			}
			if !claim {
				all = append(all, broken(r, "run %s: worker %s started attempt %d and there is no pending event of that", r.id, p.Worker, p.Attempt))
			}
			if first, twice := started[p.Attempt]; twice {
				all = append(all, broken(r, "run %s: attempt %d was started twice, as %s and as %s", r.id, p.Attempt, first, p.Execution))
			}
			started[p.Attempt] = p.Execution
		}
	}
	return checked, all
}

// dead compares the last sign of life with the time at which the final event had come to the one who watched: it was in the
// log before that.
func dead(s *story) (checked int, all []violation) {
	for _, r := range s.ordered() {
		final, ok := r.final()
		if !ok {
			continue
		}
		seen, ok := s.seen[final.Log]
		if !ok {
			continue
		}
		for _, p := range r.processes {
			checked++
			switch {
			case p.From > seen.At:
				all = append(all, broken(r, "run %s: %s was started at %s, after %s was seen at %s", r.id, p.File, at(p.From), final.Event.State, at(seen.At)))
			case p.To > seen.At:
				all = append(all, broken(r, "run %s: %s lived until %s at least, and %s was seen at %s", r.id, p.File, at(p.To), final.Event.State, at(seen.At)))
			}
		}
	}
	return checked, all
}

func allowed(s *story) (checked int, all []violation) {
	for _, r := range s.ordered() {
		state := schemas.Scheduled
		for _, e := range r.events {
			checked++
			if !state.CanFollow(e.Event.State) {
				all = append(all, broken(r, "run %s: event %d is %s after %s", r.id, e.Log, e.Event.State, state))
			}
			state = e.Event.State
		}
	}
	return checked, all
}

func linked(s *story) (checked int, all []violation) {
	for _, r := range s.ordered() {
		last := uint64(0)
		for _, e := range r.events {
			checked++
			if e.Event.Previous != last {
				all = append(all, broken(r, "run %s: event %d says it follows event %d; the one before it is %d", r.id, e.Log, e.Event.Previous, last))
			}
			last = e.Log
		}
	}
	return checked, all
}

// counted also demands that no attempt is claimed twice: pending follows pending only where its owner records it again.
func counted(s *story) (checked int, all []violation) {
	for _, r := range s.ordered() {
		attempt := 0
		for _, e := range r.events {
			checked++
			want := attempt
			if e.Event.State == schemas.Pending && e.Event.Reason != schemas.ReasonHeld {
				want++
			}
			if e.Event.Attempt != want {
				all = append(all, broken(r, "run %s: event %d, %s, is of attempt %d, want %d", r.id, e.Log, e.Event.State, e.Event.Attempt, want))
			}
			attempt = e.Event.Attempt
		}
	}
	return checked, all
}

// truthful compares ends that the job itself chose. What was killed could not tell.
func truthful(s *story) (checked int, all []violation) {
	for _, r := range s.ordered() {
		final, ok := r.final()
		if !ok {
			continue
		}
		e := final.Event
		byCode := e.Reason == schemas.ReasonExitCode && e.ExitCode != nil
		if e.State != schemas.Completed && !byCode {
			continue
		}
		want := 0
		if byCode {
			want = *e.ExitCode
		}
		checked++
		if _, told := r.exit(e.Attempt, want); !told {
			all = append(all, broken(r, "run %s is %s with exit code %d, and no execution of attempt %d wrote that it ended so", r.id, e.State, want, e.Attempt))
		}
	}
	return checked, all
}

// printed looks at what was kept of each attempt's output: its first lines up to some, or, where the attempt's own end is
// recorded, all of them. A full disk may lose lines, and no more than that.
func printed(s *story) (checked int, all []violation) {
	for _, r := range s.ordered() {
		attempt, number := 0, 0
		lines := map[int]int{}
		for _, o := range r.output {
			checked++
			if o.Attempt > attempt {
				attempt, number = o.Attempt, 0
			}
			number++
			if o.Number > number && slices.Contains(s.End.Full, r.worker(attempt)) {
				number = o.Number
			}
			if o.Attempt != attempt || o.Number != number {
				all = append(all, broken(r, "run %s: kept line %d of attempt %d where line %d of attempt %d comes next", r.id, o.Number, o.Attempt, number, attempt))
				break
			}
			lines[attempt] = number
		}
		final, _ := r.final()
		if final.Event.State != schemas.Completed {
			continue
		}
		p, ok := r.exit(final.Event.Attempt, 0)
		if ok && lines[p.Attempt] != p.Said && !slices.Contains(s.End.Full, p.Worker) {
			all = append(all, broken(r, "run %s is completed with %d of the %d lines that attempt %d printed", r.id, lines[p.Attempt], p.Said, p.Attempt))
		}
	}
	return checked, all
}

// worker is who claimed the attempt, or empty.
func (r *run) worker(attempt int) string {
	for _, e := range r.events {
		if e.Event.State == schemas.Pending && e.Event.Attempt == attempt {
			return e.Event.Worker
		}
	}
	return ""
}

// exit is the attempt's first process, if it wrote that it ended with that code.
func (r *run) exit(attempt, code int) (history.Process, bool) {
	for _, p := range r.processes {
		if !p.Child && p.Attempt == attempt && p.Done && p.Code == code {
			return p, true
		}
	}
	return history.Process{}, false
}

// asked looks at every event that speaks of a cancel. A request that was not acknowledged may have arrived all the same.
func asked(s *story) (checked int, all []violation) {
	wanted := map[string]bool{}
	for _, c := range s.Cancels {
		wanted[c.Run] = true
	}
	for _, r := range s.ordered() {
		for _, e := range r.events {
			if e.Event.State != schemas.Cancelling && e.Event.State != schemas.Cancelled {
				continue
			}
			checked++
			if !wanted[r.id] {
				all = append(all, broken(r, "run %s: event %d is %s, and nobody asked for a cancel", r.id, e.Log, e.Event.State))
			}
		}
	}
	return checked, all
}

func kept(s *story) (checked int, all []violation) {
	log := map[uint64]history.Event{}
	for _, e := range s.Events {
		log[e.Log] = e
	}
	for _, e := range s.Seen {
		checked++
		if got, ok := log[e.Sequence]; !ok || got.Event.Run != e.Run || got.Event.State != e.State {
			all = append(all, broken(s.run(e.Run), "event %d, run %s is %s, was seen and is not in the log any more", e.Sequence, e.Run, e.State))
		}
	}
	return checked, all
}

func clean(s *story) (checked int, all []violation) {
	for _, q := range s.End.Queues {
		checked++
		if q.Pending != 0 || q.AckPending != 0 || q.Messages != 0 {
			all = append(all, broken(nil, "work queue %s has %d requests waiting and %d held, its stream %d messages", q.Name, q.Pending, q.AckPending, q.Messages))
		}
	}
	for _, w := range s.End.Workers {
		checked++
		if w.Used != 0 {
			all = append(all, broken(nil, "worker %s (%s) says that %d of its slots are used", w.Name, w.Status, w.Used))
		}
	}
	checked++
	for _, p := range s.End.Alive {
		all = append(all, broken(nil, "a process is left: %s", p))
	}
	return checked, all
}
