// Package ecs runs jobs as tasks of AWS ECS: on Fargate, or on the machines of a cluster. Any image will do, with nothing of Weir's in it.
//
// A job becomes a task definition, which is registered once for all runs that say the same, and a RunTask request, which says what differs
// from run to run. ECS starts one task for a token, however often it is asked, and the token is made of system, pool, run, attempt and try:
// so whoever starts an attempt again, and whatever answers were lost, it has one task. Whoever holds the run finds the task by its ARN, or
// by what it says it was started by.
//
// AWS allows so many calls a second for a whole account. So calls wait their turn, many tasks are looked at by one call, and no task is
// looked at by itself: see [throttle] and [watcher]. A queue of ECS's own events takes the place of looking, where there is one.
package ecs

import (
	"context"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/provision"
)

// Type is the ECS pool whose runs a worker starts.
var Type = runners.Type{
	Name:     "ecs",
	Summary:  "a task of AWS ECS, on Fargate or the cluster's own machines",
	Template: template, OwnFiles: true, New: newOne, Check: check, Provision: provision.Provision,
}

// PushType is the ECS pool whose runs the server starts by itself.
var PushType = runners.Type{
	Name:     "ecs:push",
	Summary:  "a task of AWS ECS, started by the server: no worker runs anywhere",
	Template: template, OwnFiles: true, New: newOne, Check: check, Provision: provision.Provision,
	Push: true,
	// A lost server's runs are held by another within 30 s.
	AckWait: 24 * time.Second,
}

func newOne(ctx context.Context, config runners.Config) (runners.Runner, error) {
	r, err := newRunner(ctx, config)
	if err != nil {
		return nil, err
	}
	return r, nil
}
