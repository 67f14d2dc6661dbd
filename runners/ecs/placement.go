package ecs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/schemas"
)

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

// fargate tells whether a task of that place runs on Fargate.
func (p *placement) fargate() bool {
	return p.launchType == types.LaunchTypeFargate || slices.ContainsFunc(p.strategy, func(i types.CapacityProviderStrategyItem) bool {
		return strings.HasPrefix(deref(i.CapacityProvider), fargate)
	})
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

// nearPlace is the place of ECS's own that a name is meant for which is none, or "".
func nearPlace(name string) string {
	own := []string{fargate, fargateSpot, string(types.LaunchTypeExternal)}
	switch ec2 := string(types.LaunchTypeEc2); {
	case name == ec2 || slices.Contains(own, name):
		return ""
	case strings.EqualFold(name, ec2): // what is only near to so short a name may be a provider's
		return ec2
	}
	return schemas.Nearest(name, own)
}

func (j *Job) checkPlaces() error {
	if len(j.Strategy) > 0 && len(j.Capacity) > 0 {
		return errors.New("capacity and capacity_provider_strategy both say where to run: give one of them, and set the other one to [] where the pool gives it")
	}
	if j.LaunchType != "" && len(j.Capacity) > 0 {
		return errors.New("capacity and launch_type both say where to run: give one of them, and set the other one to null where the pool gives it")
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
		if near := nearPlace(name); near != "" {
			return fmt.Errorf("capacity has %q: did you mean %s? If the cluster has a capacity provider of that name, name it in capacity_provider_strategy", name, near)
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
