package model

// read is the look at the log, and at all else that a worker asks, with which it begins every delivery. What it sends in
// consequence may be on its way for any time.
func (m *machine) read(n State, i int) {
	w := &n.Workers[i]
	l := n.Log
	w.Know = fresh
	switch next := attemptOf(w.Ticket) == l.Attempt+1; {
	case next && (l.Event == none || l.Event == retrying && !l.Carried), l.Carried && l.Ticket == w.Ticket:
		m.claim(n, i, l.Attempt+1, "reads the last event, and sends its claim")
	case l.Event == retrying && l.Ticket == w.Ticket: // its schedule may not be published
		w.Attempt, w.At = l.Attempt, publishing
		m.to(n, i, "reads that another attempt is to follow")
	case l.Event.held() && l.Ticket == w.Ticket:
		w.Attempt = l.Attempt
		if m.lost(&n, i) {
			m.takeOver(n, i)
		}
		if int(l.Worker) == i {
			return // its own supervisor is all it has to ask
		}
		left := m.bounds.Hold - n.Workers[l.Worker].Known
		if left == 0 {
			left = m.bounds.Hold // it may not have seen the record before
		}
		w.rest()
		if t := &n.Tickets[l.Ticket]; t.Place == out {
			t.Timer = left
		}
		m.to(n, i, "reads that the run has an owner, and gives the request back")
	case l.Event.final() && !m.rules.AckWhatIsOver:
		w.rest()
		m.to(n, i, "reads that the run is over")
	default: // it is over, or another ticket's
		m.acknowledge(n, i)
	}
}

// lost tells whether worker i may take the run from its owner. The delivery proves nothing: it may have been read late, or have
// come too early.
func (m *machine) lost(s *State, i int) bool {
	owner := &s.Workers[s.Log.Worker]
	if !m.rules.WatchOwner || int(s.Log.Worker) == i || owner.Known == m.bounds.Hold {
		return true
	}
	return owner.At != down && !owner.has(s.Log.Attempt, m.rules.AnswerWhole) // it answers that it has no such execution
}

// has is a worker's answer when it is asked for an execution.
func (w *Worker) has(attempt uint8, whole bool) bool {
	return w.Own && w.Attempt == attempt || whole && (w.holds() && w.Attempt == attempt || w.Job.Life != noJob && w.Job.Attempt == attempt)
}

func (j Job) lives(attempt uint8) bool { return j.Life == alive && j.Attempt == attempt }

// takeOver looks for the execution in the worker's own supervisor and sends the event that makes the run its own.
func (m *machine) takeOver(n State, i int) {
	w := &n.Workers[i]
	cancel := n.Log.Event == cancelling
	switch {
	case w.Job.Life != noJob && w.Job.Attempt == w.Attempt:
		w.Lease, w.Stop = m.bounds.Hold, cancel
		w.sendAppend(runningOr(cancel))
		m.to(n, i, "judges that the owner is lost, finds the execution, and sends its event")
		return
	case cancel && m.rules.LostCancelIsFinal:
		w.sendAppend(cancelled)
	case w.Attempt < m.bounds.Attempts:
		w.sendAppend(retrying)
		m.to(n, i, "judges that the owner is lost and the execution gone, and sends its event")
		w.Append.Carried = true
		m.to(n, i, "judges that the owner is lost and the execution gone, and sends its event, to go on with the same request")
		return
	default:
		w.sendAppend(crashed)
	}
	m.to(n, i, "judges that the owner is lost and the execution gone, and sends its event")
}
