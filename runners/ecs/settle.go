package ecs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-run/weir/runners"
)

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
