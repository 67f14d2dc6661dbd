package ecstest

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"regexp"
	"slices"
)

// noCapacity is what AWS says when Fargate has none.
const noCapacity = "Capacity is unavailable at this time. Please try again later or in a different availability zone"

// token is what a clientToken has made.
type token struct {
	request [sha256.Size]byte // of all else in the request
	until   stamp             // when AWS forgets it
	tasks   []string          // their IDs
}

type runTaskInput struct {
	Cluster                  string
	TaskDefinition           string
	Count                    *int
	ClientToken              string
	StartedBy                string
	Group                    string
	Tags                     []tag
	PropagateTags            string
	EnableECSManagedTags     bool
	LaunchType               string
	CapacityProviderStrategy []struct {
		CapacityProvider string
		Weight, Base     int
	}
	PlatformVersion      string
	NetworkConfiguration *struct {
		AwsvpcConfiguration *struct {
			Subnets, SecurityGroups []string
			AssignPublicIP          string
		}
	}
	Overrides json.RawMessage
}

// overrides is what a task may have other than its definition says.
type overrides struct {
	CPU, Memory                   string
	TaskRoleARN, ExecutionRoleARN string
	ContainerOverrides            []struct {
		Name        string
		Command     []string
		Environment []variable
		CPU         *int
		Memory      *int
	}
}

var (
	startedByText = regexp.MustCompile(`^[A-Za-z0-9/_-]{0,128}$`)
	tokenText     = regexp.MustCompile(`^[!-~]{0,64}$`)
)

func runTask(c *call, in *runTaskInput) (any, error) {
	on, err := c.clusterOf(in.Cluster)
	if err != nil {
		return nil, err
	}
	d := c.definitionOf(in.TaskDefinition)
	if d == nil {
		return nil, invalid("TaskDefinition not found.")
	}
	if err := c.mayTag(d.arn, map[string]string{"ecs:cluster": on.arn}, in.Tags); err != nil {
		return nil, err
	}
	if !tokenText.MatchString(in.ClientToken) {
		return nil, invalid("clientToken must be at most 64 ASCII characters in the range of 33 to 126.")
	}
	request := fingerprint(c.body)
	if old := on.tokens[in.ClientToken]; old != nil && old.until > c.clock.ms() {
		return c.again(old, request, on)
	}
	if err := c.checkRun(in, d, on); err != nil {
		return nil, err
	}
	t := &task{cluster: on, definition: d, startedBy: in.StartedBy, group: in.Group, overrides: in.Overrides, subnet: in.subnet()}
	if t.group == "" {
		t.group = "family:" + d.settings.Family
	}
	if len(t.overrides) == 0 {
		t.overrides = json.RawMessage(`{"containerOverrides":[],"inferenceAcceleratorOverrides":[]}`)
	}
	o := t.overridden()
	t.cpu, t.memory = cmp.Or(o.CPU, d.settings.CPU), cmp.Or(o.Memory, d.settings.Memory)
	if err := c.place(t, in); err != nil {
		return nil, err
	}
	if err := c.mayPassOverrides(t); err != nil {
		return nil, err
	}
	count := 1
	if in.Count != nil {
		count = *in.Count
	}
	if c.knobs.NoCapacity[t.placedOn()] == InAnswer {
		return map[string]any{"tasks": []any{}, "failures": slices.Repeat([]failureView{c.refusal(t)}, count)}, nil
	}
	tags := in.Tags
	if in.PropagateTags == "TASK_DEFINITION" {
		tags = merged(d.tags, in.Tags...)
	}
	if in.EnableECSManagedTags {
		tags = merged(tags, tag{"aws:ecs:clusterName", on.name})
	}
	t.tags, _ = json.Marshal(list(tags))
	made := make([]string, count)
	views := make([]taskView, count)
	for i := range made {
		one := *t
		c.begin(&one)
		made[i], views[i] = one.id, one.view(true)
	}
	if in.ClientToken != "" {
		on.tokens[in.ClientToken] = &token{request, c.clock.ms() + stamp(tokenTime.Milliseconds()), made}
	}
	return map[string]any{"tasks": views, "failures": []any{}}, nil
}

// fingerprint is that of a request without its token.
func fingerprint(body []byte) [sha256.Size]byte {
	var all map[string]any
	_ = json.Unmarshal(body, &all) // it was read before
	delete(all, "clientToken")
	text, _ := json.Marshal(all) // with sorted keys
	return sha256.Sum256(text)
}

// again answers a request whose token was used.
func (c *call) again(old *token, request [sha256.Size]byte, on *cluster) (any, error) {
	views, arns := []taskView{}, []string{}
	for _, id := range old.tasks {
		arns = append(arns, arn("ecs", "task/"+on.name+"/"+id))
		if t := c.tasks.byID[id]; t != nil {
			views = append(views, t.view(true))
		}
	}
	if old.request != request {
		f := fault("ConflictException", "The RunTask request could not be processed due to conflicts. "+
			"The provided clientToken is already in use with a different RunTask request.")
		f.resources = arns
		return nil, f
	}
	return map[string]any{"tasks": views, "failures": []any{}}, nil
}

func (in *runTaskInput) subnet() string {
	if in.NetworkConfiguration == nil || in.NetworkConfiguration.AwsvpcConfiguration == nil || len(in.NetworkConfiguration.AwsvpcConfiguration.Subnets) == 0 {
		return ""
	}
	return in.NetworkConfiguration.AwsvpcConfiguration.Subnets[0]
}

// checkRun refuses what AWS refuses.
func (c *call) checkRun(in *runTaskInput, d *definition, on *cluster) error {
	switch {
	case !d.active:
		return invalid("TaskDefinition is inactive")
	case in.Count != nil && (*in.Count < 1 || *in.Count > 10):
		return invalid("Count must be between 1 and 10.")
	case !startedByText.MatchString(in.StartedBy):
		return invalid("startedBy must be at most 128 letters, numbers, hyphens, forward slashes and underscores.")
	case len(in.Overrides) > 8192:
		return invalid("Container Overrides length must be at most 8192")
	case in.LaunchType != "" && len(in.CapacityProviderStrategy) > 0:
		return invalid("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	case d.settings.NetworkMode == "awsvpc" && in.subnet() == "":
		return invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	case d.settings.NetworkMode != "awsvpc" && in.subnet() != "":
		return invalid("Network Configuration is not valid for the given networkMode of this task definition.")
	}
	if err := checkTags(in.Tags); err != nil {
		return err
	}
	for _, s := range in.CapacityProviderStrategy {
		if !slices.Contains(on.providers, s.CapacityProvider) {
			return invalid("The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. " +
				"Associate the capacity provider with the cluster or specify a valid capacity provider and try again.")
		}
	}
	if err := checkNetwork(in); err != nil {
		return err
	}
	return checkOverrides(in, d)
}

func checkOverrides(in *runTaskInput, d *definition) error {
	if len(in.Overrides) == 0 {
		return nil
	}
	var o overrides
	if err := json.Unmarshal(in.Overrides, &o); err != nil {
		return fault("SerializationException", "%v", err)
	}
	for _, container := range o.ContainerOverrides {
		if !slices.ContainsFunc(d.containers, func(c containerDefinition) bool { return c.Name == container.Name }) {
			return invalid("Override for container named %s is not a container in the TaskDefinition.", container.Name)
		}
	}
	if !d.settings.fargate() || o.CPU == "" && o.Memory == "" {
		return nil
	}
	size := d.settings
	if o.CPU != "" {
		size.CPU = o.CPU
	}
	if o.Memory != "" {
		size.Memory = o.Memory
	}
	if !fargatePair(units(size.CPU), units(size.Memory)) {
		return invalid("No Fargate configuration exists for given values: %s CPU, %s memory. See the Amazon ECS documentation for the valid values.",
			size.CPU, size.Memory)
	}
	return nil
}

// overridden is what the task has other than its definition says.
func (t *task) overridden() (o overrides) {
	_ = json.Unmarshal(t.overrides, &o) // it was checked
	return o
}

// place decides where the task runs.
func (c *call) place(t *task, in *runTaskInput) error {
	t.launchType = in.LaunchType
	if len(in.CapacityProviderStrategy) > 0 {
		best := in.CapacityProviderStrategy[0]
		for _, s := range in.CapacityProviderStrategy[1:] {
			if s.Base > best.Base || s.Base == best.Base && s.Weight > best.Weight {
				best = s
			}
		}
		t.provider, t.launchType = best.CapacityProvider, "FARGATE"
	}
	if t.launchType == "" {
		t.launchType = "EC2"
	}
	if t.launchType != "FARGATE" {
		if !c.knobs.Instances {
			return invalid("No Container Instances were found in your cluster.")
		}
		return nil
	}
	if !t.definition.settings.fargate() {
		return invalid("Task definition does not support launch_type FARGATE.")
	}
	switch t.platform = in.PlatformVersion; t.platform {
	case "", "LATEST", "1.4.0":
		t.platform = "1.4.0"
	case "1.3.0":
	default:
		return fault("PlatformUnknownException", "The specified platform version does not exist.")
	}
	return nil
}

// refusal is how RunTask says that there is no room.
func (c *call) refusal(t *task) failureView {
	if t.launchType != "FARGATE" {
		return failureView{ARN: arn("ecs", "container-instance/"+t.cluster.name+"/"+newID()), Reason: "RESOURCE:MEMORY"}
	}
	return failureView{Reason: noCapacity}
}
