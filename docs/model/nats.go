package model

// follows is schemas.State.CanFollow as a table.
var follows = func() (t [len(words)][len(words)]bool) {
	for from, a := range words {
		for to, b := range words {
			t[from][to] = a.CanFollow(b)
		}
	}
	return t
}()

// stepNATS is what the pool's stream does by itself.
func (m *machine) stepNATS(s *State) {
	if s.Early > 0 {
		m.early(s)
	}
	for i, t := range s.Tickets {
		if t.Place == scheduled {
			n := *s
			n.Tickets[i].Place = waiting
			m.to(n, nobody, "the schedule of the next attempt fires")
		}
		if t.Place != waiting && t.Place != queued {
			continue
		}
		for w := range s.Workers {
			if s.Workers[w].At == idle {
				n := *s
				n.Tickets[i] = Ticket{Place: out, Timer: m.bounds.AckWait}
				n.Workers[w].At, n.Workers[w].Ticket = got, uint8(i)
				m.to(n, w, [...]string{"is sent the request", "is sent the request of the next attempt"}[min(i, 1)])
			}
		}
	}
}

// early is a redelivery without cause: of one request, or of all that are out when a node's clock jumps. That clock says of every
// record that it is old, and may drop them all as too old to be kept. Whoever finds none begins to count then.
func (m *machine) early(s *State) {
	all := *s
	all.Early--
	for i, t := range s.Tickets {
		if t.Place == out {
			n := *s
			n.Early--
			n.Tickets[i].Place, all.Tickets[i].Place = queued, queued
			m.to(n, nobody, "NATS takes the request back early")
		}
	}
	for i := range all.Workers {
		if !m.rules.OwnClock {
			all.Workers[i].Known = m.bounds.Hold
		}
	}
	m.to(all, nobody, "the clock of a NATS node jumps: it takes back all that is out")
	for i := range all.Workers {
		if all.Workers[i].Known = 0; !m.rules.TakenBack {
			all.Workers[i].Known = m.bounds.Hold
		}
	}
	m.to(all, nobody, "the clock of a NATS node jumps far: it takes back all that is out, and drops the workers' records")
}

// renewTicket is an in-progress acknowledgement. NATS takes it from anybody and confirms it even for a request that is gone; it
// does not take back a redelivery that is queued.
func (s *State) renewTicket(ticket, ackWait uint8) {
	if t := &s.Tickets[ticket]; t.Place == out {
		t.Timer = ackWait
	}
}

// schedule publishes the ticket of an attempt. On the subject of one that has not fired yet it takes that one's place.
func (s *State) schedule(attempt uint8, r Rules) {
	if !r.SchedulePerTry {
		for i := range s.Tickets {
			if s.Tickets[i].Place == scheduled {
				s.Tickets[i].Place = absent
			}
		}
	}
	for first, i := ticketOf(attempt), ticketOf(attempt); i < first+2; i++ {
		switch s.Tickets[i].Place {
		case absent:
			s.Tickets[i].Place = scheduled
			return
		case scheduled:
			return
		}
	}
}

// sendAppend puts an event on its way into the log.
func (w *Worker) sendAppend(e event) {
	w.At, w.Append = appending, Append{Event: e, Attempt: w.Attempt, Ticket: w.Ticket, Fresh: w.Know == fresh}
}

// stepLog is the log's decision about an event of worker i. Being told of it late is its own step, see [machine.heard].
func (m *machine) stepLog(s *State, i int) {
	a := s.Workers[i].Append
	if a.Event == none || a.Stored {
		return
	}
	n := *s
	w := &n.Workers[i]
	if a.Ghost {
		w.Append = Append{}
		m.to(n, i, "died before its event reached NATS")
		n = *s
	}
	if !a.Fresh && m.rules.CompareAndSet {
		if w.Append = (Append{}); a.Ghost {
			return
		}
		m.refused(n, i, a.Event)
		return
	}
	n.store(Log{Event: a.Event, Attempt: a.Attempt, Worker: uint8(i), Ticket: a.Ticket, Carried: a.Carried && m.rules.MarkCarried}, i, a.Ghost)
	if w.Append.Stored = true; a.Ghost {
		w.Append = Append{}
	} else {
		w.Know = stored
	}
	m.to(n, i, stores[a.Event])
}

// stores are the labels of events that are stored.
var stores = func() (t [len(words)]string) {
	for i, w := range words {
		t[i] = "has its event stored: " + string(w)
	}
	return t
}()

// store makes l the last event: whoever expected another to be the last expects in vain from now on.
func (s *State) store(l Log, writer int, ghost bool) {
	if !follows[s.Log.Event][l.Event] || l.Attempt != s.Log.Attempt+bit(l.Event == pending) {
		s.Broken = true
	}
	s.Log = l
	s.Cancel.Fresh = s.Cancel.Fresh && writer == canceller
	for i := range s.Workers {
		if i == writer && !ghost {
			continue
		}
		w := &s.Workers[i]
		w.Append.Fresh = false
		switch {
		case writer == canceller && w.Know == fresh && w.Own:
			w.Know = followed
		case writer == canceller && w.Know == stored:
			w.Know = storedOld
		default:
			w.Know = stale
		}
	}
}
