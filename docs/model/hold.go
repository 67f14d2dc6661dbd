package model

// hold is a worker that holds an execution: it renews until that ends, is stopped, or the lease is over.
func (m *machine) hold(n State, i int) {
	w := n.Workers[i]
	if w.Know == followed {
		seen := n
		seen.Workers[i].Know, seen.Workers[i].Stop = fresh, true
		m.to(seen, i, "sees that its run is to be cancelled")
	}
	switch {
	case !w.Job.lives(w.Attempt):
		m.ended(n, i)
		return
	case w.Lease == 0:
		m.overtaken(n, i)
		return
	case w.Stop:
		stopped := n
		stopped.Workers[i].kill(w.Attempt)
		m.to(stopped, i, "has the execution stopped")
	}
	m.renew(n, i)
}

// renew is one renewal, in its steps.
func (m *machine) renew(n State, i int) {
	lost := n
	w, u := n.Workers[i], &n.Workers[i]
	switch w.Renewal {
	case noRenewal:
		u.Renewal, u.Sent = sent, 0
		m.to(n, i, "sends a renewal")
		return
	case sent:
		u.Renewal = confirmed
		n.renewTicket(w.Ticket, m.bounds.AckWait)
		m.to(n, i, "'s renewal is taken by NATS")
	case confirmed:
		until := m.bounds.Hold - w.Sent
		if m.rules.LeaseFromRecord {
			until = min(until, m.bounds.Hold-w.Confirmed)
		}
		if u.Renewal, u.Sent = noRenewal, 0; until > w.Lease {
			u.Lease, u.Job.Lease = until, until
		}
		m.to(n, i, "hears that its renewal is confirmed, and tells its supervisor")
	}
	lost.Workers[i].Renewal, lost.Workers[i].Sent = noRenewal, 0
	m.to(lost, i, "'s renewal is lost")
}

// record is the worker's record, from its sending to its confirmation: the other worker may have seen it, on its way, as soon as it
// was sent. Where it is stored and that is not confirmed, others wait longer and the worker is none the wiser.
func (m *machine) record(s *State, i int) {
	w := s.Workers[i]
	if w.At == down || !w.holds() && !s.owns(i) {
		return
	}
	before := w.Confirmed
	if !w.counts() {
		before = 1 // how late that is heard is all the same
	}
	for ago := range before {
		n := *s
		u := &n.Workers[i]
		if u.Confirmed, u.Known = ago, ago; !m.rules.LeaseFromSending {
			u.Confirmed = 0
		}
		m.to(n, i, [...]string{"writes its record, and hears that it is stored", "hears that the record it wrote before is stored"}[min(ago, 1)])
	}
}

// ended reports how the execution ended.
func (m *machine) ended(n State, i int) {
	w := &n.Workers[i]
	mine := w.Job.Attempt == w.Attempt
	switch {
	case mine && w.Job.Life == endedWell:
		m.report(n, i, completed)
	case w.Stop:
		m.report(n, i, cancelled)
	case w.Attempt < m.bounds.Attempts:
		m.report(n, i, retrying)
	case mine && w.Job.Life == endedBadly:
		m.report(n, i, failed)
	default:
		m.report(n, i, crashed)
	}
}

// report sends the last event of the attempt. The request is acknowledged when it is stored.
func (m *machine) report(n State, i int, e event) {
	w := &n.Workers[i]
	w.Renewal, w.Sent, w.Lease = noRenewal, 0, 0
	if !m.rules.FinalBeforeAck {
		n.Tickets[w.Ticket] = Ticket{Place: gone}
	}
	w.sendAppend(e)
	m.to(n, i, "sends the event that ends the attempt: "+string(words[e]))
}
