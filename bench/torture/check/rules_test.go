package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-run/weir/bench/torture/history"
	"github.com/weir-run/weir/schemas"
)

// second is one on the jobs' clock.
const second = 1_000_000_000

// event is one of run r at a time in seconds. Its sequence in the log is ten times that.
func event(at int, state schemas.State, attempt int, worker string) history.Event {
	return history.Event{Log: uint64(10 * at), Event: schemas.RunEvent{Run: "r", State: state, Attempt: attempt, Worker: worker}}
}

// process is one of run r that lived from one second to another and, where code is not negative, said its exit code.
func process(attempt int, worker, execution string, from, to, code int) history.Process {
	return history.Process{
		Identity: history.Identity{Run: "r", Attempt: attempt, Worker: worker, Execution: execution},
		File:     fmt.Sprintf("r.%d.%s", attempt, execution), From: int64(from) * second, To: int64(to) * second, Code: max(code, 0), Done: code >= 0,
	}
}

func printing(p history.Process, lines int) history.Process {
	p.Said = lines
	return p
}

// good is a history of a run whose first worker is lost and whose second attempt completes, and of one that is cancelled
// before it starts.
func good() history.History {
	cancelled := event(3, schemas.Cancelled, 0, "")
	cancelled.Event.Run = "c"
	return history.History{
		Requests: []history.Request{{Run: "r", Deployment: "d", Acknowledged: true}, {Run: "c", Deployment: "d", Acknowledged: true}},
		Cancels:  []history.Cancel{{Run: "c", Acknowledged: true}},
		Events: []history.Event{
			event(1, schemas.Pending, 1, "a"), event(2, schemas.Running, 1, "a"), event(11, schemas.Retrying, 1, "b"),
			event(12, schemas.Pending, 2, "b"), event(13, schemas.Running, 2, "b"), event(20, schemas.Completed, 2, "b"), cancelled,
		},
		Processes: []history.Process{process(1, "a", "x", 2, 9, -1), printing(process(2, "b", "y", 13, 19, 0), 2)},
		Output:    []history.Output{{Run: "r", Attempt: 1, Number: 1}, {Run: "r", Attempt: 2, Number: 1}, {Run: "r", Attempt: 2, Number: 2}},
		End: history.End{
			Queues:  []history.Queue{{Name: "default"}},
			Workers: []history.Worker{{Name: "b", Status: "online"}},
		},
	}
}

// watched makes a history whole that a test has changed: each event names the one before it and was seen when it was stored.
func watched(h history.History) history.History {
	last := map[string]uint64{}
	for i := range h.Events {
		e := &h.Events[i]
		e.Event.Previous, last[e.Event.Run] = last[e.Event.Run], e.Log
		h.Seen = append(h.Seen, history.Seen{Sequence: e.Log, Run: e.Event.Run, State: e.Event.State, At: int64(e.Log) / 10 * second})
	}
	return h
}

// brokenRules are the promises that h breaks, and what was said of it.
func brokenRules(h history.History) (promises []string, said string) {
	var out strings.Builder
	s := index(h)
	for _, r := range rules {
		if _, broken := r.check(s); len(broken) > 0 {
			promises = append(promises, r.promise)
		}
	}
	report(&out, s)
	return promises, out.String()
}

func TestReport_acceptsAGoodHistory(t *testing.T) {
	var out strings.Builder
	if !report(&out, index(watched(good()))) {
		t.Errorf("a good history was refused:\n%s", out.String())
	}
	if strings.Contains(out.String(), " 0 checked") {
		t.Errorf("a rule checked nothing:\n%s", out.String())
	}
}

func TestPrinted_aFullDiskMayLoseLines(t *testing.T) {
	h := good()
	h.End.Full = []string{"b"}
	h.Output = h.Output[:2:2]
	if promises, said := brokenRules(watched(h)); len(promises) > 0 {
		t.Errorf("lines of a worker with a full disk are missing:\n%s", said)
	}
	h.Output = append(h.Output, history.Output{Run: "r", Attempt: 2, Number: 1})
	if promises, _ := brokenRules(watched(h)); len(promises) != 1 {
		t.Errorf("broken rules with a line kept twice: got %q, want that of output", promises)
	}
}

func TestRules_eachRefusesItsBadHistory(t *testing.T) {
	without := func(events []history.Event, i int) []history.Event { return append(events[:i:i], events[i+1:]...) }
	for _, c := range []struct {
		name    string
		promise string
		says    string
		change  func(*history.History) // before events are linked and seen
		after   func(*history.History) // after that
	}{
		{
			"lost", "every acknowledged request reached a final state", "run r was acknowledged and has no final state",
			func(h *history.History) { h.Events = h.Events[:5] }, nil,
		},
		{
			"never taken", "every acknowledged request reached a final state", "run s was acknowledged and has no final state",
			func(h *history.History) {
				h.Requests = append(h.Requests, history.Request{Run: "s", Acknowledged: true})
			}, nil,
		},
		{
			"overlap", "no two executions of a run overlap", "execution y began at 13s while x lived until 13s at least",
			func(h *history.History) { h.Processes[0] = process(1, "a", "x", 2, 13, -1) }, nil,
		},
		{
			"grandchild outlives", "no two executions of a run overlap", "execution y began at 13s while x lived until 15s at least",
			func(h *history.History) {
				p := process(1, "a", "x", 3, 15, -1)
				p.Child = true
				h.Processes = append(h.Processes, p)
			}, nil,
		},
		{
			"not claimed", "every execution was claimed before, by its worker, once", "worker c started attempt 2 and there is no pending event of that",
			func(h *history.History) { h.Processes[1] = process(2, "c", "y", 13, 19, 0) }, nil,
		},
		{
			"started twice", "every execution was claimed before, by its worker, once", "attempt 1 was started twice, as x and as z",
			func(h *history.History) { h.Processes = append(h.Processes, process(1, "a", "z", 10, 11, -1)) }, nil,
		},
		{
			"started after the end", "nothing of a run lives once its final state is seen", "was started at 21s, after completed was seen at 20s",
			func(h *history.History) {
				h.Events = append(h.Events[:3:3], event(12, schemas.Pending, 2, "b"), event(20, schemas.Completed, 2, "b"))
				h.Processes = append(h.Processes, process(2, "b", "y", 21, 22, 0))
			}, nil,
		},
		{
			"lives after the end", "nothing of a run lives once its final state is seen", "lived until 21s at least, and completed was seen at 20s",
			func(h *history.History) { h.Processes[1] = process(2, "b", "y", 13, 21, 0) }, nil,
		},
		{
			"step that is not allowed", "every event may follow the one before it", "event 130 is running after retrying",
			func(h *history.History) { h.Events = without(h.Events, 3) }, nil,
		},
		{
			"second final state", "every event may follow the one before it", "event 210 is failed after completed",
			func(h *history.History) { h.Events = append(h.Events, event(21, schemas.Failed, 2, "a")) }, nil,
		},
		{
			"event between", "every event names the one before it", "event 130 says it follows event 110; the one before it is 120",
			nil, func(h *history.History) { h.Events[4].Event.Previous = 110 },
		},
		{
			"attempt left out", "attempts count up by one", "event 120, pending, is of attempt 3, want 2",
			func(h *history.History) { h.Events[3].Event.Attempt = 3 }, nil,
		},
		{
			"attempt claimed twice", "attempts count up by one", "event 120, pending, is of attempt 1, want 2",
			func(h *history.History) { h.Events[3].Event.Attempt = 1 }, nil,
		},
		{
			"completed without an end", "an end is recorded as the job told it", "completed with exit code 0, and no execution of attempt 2",
			func(h *history.History) { h.Processes[1] = process(2, "b", "y", 13, 19, -1) }, nil,
		},
		{
			"wrong exit code", "an end is recorded as the job told it", "failed with exit code 7, and no execution of attempt 2",
			func(h *history.History) {
				code := 7
				h.Events[5].Event.State, h.Events[5].Event.Reason, h.Events[5].Event.ExitCode = schemas.Failed, schemas.ReasonExitCode, &code
			}, nil,
		},
		{
			"line twice", "output is kept once, in order, and whole once its end is", "kept line 1 of attempt 2 where line 2 of attempt 2 comes next",
			func(h *history.History) { h.Output[2].Number = 1 }, nil,
		},
		{
			"line of an earlier attempt", "output is kept once, in order, and whole once its end is", "kept line 2 of attempt 1 where line 2 of attempt 2 comes next",
			func(h *history.History) { h.Output[2] = history.Output{Run: "r", Attempt: 1, Number: 2} }, nil,
		},
		{
			"line lost", "output is kept once, in order, and whole once its end is", "run r is completed with 1 of the 2 lines that attempt 2 printed",
			func(h *history.History) { h.Output = h.Output[:2] }, nil,
		},
		{
			"cancelled by nobody", "a run is cancelled only when somebody asked for it", "event 200 is cancelled, and nobody asked for a cancel",
			func(h *history.History) { h.Events[5].Event.State = schemas.Cancelled }, nil,
		},
		{
			"event gone", "an event that was seen stays in the log", "event 110, run r is retrying, was seen and is not in the log any more",
			nil, func(h *history.History) { h.Events = without(h.Events, 2) },
		},
		{
			"request left", "no slot, lease, request or process is left over", "1 requests waiting and 0 held",
			func(h *history.History) { h.End.Queues[0].Pending = 1 }, nil,
		},
		{
			"lease left", "no slot, lease, request or process is left over", "0 requests waiting and 1 held",
			func(h *history.History) { h.End.Queues[0].AckPending = 1 }, nil,
		},
		{
			"slot left", "no slot, lease, request or process is left over", "worker b (online) says that 2 of its slots are used",
			func(h *history.History) { h.End.Workers[0].Used = 2 }, nil,
		},
		{
			"process left", "no slot, lease, request or process is left over", "a process is left: process 12, run r",
			func(h *history.History) { h.End.Alive = []string{"process 12, run r"} }, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := good()
			if c.change != nil {
				c.change(&h)
			}
			h = watched(h)
			if c.after != nil {
				c.after(&h)
			}
			promises, said := brokenRules(h)
			found := false
			for _, p := range promises {
				found = found || p == c.promise
			}
			if !found || !strings.Contains(said, c.says) {
				t.Errorf("broken rules: got %q, want among them %q; and %q in\n%s", promises, c.promise, c.says, said)
			}
		})
	}
}
