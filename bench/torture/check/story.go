package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/weir-run/weir/bench/torture/history"
	"github.com/weir-run/weir/schemas"
)

// A story is a history by run.
type story struct {
	history.History
	runs map[string]*run
	seen map[uint64]history.Seen // by sequence in the log
}

// A run is all that is known of one run: its events in the log's order, and its processes by their start.
type run struct {
	id           string
	acknowledged bool
	events       []history.Event
	processes    []history.Process
	output       []history.Output // as it was kept
}

func index(h history.History) *story {
	s := &story{History: h, runs: map[string]*run{}, seen: map[uint64]history.Seen{}}
	for _, q := range h.Requests {
		if q.Run != "" {
			r := s.run(q.Run)
			r.acknowledged = r.acknowledged || q.Acknowledged
		}
	}
	for _, e := range h.Events {
		r := s.run(e.Event.Run)
		r.events = append(r.events, e)
	}
	for _, p := range h.Processes {
		r := s.run(p.Run)
		r.processes = append(r.processes, p)
	}
	for _, o := range h.Output {
		r := s.run(o.Run)
		r.output = append(r.output, o)
	}
	for _, e := range h.Seen {
		if first, ok := s.seen[e.Sequence]; !ok || e.At < first.At {
			s.seen[e.Sequence] = e
		}
	}
	for _, r := range s.runs {
		slices.SortFunc(r.events, func(a, b history.Event) int { return cmp.Compare(a.Log, b.Log) })
		slices.SortFunc(r.processes, func(a, b history.Process) int { return cmp.Compare(a.From, b.From) })
	}
	return s
}

func (s *story) run(id string) *run {
	r := s.runs[id]
	if r == nil {
		r = &run{id: id}
		s.runs[id] = r
	}
	return r
}

// ordered is all runs, always in the same order.
func (s *story) ordered() []*run {
	var all []*run
	for _, r := range s.runs {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *run) int { return cmp.Compare(a.id, b.id) })
	return all
}

// final is the run's first final event.
func (r *run) final() (history.Event, bool) {
	i := slices.IndexFunc(r.events, func(e history.Event) bool { return e.Event.State.Final() })
	if i < 0 {
		return history.Event{}, false
	}
	return r.events[i], true
}

// counts says in one line how much there is.
func (s *story) counts() string {
	states := map[schemas.State]int{}
	attempts, again, executions, acknowledged := 0, 0, 0, 0
	for _, r := range s.runs {
		if e, ok := r.final(); ok {
			states[e.Event.State]++
		}
		most := 0
		for _, e := range r.events {
			most = max(most, e.Event.Attempt)
		}
		attempts += most
		if most > 1 {
			again++
		}
		for _, p := range r.processes {
			if !p.Child {
				executions++
			}
		}
		if r.acknowledged {
			acknowledged++
		}
	}
	return fmt.Sprintf("%d acknowledged runs, %d events, %d attempts (%d runs took more than one), %d executions with %d processes; "+
		"%d completed, %d failed, %d crashed, %d cancelled of %d asked", acknowledged, len(s.Events), attempts, again, executions, len(s.Processes),
		states[schemas.Completed], states[schemas.Failed], states[schemas.Crashed], states[schemas.Cancelled], len(s.Cancels))
}

// print shows what is known of the run.
func (r *run) print(out io.Writer) {
	for _, e := range r.events {
		v := e.Event
		fmt.Fprintf(out, "  event %d %-10s attempt %d worker %s %s %s\n", e.Log, v.State, v.Attempt, v.Worker, v.Reason, v.Message)
	}
	for _, p := range r.processes {
		how := "no exit is written"
		if p.Done {
			how = fmt.Sprintf("exit code %d", p.Code)
		}
		fmt.Fprintf(out, "  %s: attempt %d worker %s execution %s, from %s to %s, %s\n", p.File, p.Attempt, p.Worker, p.Execution, at(p.From), at(p.To), how)
	}
}

// at is a clock reading for people.
func at(clock int64) string { return time.Duration(clock).Round(time.Millisecond).String() }
