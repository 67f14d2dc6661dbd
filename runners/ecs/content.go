package ecs

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// content tells definitions apart that say something different. What ECS takes as its default, and the order of fields, make none.
func content(in *ecs.RegisterTaskDefinitionInput) string {
	return digest("task definition", string(wireJSON(normal(*in))))
}

// normal is a definition without what ECS adds to it by itself.
func normal(in ecs.RegisterTaskDefinitionInput) ecs.RegisterTaskDefinitionInput {
	in.RequiresCompatibilities = slices.Sorted(slices.Values(in.RequiresCompatibilities))
	if in.NetworkMode == types.NetworkModeBridge {
		in.NetworkMode = ""
	}
	in.Tags = slices.DeleteFunc(slices.Clone(in.Tags), func(t types.Tag) bool { return strings.HasPrefix(deref(t.Key), tagPrefix) })
	in.ContainerDefinitions = slices.Clone(in.ContainerDefinitions)
	for i := range in.ContainerDefinitions {
		c := &in.ContainerDefinitions[i]
		if c.Essential != nil && *c.Essential {
			c.Essential = nil
		}
		c.Environment = slices.SortedFunc(slices.Values(c.Environment), func(a, b types.KeyValuePair) int {
			return strings.Compare(deref(a.Name), deref(b.Name))
		})
		c.Secrets = slices.SortedFunc(slices.Values(c.Secrets), func(a, b types.Secret) int { return strings.Compare(deref(a.Name), deref(b.Name)) })
		c.PortMappings = slices.Clone(c.PortMappings)
		for k := range c.PortMappings {
			p := &c.PortMappings[k]
			if p.HostPort != nil && p.ContainerPort != nil && *p.HostPort == *p.ContainerPort && in.NetworkMode == types.NetworkModeAwsvpc {
				p.HostPort = nil
			}
			if p.Protocol == types.TransportProtocolTcp {
				p.Protocol = ""
			}
		}
	}
	return in
}

// asked is what would have to be registered to get that definition.
func asked(t *types.TaskDefinition, tags []types.Tag) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{
		ContainerDefinitions: t.ContainerDefinitions, Family: t.Family, Cpu: t.Cpu, Memory: t.Memory, ExecutionRoleArn: t.ExecutionRoleArn, TaskRoleArn: t.TaskRoleArn,
		NetworkMode: t.NetworkMode, RequiresCompatibilities: t.RequiresCompatibilities, RuntimePlatform: t.RuntimePlatform, EphemeralStorage: t.EphemeralStorage,
		EnableFaultInjection: t.EnableFaultInjection, IpcMode: t.IpcMode, PidMode: t.PidMode,
		PlacementConstraints: t.PlacementConstraints, ProxyConfiguration: t.ProxyConfiguration, Volumes: t.Volumes, Tags: tags,
	}
}
