package ecs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
)

// A definition is a task definition that ECS has, as far as it matters to a run.
type definition struct {
	arn         string
	container   string // the job's
	containers  []string
	awsvpc      bool   // its tasks get network interfaces of their own
	cpu, memory string // of the task, as it is registered; or empty
	logs        map[string]*logTarget
}

// A logTarget is where the awslogs driver writes a container's output.
type logTarget struct{ region, group, prefix string }

// log is where the output of the job's container goes; nil: where it cannot be read.
func (d *definition) log() *logTarget { return d.logs[d.container] }

// stream is the log stream of a task's container.
func (t *logTarget) stream(container, taskARN string) string {
	return t.prefix + "/" + container + "/" + lastPart(taskARN)
}

// definitionOf reads what ECS says of a definition.
func definitionOf(t *types.TaskDefinition) *definition {
	d := &definition{
		arn: deref(t.TaskDefinitionArn), awsvpc: t.NetworkMode == types.NetworkModeAwsvpc, cpu: deref(t.Cpu), memory: deref(t.Memory), logs: map[string]*logTarget{},
	}
	for i := range t.ContainerDefinitions {
		c := &t.ContainerDefinitions[i]
		d.containers = append(d.containers, deref(c.Name))
		if l := c.LogConfiguration; l != nil && l.LogDriver == types.LogDriverAwslogs && l.Options[optionPrefix] != "" {
			d.logs[deref(c.Name)] = &logTarget{region: l.Options[optionRegion], group: l.Options[optionGroup], prefix: l.Options[optionPrefix]}
		}
	}
	return d
}

// Options of the awslogs driver.
const (
	optionGroup  = "awslogs-group"
	optionRegion = "awslogs-region"
	optionPrefix = "awslogs-stream-prefix"
	optionCreate = "awslogs-create-group"
)

// logOptions are those of the job's container. The group is made by the driver, unless it is there.
func (j *Job) logOptions(pool, region string) map[string]string {
	options := map[string]string{optionGroup: "/weir/" + pool, optionRegion: region, optionPrefix: defaultContainer, optionCreate: "true"}
	if j.LogsPrefix != "" {
		options[optionPrefix] = j.LogsPrefix
	}
	maps.Copy(options, j.LogsOptions)
	return options
}

// family is that of the job's definition.
func (j *Job) family(s *runners.Spec) string {
	if j.Family != "" {
		return j.Family
	}
	return "weir-" + s.Pool + "-" + s.Deployment
}

// register turns a job into what ECS is asked to register, without Weir's tags. It is a function of its arguments alone, and says nothing
// that differs from run to run: command, variables, cpu and memory are a run's overrides.
func register(j *Job, s *runners.Spec, region string) *ecs.RegisterTaskDefinitionInput {
	in := j.Definition.input
	in.Family = aws.String(j.family(s))
	in.ContainerDefinitions = slices.Clone(in.ContainerDefinitions)
	if len(in.ContainerDefinitions) == 0 {
		in.ContainerDefinitions = []types.ContainerDefinition{{}}
	}
	if j.ExecutionRole != "" {
		in.ExecutionRoleArn = &j.ExecutionRole
	}
	if j.TaskRole != "" {
		in.TaskRoleArn = &j.TaskRole
	}
	in.RequiresCompatibilities = slices.Clone(in.RequiresCompatibilities)
	for _, c := range j.compatibilities() {
		if !slices.Contains(in.RequiresCompatibilities, c) {
			in.RequiresCompatibilities = append(in.RequiresCompatibilities, c)
		}
	}
	slices.Sort(in.RequiresCompatibilities)
	if j.awsvpc() {
		in.NetworkMode = types.NetworkModeAwsvpc
	}
	if platform, err := j.runtime(); err == nil && platform != nil {
		in.RuntimePlatform = platform
	}
	if j.EphemeralStorage > 0 {
		in.EphemeralStorage = &types.EphemeralStorage{SizeInGiB: int32(j.EphemeralStorage)} //nolint:gosec // at most 200
	}
	for i := range in.ContainerDefinitions {
		c := &in.ContainerDefinitions[i]
		if c.Name == nil && len(in.ContainerDefinitions) == 1 || deref(c.Name) == j.ContainerName {
			j.registerContainer(c, s, region)
		}
	}
	j.registerResources(&in)
	return &in
}

// registerContainer fills in the job's container.
func (j *Job) registerContainer(c *types.ContainerDefinition, s *runners.Spec, region string) {
	c.Name, c.Image = &j.ContainerName, &j.Image
	if j.User != "" {
		c.User = &j.User
	}
	if j.WorkingDir != "" {
		c.WorkingDirectory = &j.WorkingDir
	}
	if j.StopTimeout > 0 {
		c.StopTimeout = aws.Int32(int32(j.StopTimeout)) //nolint:gosec // at most 120 where Fargate is one of the places, and never more than maxStop
	}
	if j.Init {
		linux := types.LinuxParameters{}
		if c.LinuxParameters != nil {
			linux = *c.LinuxParameters
		}
		linux.InitProcessEnabled = aws.Bool(true)
		c.LinuxParameters = &linux
	}
	if j.ConfigureLogs {
		c.LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: j.logOptions(s.Pool, region)}
	}
	secrets := j.Env.secrets()
	for _, theirs := range c.Secrets {
		if _, ok := j.Env[deref(theirs.Name)]; !ok { // of one name there can be only one
			secrets = append(secrets, theirs)
		}
	}
	c.Secrets = secrets
	c.Environment = slices.DeleteFunc(slices.Clone(c.Environment), func(pair types.KeyValuePair) bool {
		return j.Env[deref(pair.Name)].fromAWS != ""
	})
	if launches(s, j) {
		c.EntryPoint = []string{j.python(), "-c", launchScript}
		c.Command = nil
		c.Environment = append(c.Environment,
			types.KeyValuePair{Name: aws.String(launcherVariable), Value: &packedLauncher},
			types.KeyValuePair{Name: aws.String("PYTHONUNBUFFERED"), Value: aws.String("1")}) // or its lines come when it ends
	}
}

// registerResources gives the definition what it has to say of cpu and memory. It is the same whatever the runs are given.
func (j *Job) registerResources(in *ecs.RegisterTaskDefinitionInput) {
	if j.fargate() {
		if in.Cpu == nil {
			in.Cpu = aws.String(strconv.Itoa(defaultCPU))
		}
		if in.Memory == nil {
			in.Memory = aws.String(strconv.Itoa(defaultMemory))
		}
		return
	}
	limited := func(c types.ContainerDefinition) bool { return c.Memory != nil || c.MemoryReservation != nil }
	if in.Memory == nil && !(len(in.ContainerDefinitions) > 0 && !slices.ContainsFunc(in.ContainerDefinitions, func(c types.ContainerDefinition) bool { return !limited(c) })) {
		in.Memory = aws.String(strconv.Itoa(defaultMemory)) // ECS wants it of the task, or of each container
	}
}

var platformForm = regexp.MustCompile(`^linux/([a-z0-9_]+)(/v8)?$`)

// architectures are ECS's names of those that a platform may name.
var architectures = map[string]types.CPUArchitecture{
	"amd64": types.CPUArchitectureX8664, "x86_64": types.CPUArchitectureX8664, "arm64": types.CPUArchitectureArm64, "aarch64": types.CPUArchitectureArm64,
}

// runtime is the platform that the job names; nil: it names none.
func (j *Job) runtime() (*types.RuntimePlatform, error) {
	if j.Platform == "" {
		return nil, nil
	}
	if m := platformForm.FindStringSubmatch(j.Platform); m != nil {
		if architecture, ok := architectures[m[1]]; ok {
			return &types.RuntimePlatform{CpuArchitecture: architecture, OperatingSystemFamily: types.OSFamilyLinux}, nil
		}
	}
	return nil, fmt.Errorf("platform is %q, want linux/amd64 or linux/arm64; another system is named by runtimePlatform in task_definition", clip(j.Platform))
}
