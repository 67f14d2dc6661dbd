package main

import (
	"testing"

	"github.com/weir-run/weir/schemas"
)

// A run that is pending for long says each time something else.
func TestStateSentence(t *testing.T) {
	queued, ran := int64(40), int64(1500)
	for _, tt := range []struct {
		event schemas.RunEvent
		want  string
	}{
		{schemas.RunEvent{State: schemas.Pending, Worker: "w", QueuedMS: &queued}, "claimed by w, after 40ms"},
		{schemas.RunEvent{State: schemas.Pending, Worker: "w", QueuedMS: &queued, Attempt: 2}, "claimed by w, after 40ms, attempt 2"},
		{schemas.RunEvent{State: schemas.Pending, Worker: "w", QueuedMS: &queued, Execution: "arn:task"}, "asked for execution arn:task"},
		{
			schemas.RunEvent{State: schemas.Pending, Worker: "w", QueuedMS: &queued, Reason: schemas.ReasonCapacity, Message: "no room; it is tried again"},
			"waits, capacity_unavailable: no room; it is tried again",
		},
		{schemas.RunEvent{State: schemas.Pending, Worker: "w", QueuedMS: &queued, Message: "no machine is ready"}, "waits: no machine is ready"},
		{
			schemas.RunEvent{State: schemas.Pending, Worker: "w", Execution: "arn:task", Reason: schemas.ReasonHeld, Message: "worker w goes on"},
			"claimed by w, held: worker w goes on",
		},
		{
			schemas.RunEvent{State: schemas.Pending, Worker: "w", Execution: "arn:task", Reason: schemas.ReasonWorkerStopped, Message: "another goes on"},
			"claimed by w, worker_stopped: another goes on",
		},
		{schemas.RunEvent{State: schemas.Running, Worker: "w", Execution: "arn:task"}, "execution arn:task"},
		{schemas.RunEvent{State: schemas.Completed, Worker: "w", Execution: "arn:task", RunningMS: &ran}, "after 1.50s"},
	} {
		if got := stateSentence(tt.event); got != tt.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", tt.event, got, tt.want)
		}
	}
}
