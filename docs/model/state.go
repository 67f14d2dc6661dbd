package model

import "github.com/weir-run/weir/schemas"

// A State is everything at one moment. It is small, comparable and has no history: what matters of the past is in it.
type State struct {
	Log     Log
	Tickets [tickets]Ticket
	Workers [2]Worker
	Cancel  Canceller
	Crashes uint8 // left
	Early   uint8 // left
	Twice   bool  // an execution was started beside one of the same supervisor
	Broken  bool  // an event was stored that may not follow the one before it
}

// Log is the run's last event. Sequences are left out: each writer has instead whether what it knows is still the last.
type Log struct {
	Event   event
	Attempt uint8
	Worker  uint8 // who owns the attempt
	Ticket  uint8 // whose delivery is the lease
	Carried bool  // retrying: Ticket itself asks for the next attempt too, no other one is published
}

// event is a state as the log records it; none is a run without any event.
type event uint8

const (
	none event = iota
	pending
	running
	retrying
	cancelling
	completed
	failed
	crashed
	cancelled
)

var words = [...]schemas.State{
	schemas.Scheduled, schemas.Pending, schemas.Running, schemas.Retrying, schemas.Cancelling, schemas.Completed, schemas.Failed,
	schemas.Crashed, schemas.Cancelled,
}

func (e event) final() bool { return e >= completed }

// held tells whether an execution may live under e.
func (e event) held() bool { return e == pending || e == running || e == cancelling }

// Tickets: the request, then two of each further attempt, since a schedule can be published twice.
const tickets = 5

func attemptOf(ticket uint8) uint8 { return (ticket + 3) / 2 }
func ticketOf(attempt uint8) uint8 { return 2*attempt - 3 } // the first of two

// Ticket is a request in the pool's stream.
type Ticket struct {
	Place place
	Timer uint8 // ticks until NATS delivers it again, while it is out
}

type place uint8

const (
	absent    place = iota // not published yet
	scheduled              // a schedule that has not fired
	waiting                // in the stream, never delivered
	out                    // delivered and not acknowledged
	queued                 // to be delivered again
	gone                   // acknowledged
)

// Worker is one worker and its supervisor, which outlives it.
type Worker struct {
	At        step
	Ticket    uint8
	Attempt   uint8
	Know      knowledge // of the run's last event
	Own       bool      // that event is, as far as it knows, its own
	Stop      bool      // the run is to be cancelled
	Lease     uint8     // ticks for which it counts on its right
	Renewal   renewal
	Sent      uint8 // ticks since the renewal was sent, up to Bounds.Hold
	Append    Append
	Confirmed uint8 // ticks since it sent its last record that was confirmed to it, up to Bounds.Hold
	Known     uint8 // ticks since the other worker can have known its record in weir_workers, up to Bounds.Hold: it may take over
	Job       Job
	Launch    Launch
}

// step is where a worker is in its program. It may stay there for any time: that is what being slow or frozen is.
type step uint8

const (
	down      step = iota
	idle           // a pull request waits in NATS
	got            // a delivery is in its socket
	appending      // an event is on its way
	starting       // the execution is
	holding
	publishing // the schedule of the next attempt
	acknowledging
)

// knowledge is whether the event that a writer knows is the run's last.
type knowledge uint8

const (
	stale     knowledge = iota
	fresh               // it is
	followed            // a cancelling event follows it
	stored              // what it has just appended is, and it does not know so yet
	storedOld           // the same, and a cancelling event follows
)

// renewal is how far a renewal has come: the in-progress acknowledgement of the worker's delivery.
type renewal uint8

const (
	noRenewal renewal = iota
	sent
	confirmed
)

// Append is an event on its way into the log. A ghost's writer is dead.
type Append struct {
	Event   event
	Attempt uint8
	Ticket  uint8
	Carried bool // as in Log
	Fresh   bool // its expectation would hold now
	Stored  bool // and its writer does not know so yet
	Ghost   bool
}

// Job is the supervisor's execution.
type Job struct {
	Life    life
	Attempt uint8
	Lease   uint8
}

type life uint8

const (
	noJob life = iota
	alive
	endedWell
	endedBadly
)

// Launch is a start on its way to the supervisor.
type Launch struct {
	Attempt uint8 // 0: there is none
	Lease   uint8
	Refused bool
}

// Canceller is whoever takes the request to cancel.
type Canceller struct {
	At    cancelStep
	Event event
	Fresh bool
}

type cancelStep uint8

const (
	notAsked cancelStep = iota
	asked
	cancelSent
	cancelDone
)

// initial is a run that was requested, and two workers that wait for it.
func initial(b Bounds) State {
	s := State{Crashes: b.Crashes, Early: b.Early}
	s.Tickets[0].Place = waiting
	for i := range s.Workers {
		s.Workers[i] = Worker{At: idle, Confirmed: b.Hold, Known: b.Hold}
	}
	return s
}

// canonical returns the state that stands for all that differ from s in nothing that matters, and whether its two workers have
// changed places: they are alike.
func (s State) canonical(hold uint8) (State, bool) {
	for i := range s.Workers {
		w := &s.Workers[i]
		if !w.counts() {
			w.Confirmed = hold // a claim chooses, see claim
			if w.holds() {
				w.Lease, w.Renewal, w.Sent = 0, noRenewal, 0 // the execution has ended
			}
		}
		if !w.Append.Event.held() && !s.owns(i) {
			w.Known = hold // nobody asks
		}
	}
	for i := range s.Tickets {
		t := &s.Tickets[i]
		if t.Place == out && (uint8(i) != s.Log.Ticket || !s.Log.Event.held() && !s.Log.Carried) && attemptOf(uint8(i)) <= s.Log.Attempt {
			t.Timer = 1 // whenever it is delivered again, it is acknowledged
		}
	}
	a, b := s.Workers[0].order(), s.Workers[1].order()
	if a[0] < b[0] || a[0] == b[0] && (a[1] < b[1] || a[1] == b[1] && s.Log.Worker == 0) {
		return s, false
	}
	s.Workers[0], s.Workers[1] = s.Workers[1], s.Workers[0]
	if s.Log.Event != none {
		s.Log.Worker = 1 - s.Log.Worker
	}
	return s, true
}

// owns tells whether the run's last event says that worker i holds it.
func (s *State) owns(i int) bool { return s.Log.Event.held() && int(s.Log.Worker) == i }

// holds tells whether w holds an execution, or is about to.
func (w *Worker) holds() bool {
	return w.At == starting || w.At == holding || w.At == appending && w.Append.Event.held()
}

// counts tells whether anything hangs on w's lease.
func (w *Worker) counts() bool {
	return w.holds() && (w.Append.Event == pending || w.Launch.Attempt != 0 || w.Job.lives(w.Attempt))
}

// order is a worker as two numbers.
func (w *Worker) order() [2]uint64 {
	a := pack(uint8(w.At), w.Ticket, w.Attempt, uint8(w.Know), w.Lease, uint8(w.Renewal), w.Sent, w.Confirmed, w.Known,
		bit(w.Own), bit(w.Stop), bit(w.Append.Carried))
	b := pack(uint8(w.Append.Event), w.Append.Attempt, w.Append.Ticket, bit(w.Append.Fresh), bit(w.Append.Stored), bit(w.Append.Ghost),
		uint8(w.Job.Life), w.Job.Attempt, w.Job.Lease, w.Launch.Attempt, w.Launch.Lease, bit(w.Launch.Refused))
	return [2]uint64{a, b}
}

// pack puts fields of at most four bits into one number.
func pack(fields ...uint8) (n uint64) {
	for _, f := range fields {
		n = n<<4 | uint64(f)
	}
	return n
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
