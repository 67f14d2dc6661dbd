package ecs

import (
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// task is what ECS has told of a task at one time, by a call or by an event, whose JSON it reads. It is not changed.
type task struct {
	ARN              string            `json:"taskArn"`
	Cluster          string            `json:"clusterArn"`
	Definition       string            `json:"taskDefinitionArn"`
	Status           string            `json:"lastStatus"`
	StartedBy        string            `json:"startedBy"`
	Version          int64             `json:"version"` // counts changes; 0: it is not told
	LaunchType       string            `json:"launchType"`
	CapacityProvider string            `json:"capacityProviderName"`
	PlatformVersion  string            `json:"platformVersion"`
	StopCode         string            `json:"stopCode"`
	StoppedReason    string            `json:"stoppedReason"`
	Containers       []container       `json:"containers"`
	CreatedAt        time.Time         `json:"createdAt"`
	PullStartedAt    time.Time         `json:"pullStartedAt"`
	PullStoppedAt    time.Time         `json:"pullStoppedAt"`
	StartedAt        time.Time         `json:"startedAt"`
	StoppingAt       time.Time         `json:"stoppingAt"`
	ExecutionStopped time.Time         `json:"executionStoppedAt"` // when its containers had ended; its network goes after that
	StoppedAt        time.Time         `json:"stoppedAt"`
	Tags             map[string]string `json:"-"` // nil where they were not asked for
}

// container is one of a task.
type container struct {
	Name        string `json:"name"`
	Status      string `json:"lastStatus"`
	ExitCode    *int32 `json:"exitCode"`
	Reason      string `json:"reason"`
	ImageDigest string `json:"imageDigest"`
}

// The states of a task, in order.
const (
	provisioning   = "PROVISIONING" // it waits for room, and gets its network
	pending        = "PENDING"      // it waits for the agent that starts it
	activating     = "ACTIVATING"   // images come and containers are made
	running        = "RUNNING"
	deactivating   = "DEACTIVATING"
	stopping       = "STOPPING"
	deprovisioning = "DEPROVISIONING" // its containers have ended
	stopped        = "STOPPED"
)

var states = []string{provisioning, pending, activating, running, deactivating, stopping, deprovisioning, stopped}

// rank is the place of a task's state in their order. ECS may come to know others: they are before the end.
func (t *task) rank() int { return rankOf(t.Status) }

func rankOf(status string) int { return max(slices.Index(states, status), 0) }

// before tells whether t is older news than what is known: answers and events may come in any order.
func (t *task) before(known *task) bool {
	if t.Version > 0 && known.Version > 0 && t.Version != known.Version {
		return t.Version < known.Version
	}
	return t.rank() < known.rank()
}

// waits tells whether it is open whether the task has room: it has none yet, or is on its way out without having run.
func (t *task) waits(job string) bool {
	return t.Status == provisioning || t.rank() > rankOf(running) && !t.ended() && !t.ran(job)
}

// ended tells whether nothing will change any more that matters to a run: the task has stopped; or its containers have, ECS has told how
// and why, and only its network is still to go, for which Fargate takes a quarter of a minute.
func (t *task) ended() bool {
	if t.Status != deprovisioning || t.StopCode == "" || t.ExecutionStopped.IsZero() || len(t.Containers) == 0 {
		return t.Status == stopped
	}
	return !slices.ContainsFunc(t.Containers, func(c container) bool { return c.ExitCode == nil })
}

// ran tells whether the job's container has run, or runs.
func (t *task) ran(job string) bool {
	if !t.StartedAt.IsZero() || t.Status == running {
		return true
	}
	c := t.container(job)
	return c != nil && c.ExitCode != nil
}

// container is the one of that name. Without a name it is the only one there is.
func (t *task) container(name string) *container {
	for i := range t.Containers {
		if t.Containers[i].Name == name || name == "" && len(t.Containers) == 1 {
			return &t.Containers[i]
		}
	}
	return nil
}

// end is when the job's container had ended.
func (t *task) end() time.Time {
	if !t.ExecutionStopped.IsZero() {
		return t.ExecutionStopped
	}
	return t.StoppedAt
}

// phase is when the task's present phase began: what it does next is expected the sooner, the younger that is.
func (t *task) phase() time.Time {
	latest := t.CreatedAt
	for _, at := range []time.Time{t.PullStartedAt, t.PullStoppedAt, t.StartedAt, t.StoppingAt, t.ExecutionStopped} {
		if at.After(latest) {
			latest = at
		}
	}
	return latest
}

// taskID is the last part of a task's ARN, which names its log streams.
func taskID(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// taskOf is what an answer of ECS says of a task.
func taskOf(t *types.Task) *task {
	told := &task{
		ARN: aws.ToString(t.TaskArn), Cluster: aws.ToString(t.ClusterArn), Definition: aws.ToString(t.TaskDefinitionArn),
		Status: aws.ToString(t.LastStatus), StartedBy: aws.ToString(t.StartedBy), Version: t.Version,
		LaunchType: string(t.LaunchType), CapacityProvider: aws.ToString(t.CapacityProviderName), PlatformVersion: aws.ToString(t.PlatformVersion),
		StopCode: string(t.StopCode), StoppedReason: aws.ToString(t.StoppedReason),
		CreatedAt: aws.ToTime(t.CreatedAt), PullStartedAt: aws.ToTime(t.PullStartedAt), PullStoppedAt: aws.ToTime(t.PullStoppedAt),
		StartedAt: aws.ToTime(t.StartedAt), StoppingAt: aws.ToTime(t.StoppingAt), ExecutionStopped: aws.ToTime(t.ExecutionStoppedAt),
		StoppedAt: aws.ToTime(t.StoppedAt),
	}
	told.Containers = make([]container, len(t.Containers))
	for i := range t.Containers {
		c := &t.Containers[i]
		told.Containers[i] = container{
			Name: aws.ToString(c.Name), Status: aws.ToString(c.LastStatus), ExitCode: c.ExitCode, Reason: aws.ToString(c.Reason), ImageDigest: aws.ToString(c.ImageDigest),
		}
	}
	if t.Tags != nil {
		told.Tags = make(map[string]string, len(t.Tags))
		for _, tag := range t.Tags {
			told.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
	}
	return told
}
