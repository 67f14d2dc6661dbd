package consumers

import (
	"encoding/json"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// begins is closed when the execution's job runs; nil: it does.
func begins(exec runners.Execution) <-chan struct{} {
	p, ok := exec.(runners.Provisioned)
	if !ok {
		return nil
	}
	select {
	case <-p.Begun():
		return nil
	default:
		return p.Begun()
	}
}

// over tells whether the execution's job has ended, as far as its runner can tell before it says how.
func over(exec runners.Execution) bool {
	d, ok := exec.(runners.Drained)
	if !ok {
		return false
	}
	select {
	case <-d.Over():
		return true
	default:
		return false
	}
}

// stateOf is that of a run with that execution, which was not seen to end.
func stateOf(exec runners.Execution) schemas.State {
	if begins(exec) != nil {
		return schemas.Pending
	}
	return schemas.Running
}

// describe is the run's event for state with what is known of the execution by now.
func (w *Worker) describe(c *claim, exec runners.Execution, state schemas.State) *schemas.RunEvent {
	if i, ok := exec.(runners.Imaged); ok {
		c.image = i.Image()
	}
	if d, ok := exec.(runners.Described); ok {
		c.learn(d.Details())
	}
	if c.started.IsZero() && begins(exec) == nil {
		c.started = time.Now()
		if d, ok := exec.(runners.Dated); ok && d.Started().After(c.claimed) && d.Started().Before(c.started) {
			c.started = d.Started() // it is told of some time later
		}
	}
	e := c.event(w, state)
	e.Execution = exec.ID()
	return &e
}

// learn takes what is known of the execution by now.
func (c *claim) learn(details json.RawMessage) {
	if details != nil {
		c.details = details
	}
}
