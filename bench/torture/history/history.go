// Package history is what a torture run leaves behind: files of lines in one folder, written by the jobs themselves and by
// those who watched from outside, and read again by the checker. Weir's own code has no part in it but for the events' form.
package history

import (
	"time"

	"github.com/weir-run/weir/schemas"
)

// The files of a history, in its folder.
const (
	RequestsFile = "requests.jsonl" // every request, with its acknowledgement if there was one
	CancelsFile  = "cancels.jsonl"  // every cancel that was asked for
	SeenFile     = "seen.jsonl"     // events as they came, with the time of their arrival
	EventsFile   = "events.jsonl"   // the event log as it was in the end
	OutputFile   = "output.jsonl"   // the lines of all jobs' output, as they were kept
	EndFile      = "end.json"       // what was left when all was settled
	JobsDir      = "jobs"           // one file for each process of each execution
)

// History is all of it. Times are readings of CLOCK_BOOTTIME in nanoseconds: one clock for all processes of the machine, which
// nobody sets.
type History struct {
	Requests  []Request
	Cancels   []Cancel
	Seen      []Seen
	Events    []Event
	Output    []Output
	Processes []Process
	End       End
}

// Request is a line of RequestsFile.
type Request struct {
	Run          string `json:"run"` // empty where only the acknowledgement could have told
	Deployment   string `json:"deployment"`
	Acknowledged bool   `json:"acknowledged"`
	At           int64  `json:"at"`
}

// Cancel is a line of CancelsFile.
type Cancel struct {
	Run          string `json:"run"`
	Acknowledged bool   `json:"acknowledged"`
	At           int64  `json:"at"` // when it was asked for
}

// Seen is a line of SeenFile: that an event was in the log at that time at the latest.
type Seen struct {
	Sequence uint64        `json:"sequence"`
	Run      string        `json:"run"`
	State    schemas.State `json:"state"`
	At       int64         `json:"at"`
}

// Event is a line of EventsFile. Its sequence in the log is apart from the request's, which is in the event.
type Event struct {
	Log    uint64           `json:"log"`
	Stored time.Time        `json:"stored"` // by a NATS node's clock, which may have been set wrong on purpose
	Event  schemas.RunEvent `json:"event"`
}

// Output is a line of OutputFile: a line that a job printed.
type Output struct {
	Run     string `json:"run"`
	Attempt int    `json:"attempt"`
	Number  int    `json:"number"` // within the attempt, from 1
}

// What a job's line can say.
const (
	Start = "start"
	Beat  = "beat"
	Term  = "term" // the polite signal has come
	Exit  = "exit" // the last line, with the exit code that follows
)

// Line is one line of a process's own file. The first has What == Start and says whose file it is.
type Line struct {
	What string `json:"what"`
	At   int64  `json:"at"`
	Code int    `json:"code,omitempty"`

	Lines int `json:"lines,omitempty"` // on exit: how many it has printed
	*Identity
}

// Identity says which execution a process belongs to.
type Identity struct {
	Run       string `json:"run"`
	Attempt   int    `json:"attempt"`
	Worker    string `json:"worker"`
	Execution string `json:"execution"`       // made by the job's first process and handed down to what it starts
	Child     bool   `json:"child,omitempty"` // a process that the job started
	PID       int    `json:"pid"`
}

// Process is the file of one process.
type Process struct {
	Identity
	File string
	From int64 // its first line
	To   int64 // its last line: it lived until then at least
	Code int   // its exit code, where Done
	Done bool  // it has said its exit code
	Said int   // lines that it printed, where Done
	Term bool  // it was asked to end
}

// End is what was left when no more requests came, all that had been broken was mended, and the time for settling was over.
type End struct {
	Queues  []Queue  `json:"queues"`
	Workers []Worker `json:"workers"`
	Alive   []string `json:"alive"` // processes of executions that still run
	Full    []string `json:"full"`  // workers whose disk was full at times: what their jobs printed meanwhile may be lost
}

// Queue is a work queue's durable consumer, and its pool's stream.
type Queue struct {
	Name       string `json:"name"`
	Pending    uint64 `json:"pending"`     // not delivered yet
	AckPending int    `json:"ack_pending"` // delivered and not acknowledged
	Messages   uint64 `json:"messages"`    // in the whole stream
}

// Worker is a worker's own word about its slots.
type Worker struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Used   int    `json:"used"`
}

// Empty tells whether nothing is left over.
func (e End) Empty() bool {
	for _, q := range e.Queues {
		if q.Pending != 0 || q.AckPending != 0 || q.Messages != 0 {
			return false
		}
	}
	for _, w := range e.Workers {
		if w.Used != 0 {
			return false
		}
	}
	return len(e.Alive) == 0
}
