package ecstest

import (
	"encoding/json"
	"math/rand/v2"
	"time"
)

// Events is how EventBridge delivers "ECS Task State Change" to a queue.
type Events struct {
	Queue  string        // its name; empty: nowhere
	Late   time.Duration // after the change
	Jitter time.Duration // up to so much later, each by itself: out of order
	Twice  bool          // each of them
}

// tell tells of a task's change.
func (e *Endpoint) tell(t *task) {
	q := e.queues[e.knobs.Events.Queue]
	if q == nil {
		return
	}
	body := e.event(t)
	for range map[bool]int{false: 1, true: 2}[e.knobs.Events.Twice] {
		late := e.knobs.Events.Late
		if jitter := e.knobs.Events.Jitter; jitter > 0 {
			late += rand.N(jitter) //nolint:gosec // any order will do
		}
		if late == 0 {
			e.send(q, body)
			continue
		}
		e.clock.after(late, func() { e.send(q, body) })
	}
}

// event is that change as EventBridge words it: the task, with its times as text.
func (e *Endpoint) event(t *task) string {
	var detail map[string]any
	view, _ := json.Marshal(t.view(false)) // it has nothing that cannot be written
	_ = json.Unmarshal(view, &detail)
	text := func(s stamp) string { return time.UnixMilli(int64(s)).UTC().Format("2006-01-02T15:04:05.000Z") }
	for name, at := range map[string]stamp{
		"createdAt": t.created, "pullStartedAt": t.pullStarted, "pullStoppedAt": t.pullStopped, "startedAt": t.started, "stoppingAt": t.stoppingAt,
		"executionStoppedAt": t.executionStopped, "stoppedAt": t.stoppedAt,
	} {
		if at != 0 {
			detail[name] = text(at)
		}
	}
	detail["updatedAt"] = text(e.clock.ms())
	body, _ := json.Marshal(map[string]any{
		"version": "0", "id": newID(), "detail-type": "ECS Task State Change", "source": "aws.ecs", "account": Account, "time": text(e.clock.ms()),
		"region": Region, "resources": []string{t.arn()}, "detail": detail,
	})
	return string(body)
}
