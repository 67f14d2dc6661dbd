package ecstest

import (
	"fmt"
	"strings"
)

// The network that is there: two VPCs, of which the first is the region's default one.
var (
	vpcs    = []string{"vpc-default", "vpc-private"}
	subnets = []struct{ id, vpc, zone string }{
		{"subnet-a", "vpc-default", Region + "a"}, {"subnet-b", "vpc-default", Region + "b"}, {"subnet-c", "vpc-private", Region + "a"},
	}
	securityGroups = []struct{ id, vpc, name string }{{"sg-default", "vpc-default", "default"}, {"sg-private", "vpc-private", "default"}}
)

// checkNetwork refuses subnets and security groups that are not there.
func checkNetwork(in *runTaskInput) error {
	if in.NetworkConfiguration == nil || in.NetworkConfiguration.AwsvpcConfiguration == nil {
		return nil
	}
	vpc := map[string]bool{}
	for _, id := range in.NetworkConfiguration.AwsvpcConfiguration.Subnets {
		found := false
		for _, subnet := range subnets {
			if subnet.id == id {
				vpc[subnet.vpc], found = true, true
			}
		}
		if !found {
			return invalid("Error retrieving subnet information for [%s]: The subnet ID '%s' does not exist (ErrorCode: InvalidSubnetID.NotFound)", id, id)
		}
	}
	if len(vpc) > 1 {
		return invalid("All subnets should belong to the same VPC.")
	}
	for _, id := range in.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups {
		found := false
		for _, group := range securityGroups {
			found = found || group.id == id && vpc[group.vpc]
		}
		if !found {
			return invalid("Error retrieving security group information for [%s]: The security group '%s' does not exist (ErrorCode: InvalidGroup.NotFound)", id, id)
		}
	}
	return nil
}

// wanted reads the IDs and the filter by VPC of a request of EC2.
func (c *call) wanted(ids string) (id, vpc func(string) bool, isDefault bool) {
	list := func(prefix string) map[string]bool {
		set := map[string]bool{}
		for n := 1; c.form.Get(fmt.Sprintf("%s.%d", prefix, n)) != ""; n++ {
			set[c.form.Get(fmt.Sprintf("%s.%d", prefix, n))] = true
		}
		return set
	}
	in := func(set map[string]bool) func(string) bool {
		return func(s string) bool { return len(set) == 0 || set[s] }
	}
	id, vpc = in(list(ids)), in(nil)
	for n := 1; c.form.Get(fmt.Sprintf("Filter.%d.Name", n)) != ""; n++ {
		switch c.form.Get(fmt.Sprintf("Filter.%d.Name", n)) {
		case "vpc-id":
			vpc = in(list(fmt.Sprintf("Filter.%d.Value", n)))
		case "is-default", "isDefault":
			isDefault = true
		}
	}
	return id, vpc, isDefault
}

func (c *call) ec2(set string, items []string) (any, error) {
	action := strings.TrimPrefix(c.action, "ec2:")
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><%[1]sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">`+
		`<requestId>%[2]s</requestId><%[3]s>%[4]s</%[3]s></%[1]sResponse>`, action, newID(), set, strings.Join(items, "")), nil
}

func describeVpcs(c *call) (any, error) {
	if err := c.may("*", nil); err != nil {
		return nil, err
	}
	id, _, isDefault := c.wanted("VpcId")
	var items []string
	known := false
	for i, vpc := range vpcs {
		if id(vpc) && (!isDefault || i == 0) {
			known = true
			items = append(items, fmt.Sprintf(`<item><vpcId>%s</vpcId><state>available</state><isDefault>%v</isDefault></item>`, vpc, i == 0))
		}
	}
	if !known {
		asked := c.form.Get("VpcId.1")
		return nil, fault("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", asked)
	}
	return c.ec2("vpcSet", items)
}

func describeSubnets(c *call) (any, error) {
	if err := c.may("*", nil); err != nil {
		return nil, err
	}
	id, vpc, _ := c.wanted("SubnetId")
	var items []string
	for _, s := range subnets {
		if id(s.id) && vpc(s.vpc) {
			items = append(items, fmt.Sprintf(`<item><subnetId>%s</subnetId><state>available</state><vpcId>%s</vpcId>`+
				`<availabilityZone>%s</availabilityZone><mapPublicIpOnLaunch>%v</mapPublicIpOnLaunch></item>`, s.id, s.vpc, s.zone, s.vpc == "vpc-default"))
		}
	}
	return c.ec2("subnetSet", items)
}

func describeSecurityGroups(c *call) (any, error) {
	if err := c.may("*", nil); err != nil {
		return nil, err
	}
	id, vpc, _ := c.wanted("GroupId")
	var items []string
	for _, g := range securityGroups {
		if id(g.id) && vpc(g.vpc) {
			items = append(items, fmt.Sprintf(`<item><groupId>%s</groupId><groupName>%s</groupName><vpcId>%s</vpcId></item>`, g.id, g.name, g.vpc))
		}
	}
	return c.ec2("securityGroupInfo", items)
}
