package model

// stepWorker is every step that worker i can take now. Between any two of them any time may pass: that is also what a frozen
// worker and a slow network are.
func (m *machine) stepWorker(s *State, i int) {
	w := s.Workers[i]
	if w.At != down && s.Crashes > 0 {
		n := *s
		n.Crashes--
		n.Workers[i].die()
		m.to(n, i, "is killed")
	}
	m.record(s, i)
	if w.At == idle && w.Job.Life == noJob || w.At == holding && !m.rules.StopEmpty {
		n := *s
		n.Workers[i].die()
		n.Workers[i].Known = m.bounds.Hold // there is none, and that is meant
		m.to(n, i, "stops, and takes its record back")
	}
	if w.Append.Ghost && (w.At == down || w.At == got || w.At == starting) {
		return // the event of its former life is on its way yet
	}
	n := *s
	u := &n.Workers[i]
	switch w.At {
	case down:
		if w.Launch.Attempt == 0 || !m.rules.StartsInOrder {
			m.restart(n, i)
		}
	case got:
		m.read(n, i)
	case appending:
		if w.Append.Stored {
			m.heard(n, i)
		}
	case starting:
		switch {
		case w.Launch.Refused || w.Launch.Attempt == 0 && (w.Job.Life == noJob || w.Job.Attempt != w.Attempt):
			u.Launch = Launch{}
			m.ended(n, i)
		case w.Launch.Attempt == 0:
			u.sendAppend(runningOr(w.Stop))
			m.to(n, i, "hears that the execution runs, and sends its event")
		}
	case holding:
		m.hold(n, i)
	case publishing:
		n.schedule(w.Attempt+1, m.rules)
		u.At = acknowledging
		m.to(n, i, "publishes the schedule of the next attempt")
	case acknowledging:
		m.acknowledge(n, i)
	}
}

// rest makes w a worker with a free slot.
func (w *Worker) rest() { *w = Worker{At: idle, Known: w.Known, Job: w.Job, Launch: w.Launch} }

// die leaves what a killed worker leaves: its supervisor, and what it has sent.
func (w *Worker) die() {
	ghost := w.Append
	if ghost.Ghost = true; ghost.Event == none || ghost.Stored {
		ghost = Append{}
	}
	if w.Launch.Refused {
		w.Launch = Launch{}
	}
	*w = Worker{Known: w.Known, Job: w.Job, Launch: w.Launch, Append: ghost}
}

// restart is a worker under its old name. An execution of its former life it goes on with, or ends: an event of its own shuts
// everybody else out, and only then is the lease renewed.
func (m *machine) restart(n State, i int) {
	u := &n.Workers[i]
	u.Confirmed, u.Known = 0, 0 // that a record is confirmed comes before all else
	l := n.Log
	mine := l.Event.held() || !m.rules.ReclaimHeld && l.Event == retrying
	if mine && u.Job.Life != noJob && int(l.Worker) == i && l.Attempt == u.Job.Attempt {
		u.Ticket, u.Attempt, u.Know, u.Own, u.Stop, u.Lease = l.Ticket, l.Attempt, fresh, true, l.Event == cancelling, u.Job.Lease
		u.sendAppend(runningOr(u.Stop))
		m.to(n, i, "is started again, finds its execution, and sends an event to go on with it")
		return
	}
	u.kill(u.Job.Attempt)
	u.rest()
	m.to(n, i, "is started again")
}

// claim sends the claim of an attempt. A worker whose last confirmed record was sent more than a third of the ack wait ago makes none,
// since little would be left of the lease.
func (m *machine) claim(n State, i int, attempt uint8, text string) {
	u := &n.Workers[i]
	u.Attempt = attempt
	for ago := range m.bounds.AckWait/3 + 1 {
		u.Confirmed, u.Known = ago, ago
		if u.Lease = m.bounds.Hold; m.rules.FirstLeaseToo {
			u.Lease -= ago
		}
		u.sendAppend(pending)
		m.to(n, i, text)
	}
}

// runningOr is the event of an execution that lives.
func runningOr(stop bool) event {
	if stop {
		return cancelling
	}
	return running
}

// heard is the answer to an append that is stored, or what its writer reads in the log when the answer is lost.
func (m *machine) heard(n State, i int) {
	u := &n.Workers[i]
	e, carried := u.Append.Event, u.Append.Carried
	if u.Append = (Append{}); u.Know == stale { // an answer on its way does not say so, the log would
		m.overtaken(n, i)
	}
	u.Know, u.Own = heard[u.Know], true
	switch {
	case e == pending:
		if !m.rules.StaysOver {
			u.Lease = m.bounds.Hold - u.Confirmed // by a renewal
		}
		u.At, u.Launch = starting, Launch{Attempt: u.Attempt, Lease: u.Lease}
		m.to(n, i, "hears that its claim is stored, and has its supervisor start the execution")
	case e.held():
		u.At = holding
		m.to(n, i, "hears that its event is stored, and holds the execution")
	case carried:
		m.claim(n, i, u.Attempt+1, "hears that its event is stored, and claims the next attempt with the same request")
	case e == retrying:
		u.Job.forget(u.Attempt)
		n.schedule(u.Attempt+1, m.rules)
		u.At = acknowledging
		m.to(n, i, "hears that its event is stored, and publishes the schedule of the next attempt")
	default:
		u.Job.forget(u.Attempt)
		m.acknowledge(n, i)
	}
}

// heard is what a writer knows once it has heard that its event is stored.
var heard = [...]knowledge{stored: fresh, storedOld: followed}

// forget drops what the supervisor keeps of an execution whose end is recorded.
func (j *Job) forget(attempt uint8) {
	if j.Attempt == attempt && j.Life != alive {
		*j = Job{}
	}
}

// refused is an event that was not stored. If it is a cancel of its own run that came first, the owner goes on from there; one
// that came before a claim has ended the run.
func (m *machine) refused(n State, i int, e event) {
	u := &n.Workers[i]
	if u.Know != followed || e == pending {
		m.overtaken(n, i)
		return
	}
	u.Know, u.Stop = fresh, true
	switch e {
	case running, cancelling:
		u.At = holding
		m.to(n, i, "is refused its event, and sees that its run is to be cancelled")
	case retrying, crashed:
		m.report(n, i, cancelled)
	default:
		m.report(n, i, e)
	}
}

// overtaken is a writer that is shut out: it says nothing more about the run, and ends what it started.
func (m *machine) overtaken(n State, i int) {
	u := &n.Workers[i]
	u.kill(u.Attempt)
	u.rest()
	m.to(n, i, "is overtaken")
}

// acknowledge ends the request, or is lost.
func (m *machine) acknowledge(n State, i int) {
	u := &n.Workers[i]
	ticket := u.Ticket
	u.rest()
	m.to(n, i, "acknowledges the request, and that is lost")
	n.Tickets[ticket] = Ticket{Place: gone}
	m.to(n, i, "acknowledges the request")
}
