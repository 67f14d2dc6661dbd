package ecs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/launcher"
	"github.com/weir-run/weir/schemas"
)

// maxOverrides is how many characters of JSON ECS takes of what a run says over its task definition.
const maxOverrides = 8192

// refused is an error that trying again cannot mend.
func refused(format string, args ...any) error {
	return runners.Permanent(schemas.ReasonStartFailed, fmt.Errorf(format, args...))
}

// An order is everything of which a task is made.
type order struct {
	system     string // identity of the NATS system
	spec       *runners.Spec
	job        *Job
	definition *definition
	network    *types.NetworkConfiguration // nil: the definition's tasks have none of their own
	place      placement
	try        int         // counts from 1 the requests that differ: see [clientToken]
	tags       []types.Tag // beside those of [taskTags]
}

// request turns an order into what ECS is asked to run. It is a function of its argument alone: whoever asks again asks the same.
func (o *order) request() (*ecs.RunTaskInput, error) {
	in := o.job.Request.input
	in.Cluster = aws.String(o.job.cluster())
	in.TaskDefinition = &o.definition.arn
	in.Count = aws.Int32(1)
	in.StartedBy = aws.String(startedBy(o.system, o.spec.Pool, o.spec.Name))
	in.ClientToken = aws.String(clientToken(o.system, o.spec.Pool, o.spec.Name, o.try))
	in.LaunchType, in.CapacityProviderStrategy = o.place.launchType, o.place.strategy
	in.PlatformVersion = nil
	if o.job.PlatformVersion != "" && o.place.fargate() {
		in.PlatformVersion = &o.job.PlatformVersion
	}
	in.NetworkConfiguration = o.network
	in.Tags = append(taskTags(o.system, o.spec, o.job), o.tags...)
	overrides, err := o.overrides()
	if err != nil {
		return nil, err
	}
	in.Overrides = overrides
	return &in, nil
}

// overrides are what this run says over its definition.
func (o *order) overrides() (*types.TaskOverride, error) {
	over := types.TaskOverride{}
	if theirs := o.job.Request.input.Overrides; theirs != nil {
		over = *theirs
	}
	cpu, memory := o.job.CPU, o.job.Memory
	if o.job.TaskDefinition == "" {
		cpu, memory = o.job.resources()
	}
	over.Cpu, over.Memory = differs(cpu, o.definition.cpu), differs(memory, o.definition.memory)

	own := types.ContainerOverride{}
	others := slices.Clone(over.ContainerOverrides)
	if theirs := o.job.Request.container(o.definition.container); theirs != nil {
		own = *theirs
		others = slices.DeleteFunc(others, func(c types.ContainerOverride) bool { return c.Name == nil || *c.Name == o.definition.container })
	}
	own.Name = &o.definition.container
	own.Command = o.job.Command
	own.Environment = append(o.job.Env.plain(), o.environment()...)
	if launches(o.spec, o.job) {
		entry, function, ok := launcher.Split(o.spec.Entrypoint)
		if !ok {
			return nil, refused("entrypoint %q is not file.py:function", clip(o.spec.Entrypoint))
		}
		if o.job.TaskDefinition != "" {
			return nil, refused("an entrypoint needs a task definition of Weir's own, which has its launcher: give a command, or leave task_definition_arn out")
		}
		own.Command = []string{entry + ":" + function, "."}
	}
	over.ContainerOverrides = append([]types.ContainerOverride{own}, others...)
	if n := utf8.RuneCount(wireJSON(over)); n > maxOverrides {
		return nil, refused("command, variables and parameters of the run are %d characters of JSON, the parameters %d of them, and ECS takes %d: "+
			"put what is large where the job can fetch it (a bucket) and give it the address, or put variables that all runs share into the task_definition of the pool's base job template",
			n, len(o.spec.Parameters), maxOverrides)
	}
	return &over, nil
}

// environment is what every job is told of its run.
func (o *order) environment() []types.KeyValuePair {
	var list []types.KeyValuePair
	for _, v := range append(o.spec.Environ(), "WEIR_PARAMETERS="+string(o.spec.Parameters)) {
		name, value, _ := strings.Cut(v, "=")
		list = append(list, types.KeyValuePair{Name: &name, Value: &value})
	}
	return list
}

// differs is an amount as an override; nil where the definition has it, or the job says nothing.
func differs(amount runners.Amount, registered string) *string {
	text := strconv.FormatInt(int64(amount), 10)
	if amount == 0 || text == registered {
		return nil
	}
	return &text
}
