package ecstest

import (
	"regexp"
	"slices"
)

var taskID = regexp.MustCompile(`^(arn:aws:ecs:[a-z0-9-]+:\d{12}:task/([\w-]+/)?)?([\w-]{32}|[\w-]{36})$`)

func describeTasks(c *call, in *struct {
	Cluster string
	Tasks   []string
	Include []string
},
) (any, error) {
	on, err := c.clusterOf(in.Cluster)
	if err != nil {
		return nil, err
	}
	switch {
	case len(in.Tasks) == 0:
		return nil, invalid("Tasks cannot be empty.")
	case len(in.Tasks) > 100:
		return nil, invalid("Tasks can have at most 100 items.")
	}
	tags := slices.Contains(in.Include, "TAGS")
	views, failures := []taskView{}, []failureView{}
	for _, id := range in.Tasks {
		if !taskID.MatchString(id) {
			return nil, invalid("Invalid identifier: Identifier is for %s. Your accountId is %s", id, Account)
		}
		name := arn("ecs", "task/"+on.name+"/"+idOf(id))
		if err := c.may(name, map[string]string{"ecs:cluster": on.arn}); err != nil {
			return nil, err
		}
		if t := c.find(id, on); t != nil {
			views = append(views, t.view(tags))
		} else {
			failures = append(failures, failureView{ARN: name, Reason: "MISSING"})
		}
	}
	return map[string]any{"tasks": views, "failures": failures}, nil
}

// find finds a task that can be seen.
func (e *Endpoint) find(id string, on *cluster) *task {
	t := e.tasks.byID[idOf(id)]
	if t == nil || t.cluster != on || t.visible > e.clock.ms() {
		return nil
	}
	return t
}

func listTasks(c *call, in *struct {
	Cluster, Family, StartedBy, DesiredStatus, LaunchType, NextToken string
	MaxResults                                                       int
},
) (any, error) {
	on, err := c.clusterOf(in.Cluster)
	if err != nil {
		return nil, err
	}
	if err := c.may("*", map[string]string{"ecs:cluster": on.arn}); err != nil {
		return nil, err
	}
	if in.StartedBy != "" && (in.Family != "" || in.LaunchType != "") {
		return nil, invalid("cannot list tasks with startedBy and another filter.")
	}
	names := []string{}
	for _, t := range c.tasks.in(on) {
		switch {
		case t.visible > c.clock.ms(),
			t.ending != (in.DesiredStatus == "STOPPED"),
			in.StartedBy != "" && t.startedBy != in.StartedBy,
			in.Family != "" && t.definition.settings.Family != in.Family,
			in.LaunchType != "" && t.launchType != in.LaunchType:
		default:
			names = append(names, t.arn())
		}
	}
	page, next, err := paged(names, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return map[string]any{"taskArns": page, "nextToken": next}, nil
}

func stopTask(c *call, in *struct{ Cluster, Task, Reason string }) (any, error) {
	on, err := c.clusterOf(in.Cluster)
	if err != nil {
		return nil, err
	}
	if err := c.may(arn("ecs", "task/"+on.name+"/"+idOf(in.Task)), map[string]string{"ecs:cluster": on.arn}); err != nil {
		return nil, err
	}
	if !taskID.MatchString(in.Task) {
		return nil, invalid("taskId length should be one of [32,36]")
	}
	t := c.find(in.Task, on)
	if t == nil {
		return nil, invalid("The referenced task was not found.")
	}
	if in.Reason == "" {
		in.Reason = "Task stopped by user"
	}
	c.end(t, "UserInitiated", in.Reason)
	return map[string]any{"task": t.view(true)}, nil
}
