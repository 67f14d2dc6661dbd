package ecs

import (
	"encoding/json"
	"time"
)

// Details is what a run's events tell of its task.
type Details struct {
	Task             string            `json:"task_arn"`
	Cluster          string            `json:"cluster"`
	Definition       string            `json:"task_definition"`
	Console          string            `json:"console"` // the task's page
	CapacityProvider string            `json:"capacity_provider,omitempty"`
	LaunchType       string            `json:"launch_type,omitempty"`
	PlatformVersion  string            `json:"platform_version,omitempty"`
	Status           string            `json:"status"` // ECS's own
	LogGroup         string            `json:"log_group,omitempty"`
	LogStream        string            `json:"log_stream,omitempty"`
	LogConsole       string            `json:"log_console,omitempty"` // the log stream's page
	StopCode         string            `json:"stop_code,omitempty"`
	StoppedReason    string            `json:"stopped_reason,omitempty"`
	Containers       []containerDetail `json:"containers,omitempty"`
	CreatedAt        time.Time         `json:"created_at,omitzero"`
	PullStartedAt    time.Time         `json:"pull_started_at,omitzero"`
	PullStoppedAt    time.Time         `json:"pull_stopped_at,omitzero"`
	StartedAt        time.Time         `json:"started_at,omitzero"`
	StoppedAt        time.Time         `json:"stopped_at,omitzero"`
	ProvisioningMS   *int64            `json:"provisioning_ms,omitempty"` // from its creation until the first image was asked for: room, and the network
	PendingMS        *int64            `json:"pending_ms,omitempty"`      // from then until it ran: images, and the containers' start
	RunningMS        *int64            `json:"running_ms,omitempty"`      // until its containers had ended
}

type containerDetail struct {
	Name        string `json:"name"`
	ExitCode    *int32 `json:"exit_code,omitempty"`
	Reason      string `json:"reason,omitempty"`
	ImageDigest string `json:"image_digest,omitempty"`
}

// details are those of a task whose job is that container, and whose output is there; nil: it is not known where.
func details(region string, t *task, job string, logs *logTarget) json.RawMessage {
	if t == nil {
		return nil
	}
	cluster := clusterOf(t.ARN)
	d := Details{
		Task: t.ARN, Cluster: cluster, Definition: t.Definition, Console: taskURL(region, cluster, t.ARN), Status: t.Status,
		CapacityProvider: t.CapacityProvider, LaunchType: t.LaunchType, PlatformVersion: t.PlatformVersion, StopCode: t.StopCode, StoppedReason: t.StoppedReason,
		CreatedAt: t.CreatedAt, PullStartedAt: t.PullStartedAt, PullStoppedAt: t.PullStoppedAt, StartedAt: t.StartedAt, StoppedAt: t.StoppedAt,
	}
	if logs != nil {
		d.LogGroup, d.LogStream = logs.group, logs.stream(job, t.ARN)
		d.LogConsole = logURL(logs.region, d.LogGroup, d.LogStream)
	}
	for i := range t.Containers {
		c := &t.Containers[i]
		d.Containers = append(d.Containers, containerDetail{c.Name, c.ExitCode, c.Reason, c.ImageDigest})
	}
	d.ProvisioningMS, d.PendingMS, d.RunningMS = t.times()
	b, err := json.Marshal(d)
	if err != nil {
		return nil // it holds nothing that cannot be
	}
	return b
}

// times are how long a task was provisioning, pending and running, as far as ECS says when it was what; nil: it was not, or is not known.
func (t *task) times() (provisioning, pending, running *int64) {
	between := func(from, to time.Time) *int64 {
		if from.IsZero() || to.IsZero() {
			return nil
		}
		ms := max(to.Sub(from), 0).Milliseconds()
		return &ms
	}
	placed := t.PullStartedAt
	if placed.IsZero() {
		placed = t.StartedAt // the image was there
	}
	if placed.IsZero() {
		placed = t.end()
	}
	provisioning = between(t.CreatedAt, placed)
	if !t.PullStartedAt.IsZero() {
		until := t.StartedAt
		if until.IsZero() {
			until = t.end()
		}
		pending = between(t.PullStartedAt, until)
	}
	return provisioning, pending, between(t.StartedAt, t.end())
}
