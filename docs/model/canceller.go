package model

// stepCanceller is whoever takes the request to cancel: it reads the run's last event and appends by compare-and-set. When it is
// killed, the next one begins anew.
func (m *machine) stepCanceller(s *State) {
	c := s.Cancel
	n := *s
	switch c.At {
	case notAsked:
		n.Cancel.At = asked
		m.to(n, nobody, "somebody asks for the run's cancel")
	case asked:
		text := "the canceller reads the last event"
		switch e := s.Log.Event; {
		case e == none || e == retrying:
			n.Cancel = Canceller{At: cancelSent, Event: cancelled, Fresh: true}
		case e == pending || e == running:
			n.Cancel = Canceller{At: cancelSent, Event: cancelling, Fresh: true}
		default:
			n.Cancel = Canceller{At: cancelDone}
			text = "the canceller has nothing to do"
		}
		m.to(n, nobody, text)
	case cancelSent:
		lost := *s
		lost.Cancel = Canceller{At: asked}
		m.to(lost, nobody, "the canceller is killed; another takes the request")
		if n.Cancel = (Canceller{At: asked}); c.Fresh || !m.rules.CompareAndSet {
			l := n.Log // the event names the owner, its attempt and its request, as the one before does
			l.Event, l.Carried = c.Event, false
			n.store(l, canceller, false)
			m.to(n, nobody, "the canceller has its event stored: "+string(words[c.Event]))
			return
		}
		m.to(n, nobody, "the canceller is overtaken")
	}
}
