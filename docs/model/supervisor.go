package model

// stepSupervisor is what the supervisor of worker i and its job do by themselves. What its clock makes it do is in tick.
func (m *machine) stepSupervisor(s *State, i int) {
	w := s.Workers[i]
	if w.Launch.Attempt != 0 && !w.Launch.Refused {
		n := *s
		u := &n.Workers[i]
		if w.Launch.Lease == 0 && m.rules.RefuseLateStart {
			if u.Launch = (Launch{}); w.At == starting {
				u.Launch = Launch{Attempt: w.Launch.Attempt, Refused: true}
			}
			m.to(n, i, "'s supervisor refuses the start: its lease is over")
		} else {
			n.Twice = n.Twice || w.Job.Life == alive
			u.Job = Job{Life: alive, Attempt: w.Launch.Attempt, Lease: w.Launch.Lease}
			u.Launch = Launch{}
			m.to(n, i, "'s supervisor starts the execution")
		}
	}
	if w.Job.Life == alive {
		n := *s
		n.Workers[i].Job.Life, n.Workers[i].Job.Lease = endedWell, 0
		m.to(n, i, "'s job ends well")
		if m.bounds.Failures {
			n.Workers[i].Job.Life = endedBadly
			m.to(n, i, "'s job fails")
		}
	}
	if s.Crashes > 0 && (w.Job.Life == alive || w.Launch.Attempt != 0) {
		n := *s
		n.Crashes--
		n.Workers[i].Job, n.Workers[i].Launch = Job{}, Launch{}
		m.to(n, i, "'s supervisor is killed, and its job with it")
	}
}

// kill ends the execution of an attempt, if it lives.
func (w *Worker) kill(attempt uint8) {
	if w.Job.Life == alive && w.Job.Attempt == attempt {
		w.Job.Life, w.Job.Lease = endedBadly, 0
	}
}

// tick is one tick for everybody.
func (m *machine) tick(s *State) {
	n := *s
	for i := range n.Tickets {
		if t := &n.Tickets[i]; t.Place == out {
			if t.Timer--; t.Timer == 0 {
				t.Place = queued
			}
		}
	}
	for i := range n.Workers {
		w := &n.Workers[i]
		w.Confirmed = min(w.Confirmed+1, m.bounds.Hold)
		w.Known = min(w.Known+1, m.bounds.Hold)
		w.Lease -= min(w.Lease, 1)
		w.Launch.Lease -= min(w.Launch.Lease, 1)
		if w.Renewal != noRenewal {
			w.Sent = min(w.Sent+1, m.bounds.Hold)
		}
		if w.Job.Life == alive {
			w.Job.Lease -= min(w.Job.Lease, 1)
			if w.Job.Lease == 0 && m.rules.Switch {
				w.kill(w.Job.Attempt)
			}
		}
	}
	m.to(n, nobody, "a tick passes")
}
