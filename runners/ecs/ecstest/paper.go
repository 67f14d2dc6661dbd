package ecstest

import "time"

// Host is where tasks run: [Paper] or [Docker].
type Host interface {
	open(e *Endpoint) (host, error)
}

// host runs tasks. The endpoint calls it under its lock; what it calls of the endpoint it calls under that lock.
type host interface {
	launch(t *task) // comes to launched, or end
	stop(t *task)   // comes to gone, by exited or itself
	close() error
}

// Forever is how long a task runs that does not end by itself.
const Forever = time.Duration(-1)

// Plan is what happens to a task on paper.
type Plan struct {
	Runs   time.Duration  // how long it is RUNNING; [Forever]: until it is stopped
	Exit   int            // exit code of its containers
	Exits  map[string]int // of containers that have another one
	Reason string         // of the containers, beyond the code: an OutOfMemoryError
	Output []string       // lines of its first container, at its start

	Fails   string        // it never runs: AWS's reason, such as a CannotPullContainerError
	Deaf    bool          // it does not hear SIGTERM: stopTimeout later it is killed, with 137
	Goodbye time.Duration // how long it takes to end after SIGTERM, which gives 143 unless Polite says another code
	Polite  *int
}

// Paper is tasks that exist on paper only. plan is asked when a task is launched, under the endpoint's lock: it must not call it.
// nil: all run for ever.
func Paper(plan func(Task) Plan) Host {
	if plan == nil {
		plan = func(Task) Plan { return Plan{Runs: Forever} }
	}
	return &paper{plan: plan}
}

type paper struct {
	plan     func(Task) Plan
	endpoint *Endpoint
}

func (p *paper) open(e *Endpoint) (host, error) { return &paper{p.plan, e}, nil }

func (p *paper) close() error { return nil }

// forever is shared by all tasks that have it.
var forever = &Plan{Runs: Forever}

func (p *paper) launch(t *task) {
	e := p.endpoint
	plan := p.plan(t.seen())
	t.plan = forever
	if plan.Runs != Forever || plan.Fails != "" || plan.Deaf || plan.Goodbye != 0 || plan.Polite != nil || len(plan.Output) > 0 {
		t.plan = &plan
	}
	e.clock.after(e.knobs.Pace.Activating, func() {
		if t.ending {
			return
		}
		if plan.Fails != "" {
			e.end(t, "TaskFailedToStart", plan.Fails)
			return
		}
		for i := range t.containers {
			t.containers[i].runtime = t.id
		}
		e.launched(t)
		for _, line := range plan.Output {
			e.log(t, 0, e.clock.ms(), line)
		}
		if plan.Runs >= 0 {
			e.clock.after(plan.Runs, func() { p.exit(t, &plan) })
		}
	})
}

func (p *paper) exit(t *task, plan *Plan) {
	if t.status >= stopping {
		return
	}
	for i := range t.containers {
		code, ok := plan.Exits[t.definition.containers[i].Name]
		if !ok {
			code = plan.Exit
		}
		p.endpoint.exited(t, i, code, plan.Reason)
	}
}

func (p *paper) stop(t *task) {
	e := p.endpoint
	if t.started == 0 {
		e.gone(t)
		return
	}
	wait, code := t.plan.Goodbye, 143
	if t.plan.Polite != nil {
		code = *t.plan.Polite
	}
	grace := t.definition.containers[0].stopTimeout()
	if t.plan.Deaf || wait > grace {
		wait, code = grace, 137
	}
	e.clock.after(wait, func() {
		for i := range t.containers {
			e.exited(t, i, code, "")
		}
	})
}

// Exit ends a task on paper: all its containers exit with that code.
func (e *Endpoint) Exit(arn string, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tasks.byID[idOf(arn)]; t != nil && t.started != 0 {
		for i := range t.containers {
			e.exited(t, i, code, "")
		}
	}
}
