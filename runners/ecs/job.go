package ecs

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

//go:embed template.json
var template []byte

// Job is the rendered job configuration of an ECS pool. Its names are Prefect's, plus capacity, platform, platform_version,
// ephemeral_storage, python, user, working_dir and start_timeout. A pool's base job template may give a whole task definition and a whole
// RunTask request in ECS's own shape, as Prefect's does; what a variable says wins over both.
type Job struct {
	Image       string             `json:"image"`        // name, name with tag or digest
	Command     schemas.Command    `json:"command"`      // the program and its arguments; empty: the run's entrypoint, or the image's own command
	Python      string             `json:"python"`       // interpreter for entrypoints; empty: python3
	Env         env                `json:"env"`          // over the image's own and the definition's
	WorkingDir  string             `json:"working_dir"`  // in the container; empty: the image's
	User        string             `json:"user"`         // name or UID, with group or without; empty: the image's
	Labels      map[string]*string `json:"labels"`       // tags of the task
	Name        string             `json:"name"`         // for people, in a tag: tasks are named by AWS
	Init        bool               `json:"init"`         // a small init is the container's first process and passes signals on
	StopTimeout runners.Amount     `json:"stop_timeout"` // seconds from the polite signal to the kill; 0: ECS's 30

	CPU              runners.Amount `json:"cpu"`               // 1024 = 1 vCPU; 0: see [Job.resources]
	Memory           runners.Amount `json:"memory"`            // MiB; 0: see [Job.resources]
	EphemeralStorage runners.Amount `json:"ephemeral_storage"` // GiB; 0: Fargate's 20
	Platform         string         `json:"platform"`          // os/arch; empty: linux/amd64
	PlatformVersion  string         `json:"platform_version"`  // Fargate's; empty: LATEST

	Cluster    string         `json:"cluster"`                    // name or ARN; empty: default
	LaunchType string         `json:"launch_type"`                // FARGATE, EC2, EXTERNAL, or FARGATE_SPOT as Prefect has it; empty: FARGATE
	Capacity   []string       `json:"capacity"`                   // what to try in turn: launch types and capacity providers; instead of LaunchType
	Strategy   []strategyItem `json:"capacity_provider_strategy"` // instead of both

	Network *network `json:"network_configuration"` // nil: every subnet of VPC
	VPC     string   `json:"vpc_id"`                // empty: the default VPC

	ExecutionRole string `json:"execution_role_arn"` // what ECS may do to start the task: pull, log, read secrets
	TaskRole      string `json:"task_role_arn"`      // what the job may do

	ContainerName  string `json:"container_name"`                  // the job's, among several
	Family         string `json:"family"`                          // of the task definition; empty: made of pool and deployment
	TaskDefinition string `json:"task_definition_arn"`             // one that exists, used as it is: ARN, family:revision or family
	MatchLatest    bool   `json:"match_latest_revision_in_family"` // use the family's latest revision where it says the same, whoever registered it
	AutoDeregister bool   `json:"auto_deregister_task_definition"` // deregister what a new definition of the deployment replaces

	ConfigureLogs bool              `json:"configure_cloudwatch_logs"`
	LogsOptions   map[string]string `json:"cloudwatch_logs_options"` // of the awslogs driver, over ours
	LogsPrefix    string            `json:"cloudwatch_logs_prefix"`  // of the streams
	StreamOutput  *bool             `json:"stream_output"`           // false: output stays in CloudWatch and is not the run's log; absent: true

	StartTimeout     float64 `json:"start_timeout"`              // seconds from the claim until the task runs; 0: see TaskStartTimeout
	TaskStartTimeout float64 `json:"task_start_timeout_seconds"` // Prefect's name of it; 0: no limit
	WatchInterval    float64 `json:"task_watch_poll_interval"`   // seconds between two looks at a task at most; 0: ours

	Credentials      json.RawMessage `json:"aws_credentials"`                    // null: the worker's own
	PrefectAPIKey    string          `json:"prefect_api_key_secret_arn"`         // without effect: jobs do not speak to a server
	PrefectAPISecret string          `json:"prefect_api_auth_string_secret_arn"` // likewise

	Definition definitionTemplate `json:"task_definition"`  // what the definition is made from
	Request    requestTemplate    `json:"task_run_request"` // what RunTask's request is made from
}

// strategyItem is one of a capacity provider strategy.
type strategyItem struct {
	CapacityProvider string `json:"capacityProvider"`
	Weight           int32  `json:"weight"`
	Base             int32  `json:"base"`
}

// defaultContainer is the name of the job's container, unless a definition has another.
const defaultContainer = "weir"

// parseJob reads a rendered job configuration. The error says which field is wrong and how.
func parseJob(b json.RawMessage) (*Job, error) {
	j := &Job{}
	if err := runners.DecodeJob(b, j); err != nil {
		if err := checkAmounts(b); err != nil {
			return nil, fmt.Errorf("job configuration: %w", err)
		}
		return nil, err
	}
	if err := j.settle(); err != nil {
		return nil, fmt.Errorf("job configuration: %w", err)
	}
	for _, check := range []func() error{
		j.Env.check, j.checkContainer, j.checkProgram, j.checkPlaces, j.checkResources, j.checkNetwork, j.checkRoles, j.checkNames, j.checkLogs, j.checkTimes, j.checkCredentials,
	} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("job configuration: %w", err)
		}
	}
	return j, nil
}

// checkAmounts says which amount is none. What decodes them all does not know their names.
func checkAmounts(b json.RawMessage) error {
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil {
		return nil
	}
	for _, f := range []struct{ name, want string }{
		{"cpu", "a number of CPU units, such as 1024 for one vCPU"},
		{"memory", "a number of MiB, such as 2048"},
		{"ephemeral_storage", "a number of GiB, such as 40"},
		{"stop_timeout", "a number of seconds, such as 30"},
	} {
		if value, ok := fields[f.name]; ok && new(runners.Amount).UnmarshalJSON(value) != nil {
			return fmt.Errorf("%s is %s, want %s", f.name, clip(string(value)), f.want)
		}
	}
	return nil
}

// check is [runners.Type.Check].
func check(b json.RawMessage) error {
	_, err := parseJob(b)
	return err
}

func (j *Job) checkContainer() error {
	if j.TaskDefinition != "" {
		return nil // what it has is known when it is looked up
	}
	if j.Image == "" {
		return errors.New("image is missing: name the image to run, such as python:3.13-slim, or a task definition that exists in task_definition_arn")
	}
	if strings.ContainsAny(j.Image, " \t\n\x00") || len(j.Image) > 255 {
		return fmt.Errorf("image %q cannot name an image", clip(j.Image))
	}
	if !containerForm.MatchString(j.ContainerName) {
		return fmt.Errorf("container_name %q: ECS takes letters, digits, - and _, up to 255 of them", clip(j.ContainerName))
	}
	if j.Definition.given() && len(j.Definition.names()) > 0 && j.Definition.container(j.ContainerName) == nil {
		return fmt.Errorf("container_name %q is not in task_definition, which has the containers %s", clip(j.ContainerName), strings.Join(j.Definition.names(), ", "))
	}
	return nil
}

var (
	containerForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	roleForm      = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}$`)
	roleNameForm  = regexp.MustCompile(`^[A-Za-z0-9+=,.@_-]{1,64}$`)
	clusterForm   = regexp.MustCompile(`^(arn:[a-z-]+:ecs:[a-z0-9-]+:[0-9]{12}:cluster/)?[A-Za-z0-9_-]{1,255}$`)
	definedForm   = regexp.MustCompile(`^(arn:[a-z-]+:ecs:[a-z0-9-]+:[0-9]{12}:task-definition/)?[A-Za-z0-9_-]{1,255}(:[1-9][0-9]*)?$`)
	tagForm       = regexp.MustCompile(`^[\pL\pZ\pN_.:/=+@-]*$`)
)

func (j *Job) checkProgram() error {
	if len(j.Command) > 0 && j.Command[0] == "" {
		return errors.New("command names no program")
	}
	if j.WorkingDir != "" && !path.IsAbs(j.WorkingDir) {
		return fmt.Errorf("working_dir %q is relative: a folder of the container starts with /", clip(j.WorkingDir))
	}
	for what, list := range map[string][]string{"command": j.Command, "working_dir": {j.WorkingDir}, "python": {j.Python}, "user": {j.User}} {
		if slices.ContainsFunc(list, func(s string) bool { return strings.IndexByte(s, 0) >= 0 }) {
			return fmt.Errorf("%s holds a zero byte, which no command line can", what)
		}
	}
	if most := j.maxStop(); j.StopTimeout > most {
		return fmt.Errorf("stop_timeout is %d, want %d or less", j.StopTimeout, most)
	}
	if j.TaskDefinition == "" {
		return nil
	}
	if len(j.Env.secrets()) > 0 {
		return errors.New(`env names a secret by {"from_aws"}, which only a task definition can have: task_definition_arn names one that is used as it is, so put the secret there`)
	}
	return nil
}

// maxStop is the longest time from the polite signal to the kill, in seconds.
func (j *Job) maxStop() runners.Amount {
	if j.fargate() {
		return 120
	}
	return 24 * 60 * 60
}

func (j *Job) checkRoles() error {
	if role := j.ExecutionRole; role != "" && !roleForm.MatchString(role) {
		return fmt.Errorf("execution_role_arn is %q, want a role's ARN such as arn:aws:iam::123456789012:role/ecsTaskExecutionRole", clip(role))
	}
	// RegisterTaskDefinition takes the name of a job's role as well, as its documentation says of this one only.
	if role := j.TaskRole; role != "" && !roleForm.MatchString(role) && !roleNameForm.MatchString(role) {
		return fmt.Errorf("task_role_arn is %q, want a role's ARN such as arn:aws:iam::123456789012:role/etl-job, or its name", clip(role))
	}
	if j.ExecutionRole != "" || j.TaskDefinition != "" {
		return nil
	}
	switch {
	case len(j.Env.secrets()) > 0:
		return errors.New(`execution_role_arn is missing: ECS reads the secrets that env names by {"from_aws"} in that role`)
	case j.ConfigureLogs && j.fargate():
		return errors.New("execution_role_arn is missing: Fargate writes to CloudWatch Logs (configure_cloudwatch_logs) in that role")
	}
	return nil
}

// What AWS takes in a tag.
const (
	maxTags     = 50
	ownTags     = 15 // as many as names.go has, and some that may come
	maxTagKey   = 128
	maxTagValue = 256
)

func (j *Job) checkNames() error {
	if j.Family != "" && !containerForm.MatchString(j.Family) {
		return fmt.Errorf("family %q: ECS takes letters, digits, - and _, up to 255 of them", clip(j.Family))
	}
	if !clusterForm.MatchString(j.cluster()) {
		return fmt.Errorf("cluster is %q, want a cluster's name, of letters, digits, - and _, or its ARN such as arn:aws:ecs:eu-central-1:123456789012:cluster/weir", clip(j.Cluster))
	}
	if j.TaskDefinition != "" && !definedForm.MatchString(j.TaskDefinition) {
		return fmt.Errorf("task_definition_arn is %q, want family, family:revision or an ARN such as arn:aws:ecs:eu-central-1:123456789012:task-definition/etl:3", clip(j.TaskDefinition))
	}
	for name, value := range j.Labels {
		switch {
		case name == "" || strings.HasPrefix(name, tagPrefix):
			return fmt.Errorf("label %q: tags that begin with %s are Weir's own", clip(name), tagPrefix)
		case strings.HasPrefix(strings.ToLower(name), "aws:"):
			return fmt.Errorf("label %q: tags that begin with aws: are AWS's own", clip(name))
		case len([]rune(name)) > maxTagKey || len([]rune(deref(value))) > maxTagValue || !tagForm.MatchString(name) || !tagForm.MatchString(deref(value)):
			return fmt.Errorf("label %q cannot be a tag: AWS takes %d characters of a name and %d of a value, of letters, digits, spaces and _.:/=+@-",
				clip(name), maxTagKey, maxTagValue)
		}
	}
	if len(j.Labels)+len(j.Request.input.Tags) > maxTags-ownTags {
		return fmt.Errorf("labels are too many: a task has %d tags at most, and %d of them are kept for Weir's", maxTags, ownTags)
	}
	return nil
}

// awslogsOptions are those of the awslogs driver: what ECS documents, and on machines of one's own what Docker has besides.
var awslogsOptions = []string{
	"awslogs-group", "awslogs-region", "awslogs-stream-prefix", "awslogs-create-group", "awslogs-datetime-format", "awslogs-multiline-pattern", "mode", "max-buffer-size",
	"awslogs-endpoint", "awslogs-stream", "awslogs-format", "awslogs-credentials-endpoint", "awslogs-force-flush-interval-seconds", "awslogs-max-buffered-events", "tag",
}

func (j *Job) checkLogs() error {
	if len(j.LogsOptions) > 0 && !j.ConfigureLogs {
		return errors.New("cloudwatch_logs_options have no effect without configure_cloudwatch_logs: set it to true")
	}
	for _, name := range slices.Sorted(maps.Keys(j.LogsOptions)) {
		if slices.Contains(awslogsOptions, name) {
			continue
		}
		if near := schemas.Nearest(name, awslogsOptions); near != "" {
			return fmt.Errorf("cloudwatch_logs_options has %q, which is no option of the awslogs driver: did you mean %s?", clip(name), near)
		}
		return fmt.Errorf("cloudwatch_logs_options has %q, which is no option of the awslogs driver: it has %s", clip(name), strings.Join(awslogsOptions, ", "))
	}
	if strings.ContainsAny(j.LogsPrefix, ":*\x00") {
		return fmt.Errorf("cloudwatch_logs_prefix %q: a stream's name has no : and no *", clip(j.LogsPrefix))
	}
	return nil
}

func (j *Job) checkTimes() error {
	if j.StartTimeout < 0 || j.TaskStartTimeout < 0 || j.WatchInterval < 0 {
		return errors.New("start_timeout, task_start_timeout_seconds and task_watch_poll_interval cannot be below 0")
	}
	return nil
}

func (j *Job) checkCredentials() error {
	switch strings.TrimSpace(string(j.Credentials)) {
	case "", "null", "{}":
		return nil
	}
	return errors.New("aws_credentials must be null, or left out: a message is no place for a key. The worker or server speaks to AWS with its own credentials, " +
		"those of AWS_PROFILE, AWS_ACCESS_KEY_ID or the role of its task or machine")
}

// startTimeout is how long the task may take to run; 0: for ever.
func (j *Job) startTimeout() time.Duration {
	seconds := j.StartTimeout
	if seconds == 0 {
		seconds = j.TaskStartTimeout
	}
	return time.Duration(seconds * float64(time.Second))
}

// watchInterval is the longest time between two looks at a task; 0: the watcher's own.
func (j *Job) watchInterval() time.Duration {
	return time.Duration(j.WatchInterval * float64(time.Second))
}

// streams tells whether the job's output is to be the run's log. That Prefect's templates say false there is not meant: it stopped
// reading the field, and writes it into each.
func (j *Job) streams() bool { return j.StreamOutput == nil || *j.StreamOutput || j.Request.given() }

// cluster is the cluster's name, or ARN.
func (j *Job) cluster() string {
	if j.Cluster == "" {
		return "default"
	}
	return j.Cluster
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// clip keeps text from outside from filling an error.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
