package ecs

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

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
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(j); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("job configuration: %s is a %s, want %s", wrong.Field, wrong.Value, wrong.Type)
		}
		return nil, fmt.Errorf("job configuration: %s", strings.TrimPrefix(err.Error(), "json: "))
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

// check is [runners.Type.Check].
func check(b json.RawMessage) error {
	_, err := parseJob(b)
	return err
}

// settle takes what only the templates of ECS's own shape say, so that everything after has one place to look.
func (j *Job) settle() error {
	def, run := &j.Definition.input, &j.Request.input
	for field, from := range map[*string]*string{
		&j.Family: def.Family, &j.ExecutionRole: def.ExecutionRoleArn, &j.TaskRole: def.TaskRoleArn,
		&j.Cluster: run.Cluster, &j.TaskDefinition: run.TaskDefinition, &j.PlatformVersion: run.PlatformVersion,
	} {
		if *field == "" && from != nil {
			*field = *from
		}
	}
	if j.LaunchType == "" && len(j.Capacity) == 0 {
		j.LaunchType = j.Request.launchType
	}
	if len(j.Strategy) == 0 {
		for _, i := range run.CapacityProviderStrategy {
			j.Strategy = append(j.Strategy, strategyItem{CapacityProvider: deref(i.CapacityProvider), Weight: i.Weight, Base: i.Base})
		}
	}
	if c := run.NetworkConfiguration; j.Network == nil && c != nil && c.AwsvpcConfiguration != nil {
		j.Network = &network{Subnets: c.AwsvpcConfiguration.Subnets, SecurityGroups: c.AwsvpcConfiguration.SecurityGroups, AssignPublicIP: string(c.AwsvpcConfiguration.AssignPublicIp)}
	}
	if o := run.Overrides; o != nil {
		if o.TaskRoleArn != nil {
			j.TaskRole = *o.TaskRoleArn
		}
		if o.ExecutionRoleArn != nil && j.ExecutionRole == "" {
			j.ExecutionRole = *o.ExecutionRoleArn
		}
		for text, amount := range map[*string]*runners.Amount{o.Cpu: &j.CPU, o.Memory: &j.Memory} {
			if *amount == 0 && text != nil {
				if err := amountOf(*text, amount); err != nil {
					return fmt.Errorf("task_run_request: %w", err)
				}
			}
		}
	}
	for text, amount := range map[*string]*runners.Amount{def.Cpu: &j.CPU, def.Memory: &j.Memory} {
		if *amount == 0 && text != nil {
			if err := amountOf(*text, amount); err != nil {
				return fmt.Errorf("task_definition: %w", err)
			}
		}
	}
	return j.settleContainer()
}

// amountOf reads the cpu or memory of a task in the forms that ECS takes: 1024, 1 vCPU, 2 GB.
func amountOf(text string, into *runners.Amount) error {
	number, unit, _ := strings.Cut(strings.TrimSpace(text), " ")
	if unit = strings.ToLower(strings.TrimSpace(unit)); unit != "vcpu" && unit != "gb" {
		return into.UnmarshalJSON([]byte(text))
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n > 0 && n < 1000) {
		return fmt.Errorf("cpu or memory is %q, want a number, or one with vCPU or GB behind it", clip(text))
	}
	*into = runners.Amount(n * 1024)
	return nil
}

// settleContainer finds the job's container in the definition, and what is said of it.
func (j *Job) settleContainer() error {
	if j.ContainerName == "" && j.TaskDefinition == "" {
		name, err := jobContainer(j.Definition.names())
		if err != nil {
			return fmt.Errorf("task_definition %w", err)
		}
		j.ContainerName = name
	}
	c := j.Definition.container(j.ContainerName)
	if c != nil && j.Image == "" {
		j.Image = deref(c.Image)
	}
	o := j.Request.container(j.ContainerName)
	if o == nil {
		return nil
	}
	if len(j.Command) == 0 {
		j.Command = o.Command
	}
	return j.Env.under(o.Environment, j.Request.references)
}

// jobContainer chooses the job's container among those of a definition, where the job names none.
func jobContainer(names []string) (string, error) {
	switch {
	case len(names) == 0:
		return defaultContainer, nil
	case len(names) == 1 && names[0] == "":
		return defaultContainer, nil
	case len(names) == 1:
		return names[0], nil
	case slices.Contains(names, defaultContainer):
		return defaultContainer, nil
	case slices.Contains(names, "prefect"): // what Prefect calls the one of the run
		return "prefect", nil
	}
	return "", fmt.Errorf("has the containers %s: say in container_name which of them is the job's", strings.Join(names, ", "))
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
	roleForm      = regexp.MustCompile(`^(arn:[a-z-]+:iam::[0-9]{12}:role/)?[A-Za-z0-9+=,.@_/-]{1,512}$`)
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
	for what, role := range map[string]string{"execution_role_arn": j.ExecutionRole, "task_role_arn": j.TaskRole} {
		if role != "" && !roleForm.MatchString(role) {
			return fmt.Errorf("%s is %q, want a role's ARN such as arn:aws:iam::123456789012:role/ecsTaskExecutionRole", what, clip(role))
		}
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

func (j *Job) checkLogs() error {
	if len(j.LogsOptions) > 0 && !j.ConfigureLogs {
		return errors.New("cloudwatch_logs_options have no effect without configure_cloudwatch_logs: set it to true")
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
	return errors.New("aws_credentials must be null: a worker speaks to AWS with what its own environment gives it " +
		"(AWS_PROFILE, AWS_ACCESS_KEY_ID, the role of its task or machine), and no message carries a key")
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

// A placement is one place to run a task at: RunTask names one.
type placement struct {
	name       string // for people and for the try's number
	launchType types.LaunchType
	strategy   []types.CapacityProviderStrategyItem
}

// placements are what to try in turn. There is always one.
func (j *Job) placements() []placement {
	if len(j.Strategy) > 0 {
		p := placement{}
		for _, i := range j.Strategy {
			p.name += ", " + i.CapacityProvider
			p.strategy = append(p.strategy, types.CapacityProviderStrategyItem{CapacityProvider: &i.CapacityProvider, Weight: i.Weight, Base: i.Base})
		}
		p.name = p.name[2:]
		return []placement{p}
	}
	names := j.Capacity
	if len(names) == 0 {
		names = []string{j.LaunchType}
	}
	var list []placement
	for _, name := range names {
		switch t := types.LaunchType(name); {
		case name == "":
			list = append(list, placement{name: fargate, launchType: types.LaunchTypeFargate})
		case slices.Contains(launchTypes, t):
			list = append(list, placement{name: name, launchType: t})
		default:
			list = append(list, placement{name: name, strategy: []types.CapacityProviderStrategyItem{{CapacityProvider: &name, Weight: 1}}})
		}
	}
	return list
}

// Names of Fargate's two kinds of capacity.
const (
	fargate     = "FARGATE"
	fargateSpot = "FARGATE_SPOT"
)

var launchTypes = []types.LaunchType{types.LaunchTypeFargate, types.LaunchTypeEc2, types.LaunchTypeExternal}

// compatibilities are what the definition has to be registered for.
func (j *Job) compatibilities() []types.Compatibility {
	var list []types.Compatibility
	add := func(c types.Compatibility) {
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	for _, p := range j.placements() {
		if p.launchType != "" {
			add(types.Compatibility(p.launchType))
		}
		for _, i := range p.strategy {
			if name := deref(i.CapacityProvider); name == fargate || name == fargateSpot {
				add(types.CompatibilityFargate)
			} else {
				add(types.CompatibilityEc2) // a provider of the cluster's own machines
			}
		}
	}
	return list
}

// fargate tells whether the task may run on Fargate, so that its rules hold.
func (j *Job) fargate() bool { return slices.Contains(j.compatibilities(), types.CompatibilityFargate) }

func (j *Job) checkPlaces() error {
	if len(j.Strategy) > 0 && len(j.Capacity) > 0 {
		return errors.New("capacity and capacity_provider_strategy both say where to run: give one of them")
	}
	if j.LaunchType != "" && j.LaunchType != fargateSpot && !slices.Contains(launchTypes, types.LaunchType(j.LaunchType)) {
		return fmt.Errorf("launch_type is %q, want FARGATE, FARGATE_SPOT, EC2 or EXTERNAL; a capacity provider is named in capacity", clip(j.LaunchType))
	}
	if len(j.Capacity) > 10 {
		return fmt.Errorf("capacity has %d names, want 10 or fewer", len(j.Capacity))
	}
	for i, name := range j.Capacity {
		if !containerForm.MatchString(name) {
			return fmt.Errorf("capacity has %q, want FARGATE_SPOT, FARGATE, EC2, EXTERNAL or the name of one of the cluster's capacity providers", clip(name))
		}
		if slices.Contains(j.Capacity[:i], name) {
			return fmt.Errorf("capacity has %s twice", clip(name))
		}
	}
	for _, i := range j.Strategy {
		if !containerForm.MatchString(i.CapacityProvider) || i.Weight < 0 || i.Weight > 1000 || i.Base < 0 || i.Base > 100000 {
			return fmt.Errorf(`capacity_provider_strategy has %q with weight %d and base %d, want {"capacityProvider": name, "weight": 0 to 1000, "base": 0 to 100000}`,
				clip(i.CapacityProvider), i.Weight, i.Base)
		}
	}
	return nil
}

// A network is where a task gets its network interface.
type network struct {
	Subnets        []string
	SecurityGroups []string
	AssignPublicIP string // ENABLED or DISABLED; empty: ECS's own default
}

// UnmarshalJSON reads {"awsvpcConfiguration": {…}} as ECS has it, or the inner object alone as Prefect has it. An empty one is no network.
func (n *network) UnmarshalJSON(b []byte) error {
	var outer struct {
		Awsvpc *json.RawMessage `json:"awsvpcConfiguration"`
	}
	if json.Unmarshal(b, &outer) == nil && outer.Awsvpc != nil {
		b = *outer.Awsvpc
	}
	var inner struct {
		Subnets        []string `json:"subnets"`
		SecurityGroups []string `json:"securityGroups"`
		AssignPublicIP string   `json:"assignPublicIp"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&inner); err != nil {
		return fmt.Errorf(`network_configuration: %s: want {"subnets": [...], "securityGroups": [...], "assignPublicIp": "ENABLED" or "DISABLED"}`,
			strings.TrimPrefix(err.Error(), "json: "))
	}
	*n = network{Subnets: inner.Subnets, SecurityGroups: inner.SecurityGroups, AssignPublicIP: inner.AssignPublicIP}
	return nil
}

// given tells whether n says anything.
func (n *network) given() bool {
	return n != nil && (len(n.Subnets) > 0 || len(n.SecurityGroups) > 0 || n.AssignPublicIP != "")
}

func (j *Job) checkNetwork() error {
	if !j.Network.given() {
		return nil
	}
	if p := j.Network.AssignPublicIP; p != "" && p != string(types.AssignPublicIpEnabled) && p != string(types.AssignPublicIpDisabled) {
		return fmt.Errorf("network_configuration: assignPublicIp is %q, want ENABLED or DISABLED", clip(p))
	}
	for what, limit := range map[string]struct {
		list   []string
		prefix string
		most   int
	}{"subnets": {j.Network.Subnets, "subnet-", 16}, "securityGroups": {j.Network.SecurityGroups, "sg-", 5}} {
		if len(limit.list) > limit.most {
			return fmt.Errorf("network_configuration: %s are %d, ECS takes %d", what, len(limit.list), limit.most)
		}
		for _, id := range limit.list {
			if !strings.HasPrefix(id, limit.prefix) {
				return fmt.Errorf("network_configuration: %s has %q, want an ID that begins with %s", what, clip(id), limit.prefix)
			}
		}
	}
	return nil
}

// awsvpc tells whether the task gets a network interface of its own.
func (j *Job) awsvpc() bool {
	if mode := j.Definition.input.NetworkMode; mode != "" {
		return mode == types.NetworkModeAwsvpc
	}
	return j.fargate() || j.Network.given() || j.VPC != ""
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
