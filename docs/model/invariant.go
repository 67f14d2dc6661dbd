package model

// violated says which promise s breaks, or "".
func (s *State) violated() string {
	lives := 0
	for _, w := range s.Workers {
		if w.Job.Life != alive {
			continue
		}
		lives++
		if s.Log.Event.final() {
			return "an execution lives after the run's final event"
		}
		if !s.Log.Event.held() || s.Log.Attempt != w.Job.Attempt {
			return "an execution lives that is not the one of the run's last event"
		}
	}
	switch {
	case lives > 1 || s.Twice:
		return "two executions of the run live at once"
	case s.Broken:
		return "an event is stored that may not follow the one before it"
	case !s.carried():
		return "no request carries the run to its next event"
	}
	return ""
}

// carried tells whether a request is there that whoever gets it goes on from, so that the run does not hang on the memory of
// one worker.
func (s *State) carried() bool {
	for i, t := range s.Tickets {
		next := attemptOf(uint8(i)) == s.Log.Attempt+1 && !s.Log.Event.held()
		if (next || s.Log.Event != none && uint8(i) == s.Log.Ticket) && t.Place != absent && t.Place != gone {
			return true
		}
	}
	return s.Log.Event.final()
}

// settled tells whether the run is over and nothing of it is left.
func (s *State) settled() bool {
	for _, t := range s.Tickets {
		if t.Place != absent && t.Place != gone {
			return false
		}
	}
	for _, w := range s.Workers {
		if w.Job.Life == alive || w.Launch.Attempt != 0 || w.At != idle && w.At != down {
			return false
		}
	}
	return s.Log.Event.final()
}
