package ecstest

import "time"

// How long AWS remembers a task that has stopped, and a clientToken.
const (
	stoppedTime = time.Hour
	tokenTime   = 24 * time.Hour
)

// essentialExited is AWS's reason of a task whose job has ended, well or not.
const essentialExited = "Essential container in task exited"

// outOfMemory is a container's reason when its memory limit has killed it.
const outOfMemory = "OutOfMemoryError: Container killed due to memory usage"

// A task's life. Every function here holds the endpoint's lock.

func (e *Endpoint) begin(t *task) {
	e.tasks.count++
	t.id, t.order, t.created = newID(), e.tasks.count, e.clock.ms()
	t.visible = t.created + stamp(e.knobs.Visible.Milliseconds())
	t.containers = make([]containerState, len(t.definition.containers))
	e.tasks.byID[t.id] = t
	e.move(t, provisioning)
	e.clock.after(e.knobs.Pace.Provisioning, func() { e.provisioned(t) })
}

// move brings the task to a state.
func (e *Endpoint) move(t *task, to state) {
	t.status = to
	e.changed(t)
}

// changed counts a change and tells of it.
func (e *Endpoint) changed(t *task) {
	t.version++
	e.tell(t)
}

func (e *Endpoint) provisioned(t *task) {
	switch {
	case t.ending:
	case e.knobs.NoCapacity[t.placedOn()] == InTask:
		e.end(t, "TaskFailedToStart", noCapacity+".")
	case t.definition.settings.ExecutionRoleARN != "" && e.unknownRole(t.definition.settings.ExecutionRoleARN):
		e.end(t, "TaskFailedToStart", "ECS was unable to assume the role '"+t.definition.settings.ExecutionRoleARN+
			"' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions "+
			"and that your IAM user has permissions to pass this role.")
	default:
		e.move(t, pending)
		e.clock.after(e.knobs.Pace.Pending, func() { e.activate(t) })
	}
}

func (e *Endpoint) activate(t *task) {
	if t.ending {
		return
	}
	t.pullStarted = e.clock.ms()
	e.move(t, activating)
	if reason := e.openLogs(t); reason != "" {
		e.end(t, "TaskFailedToStart", reason)
		return
	}
	e.host.launch(t)
}

// launched is called by the host once all containers run.
func (e *Endpoint) launched(t *task) {
	if t.ending {
		return
	}
	if t.pullStopped == 0 {
		t.pullStopped = e.clock.ms()
	}
	t.started = e.clock.ms()
	for i := range t.containers {
		t.containers[i].begun = true
	}
	e.move(t, running)
}

// exited is called by the host when a container has ended. reason is AWS's beyond the code, or empty.
func (e *Endpoint) exited(t *task, i, code int, reason string) {
	c := &t.containers[i]
	if c.ended {
		return
	}
	exit := int32(code) //nolint:gosec // an exit code
	c.ended, c.code, c.reason = true, &exit, reason
	left := 0
	for j := range t.containers {
		if !t.containers[j].ended {
			left++
		}
	}
	if t.definition.containers[i].essential() || left == 0 {
		e.end(t, "EssentialContainerExited", essentialExited)
	}
	if left == 0 && t.status == stopping {
		e.gone(t)
	}
}

// end has the task stop, for the first reason that there is.
func (e *Endpoint) end(t *task, code, reason string) {
	if t.ending {
		return
	}
	t.ending, t.stoppingAt, t.stopCode, t.reason = true, e.clock.ms(), code, reason
	if t.status < activating {
		e.changed(t)
		e.clock.after(0, func() { e.gone(t) })
		return
	}
	e.move(t, deactivating)
	e.clock.after(e.knobs.Pace.Deactivating, func() {
		e.move(t, stopping)
		for i := range t.containers {
			if !t.containers[i].ended {
				e.host.stop(t)
				return
			}
		}
		e.gone(t)
	})
}

// gone is called once nothing of the task runs.
func (e *Endpoint) gone(t *task) {
	if t.status >= deprovisioning {
		return
	}
	for i := range t.containers {
		if t.containers[i].ended {
			t.executionStopped = e.clock.ms()
		}
	}
	e.move(t, deprovisioning)
	e.clock.after(e.knobs.Pace.Deprovisioning, func() {
		t.stoppedAt = e.clock.ms()
		e.move(t, stopped)
		t.plan, t.body = nil, nil
		e.clock.after(stoppedTime, func() { delete(e.tasks.byID, t.id) })
	})
}

// Interrupt takes a Spot task's capacity away: it is told, and has two minutes, or less when its stopTimeout is shorter.
func (e *Endpoint) Interrupt(arn string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tasks.byID[idOf(arn)]; t != nil {
		e.end(t, "SpotInterruption", "Your Spot Task was interrupted.")
	}
}

// Forget has AWS know nothing of a task any more.
func (e *Endpoint) Forget(arn string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.tasks.byID, idOf(arn))
}

// stopTimeout is how long a container has between SIGTERM and SIGKILL.
func (d *containerDefinition) stopTimeout() time.Duration {
	if d.StopTimeout == nil {
		return 30 * time.Second
	}
	return time.Duration(*d.StopTimeout) * time.Second
}
