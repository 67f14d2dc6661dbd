package ecstest

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// state is how far a task's life has come.
type state int8

const (
	provisioning state = iota
	pending
	activating
	running
	deactivating
	stopping
	deprovisioning
	stopped
)

var states = [...]string{"PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"}

func (s state) String() string { return states[s] }

// stamp is a time in milliseconds, which AWS writes in seconds; 0 is none.
type stamp int64

// MarshalJSON implements [json.Marshaler].
func (s stamp) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(s)/1000, 'f', 3, 64), nil
}

// task is kept small: tests have thousands.
type task struct {
	id         string
	cluster    *cluster
	definition *definition
	order      int64
	status     state
	ending     bool // desiredStatus is STOPPED
	version    int32
	launchType string
	provider   string // capacityProviderName
	platform   string
	subnet     string
	group      string
	startedBy  string
	overrides  json.RawMessage
	cpu        string // what the overrides say, or the definition
	memory     string
	tags       json.RawMessage
	containers []containerState
	stopCode   string
	reason     string
	plan       *Plan // on paper
	body       any   // the host's own

	visible, created, pullStarted, pullStopped, started, stoppingAt, executionStopped, stoppedAt stamp
}

// containerState is what is known of one of a task's containers.
type containerState struct {
	begun   bool
	ended   bool
	code    *int32
	reason  string
	runtime string
	digest  string
}

// tasks are those AWS has not forgotten.
type tasks struct {
	byID  map[string]*task
	count int64
}

func newTasks() *tasks { return &tasks{byID: map[string]*task{}} }

// in is the tasks of a cluster, in the order in which they were made.
func (l *tasks) in(c *cluster) []*task {
	var list []*task
	for _, t := range l.byID {
		if t.cluster == c {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *task) int { return cmp.Compare(a.order, b.order) })
	return list
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// idOf is the ID in a task's ARN, or itself.
func idOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

func (t *task) arn() string { return arn("ecs", "task/"+t.cluster.name+"/"+t.id) }

type taskView struct {
	TaskARN            string           `json:"taskArn"`
	ClusterARN         string           `json:"clusterArn"`
	TaskDefinitionARN  string           `json:"taskDefinitionArn"`
	LastStatus         string           `json:"lastStatus"`
	DesiredStatus      string           `json:"desiredStatus"`
	LaunchType         string           `json:"launchType,omitempty"`
	CapacityProvider   string           `json:"capacityProviderName,omitempty"`
	PlatformVersion    string           `json:"platformVersion,omitempty"`
	PlatformFamily     string           `json:"platformFamily,omitempty"`
	AvailabilityZone   string           `json:"availabilityZone"`
	CPU                string           `json:"cpu,omitempty"`
	Memory             string           `json:"memory,omitempty"`
	Group              string           `json:"group"`
	StartedBy          string           `json:"startedBy,omitempty"`
	Tags               json.RawMessage  `json:"tags,omitempty"`
	Overrides          json.RawMessage  `json:"overrides"`
	Attachments        []attachmentView `json:"attachments"`
	Connectivity       string           `json:"connectivity,omitempty"`
	HealthStatus       string           `json:"healthStatus"`
	Version            int32            `json:"version"`
	CreatedAt          stamp            `json:"createdAt"`
	PullStartedAt      stamp            `json:"pullStartedAt,omitempty"`
	PullStoppedAt      stamp            `json:"pullStoppedAt,omitempty"`
	StartedAt          stamp            `json:"startedAt,omitempty"`
	StoppingAt         stamp            `json:"stoppingAt,omitempty"`
	ExecutionStoppedAt stamp            `json:"executionStoppedAt,omitempty"`
	StoppedAt          stamp            `json:"stoppedAt,omitempty"`
	StopCode           string           `json:"stopCode,omitempty"`
	StoppedReason      string           `json:"stoppedReason,omitempty"`
	Containers         []containerView  `json:"containers"`
}

type attachmentView struct {
	ID      string     `json:"id"`
	Type    string     `json:"type"`
	Status  string     `json:"status"`
	Details []variable `json:"details"`
}

type containerView struct {
	ContainerARN string `json:"containerArn"`
	TaskARN      string `json:"taskArn"`
	Name         string `json:"name"`
	Image        string `json:"image"`
	ImageDigest  string `json:"imageDigest,omitempty"`
	RuntimeID    string `json:"runtimeId,omitempty"`
	LastStatus   string `json:"lastStatus"`
	ExitCode     *int32 `json:"exitCode,omitempty"`
	Reason       string `json:"reason,omitempty"`
}

// view is the task as AWS shows it; tags only when they are asked for.
func (t *task) view(tags bool) taskView {
	v := taskView{
		TaskARN: t.arn(), ClusterARN: t.cluster.arn, TaskDefinitionARN: t.definition.arn, LastStatus: t.status.String(), DesiredStatus: "RUNNING",
		LaunchType: t.launchType, CapacityProvider: t.provider, PlatformVersion: t.platform, AvailabilityZone: Region + "a", CPU: t.cpu,
		Memory: t.memory, Group: t.group, StartedBy: t.startedBy, Overrides: t.overrides, HealthStatus: "UNKNOWN", Version: t.version,
		CreatedAt: t.created, PullStartedAt: t.pullStarted, PullStoppedAt: t.pullStopped, StartedAt: t.started, StoppingAt: t.stoppingAt,
		ExecutionStoppedAt: t.executionStopped, StoppedAt: t.stoppedAt, StopCode: t.stopCode, StoppedReason: t.reason,
	}
	if t.ending {
		v.DesiredStatus = "STOPPED"
	}
	if t.platform != "" {
		v.PlatformFamily = "Linux"
	}
	if t.status >= activating {
		v.Connectivity = "CONNECTED"
	}
	if tags {
		v.Tags = t.tags
	}
	v.Attachments = []attachmentView{}
	if t.subnet != "" {
		v.Attachments = append(v.Attachments, t.network())
	}
	for i := range t.containers {
		v.Containers = append(v.Containers, t.viewContainer(i))
	}
	return v
}

func (t *task) network() attachmentView {
	status := "ATTACHED"
	switch {
	case t.status == provisioning:
		status = "PRECREATED"
	case t.status == stopped:
		status = "DELETED"
	}
	return attachmentView{ID: t.id[:8] + "-eni", Type: "ElasticNetworkInterface", Status: status, Details: []variable{
		{"subnetId", t.subnet}, {"networkInterfaceId", "eni-0" + t.id[:16]}, {"privateIPv4Address", "10.0.0.4"},
	}}
}

func (t *task) viewContainer(i int) containerView {
	c, d := &t.containers[i], &t.definition.containers[i]
	status := "PENDING"
	switch {
	case c.ended || t.status == stopped:
		status = "STOPPED"
	case c.begun:
		status = "RUNNING"
	}
	return containerView{
		ContainerARN: arn("ecs", "container/"+t.cluster.name+"/"+t.id+"/"+strconv.Itoa(i)), TaskARN: t.arn(), Name: d.Name, Image: d.Image,
		ImageDigest: c.digest, RuntimeID: c.runtime, LastStatus: status, ExitCode: c.code, Reason: c.reason,
	}
}

// Task is what a test may see of a task.
type Task struct {
	ARN           string
	Cluster       string
	Family        string
	StartedBy     string
	Provider      string // FARGATE, FARGATE_SPOT, EC2
	Status        string
	StopCode      string
	StoppedReason string
	Created       time.Time
	Tags          map[string]string
	Overrides     json.RawMessage
}

func (t *task) seen() Task {
	var tags []tag
	_ = json.Unmarshal(t.tags, &tags) // which are our own
	seen := Task{
		ARN: t.arn(), Cluster: t.cluster.name, Family: t.definition.settings.Family, StartedBy: t.startedBy, Provider: t.placedOn(), Status: t.status.String(),
		StopCode: t.stopCode, StoppedReason: t.reason, Created: time.UnixMilli(int64(t.created)), Tags: map[string]string{}, Overrides: t.overrides,
	}
	for _, tag := range tags {
		seen.Tags[tag.Key] = tag.Value
	}
	return seen
}

// placedOn is what the task takes its capacity from.
func (t *task) placedOn() string { return cmp.Or(t.provider, t.launchType) }

// Tasks are all tasks there are, and those that ended and are not forgotten.
func (e *Endpoint) Tasks() []Task {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []*task
	for _, t := range e.tasks.byID {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *task) int { return cmp.Compare(a.order, b.order) })
	seen := make([]Task, len(list))
	for i, t := range list {
		seen[i] = t.seen()
	}
	return seen
}
