package ecstest

import (
	"time"
)

// Knobs is how the endpoint behaves. Its zero value is the friendliest AWS there could be: everything at once, for everybody.
type Knobs struct {
	Pace    Pace
	Visible time.Duration     // how long after RunTask other calls do not see the task
	Limits  map[string]Bucket // calls, by action such as ecs:RunTask; "ecs:*" is one bucket for all others of the service

	// NoCapacity tells what happens to tasks of a capacity provider (FARGATE, FARGATE_SPOT, or EC2 for that launch type).
	NoCapacity map[string]Refusal

	Instances bool // the clusters have container instances, for the launch type EC2

	Ingestion  time.Duration // how long after it was written a log line can be read
	EmptyPages bool          // FilterLogEvents answers with an empty page and a token first, as AWS may

	Events Events

	// Before and After are called around each call, outside of locks: a test may hold it there, or break something.
	Before, After func(Call)
}

// Pace is how long a task stays in each state.
type Pace struct {
	Provisioning, Pending, Activating, Deactivating, Deprovisioning time.Duration
}

// Call is one request, before it was looked at.
type Call struct {
	Action string // as a policy names it: ecs:RunTask
	Key    string // the access key that signed it
	Body   []byte
}

// Refusal is how there is no capacity.
type Refusal int

// The refusals.
const (
	InAnswer Refusal = iota + 1 // RunTask answers with a failure, and makes no task
	InTask                      // it makes one that ends before it began
)

// Tune changes the knobs.
func (e *Endpoint) Tune(tune func(*Knobs)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	tune(&e.knobs)
	clear(e.buckets)
}

// LoseAnswers has the connection cut instead of the next n answers to an action, which is done all the same.
func (e *Endpoint) LoseAnswers(action string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost[action] = n
}

// Calls is how often an action was called, refused or not.
func (e *Endpoint) Calls(action string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[action]
}

// Counts is how often each action was called.
func (e *Endpoint) Counts() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	counts := make(map[string]int, len(e.calls))
	for action, n := range e.calls {
		counts[action] = n
	}
	return counts
}
