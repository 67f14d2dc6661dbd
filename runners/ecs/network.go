package ecs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

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
	if j.VPC != "" && !strings.HasPrefix(j.VPC, "vpc-") {
		return fmt.Errorf("vpc_id is %q, want an ID that begins with vpc-", clip(j.VPC))
	}
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

// networks finds the subnets of VPCs, and remembers them for a while.
type networks struct {
	clients *clients
	turn    chan struct{} // held by the one who looks: those behind find what it found

	mu    sync.Mutex
	known map[string]subnets // by VPC ID, or "" for the default VPC; under mu
}

type subnets struct {
	ids   []string
	found time.Time
}

// subnetsTime is how long a VPC's subnets are taken for the same.
const subnetsTime = 10 * time.Minute

// maxSubnets is how many ECS takes.
const maxSubnets = 16

func newNetworks(c *clients) *networks {
	return &networks{clients: c, turn: make(chan struct{}, 1), known: map[string]subnets{}}
}

// of is the network of a task; nil where its definition's tasks have none of their own.
func (n *networks) of(ctx context.Context, j *Job, d *definition) (*types.NetworkConfiguration, error) {
	if !d.awsvpc {
		return nil, nil
	}
	given := network{}
	if j.Network != nil {
		given = *j.Network
	}
	if len(given.Subnets) == 0 {
		var err error
		if given.Subnets, err = n.subnets(ctx, j); err != nil {
			return nil, err
		}
		if given.AssignPublicIP == "" && j.fargate() {
			given.AssignPublicIP = string(types.AssignPublicIpEnabled) // or it reaches no registry
		}
	}
	return &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{
		Subnets: given.Subnets, SecurityGroups: given.SecurityGroups, AssignPublicIp: types.AssignPublicIp(given.AssignPublicIP),
	}}, nil
}

// remembered are the subnets of a VPC that was looked at lately.
func (n *networks) remembered(vpc string) ([]string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.known[vpc]
	return s.ids, ok && time.Since(s.found) < subnetsTime
}

// subnets are those that the job's tasks may be in. Where thousands of starts want to know, one asks.
func (n *networks) subnets(ctx context.Context, j *Job) ([]string, error) {
	if ids, ok := n.remembered(j.VPC); ok {
		return ids, nil
	}
	select {
	case n.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-n.turn }()
	if ids, ok := n.remembered(j.VPC); ok {
		return ids, nil
	}
	vpc, what := j.VPC, "VPC "+clip(j.VPC)
	if vpc == "" {
		what = "the default VPC"
		out, err := ask(ctx, n.clients, readNetwork, n.clients.ec2.DescribeVpcs, &ec2.DescribeVpcsInput{
			Filters: []ec2types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}},
		})
		if err != nil {
			return nil, n.clients.failed("find the default VPC", j, err)
		}
		if len(out.Vpcs) == 0 {
			return nil, refused("there is no default VPC in %s: name subnets in network_configuration, or a VPC in vpc_id", n.clients.region)
		}
		vpc = deref(out.Vpcs[0].VpcId)
	}
	out, err := ask(ctx, n.clients, readNetwork, n.clients.ec2.DescribeSubnets, &ec2.DescribeSubnetsInput{
		Filters: []ec2types.Filter{{Name: aws.String("vpc-id"), Values: []string{vpc}}},
	})
	if err != nil {
		return nil, n.clients.failed("find the subnets of "+what, j, err)
	}
	ids := choose(out.Subnets)
	if len(ids) == 0 {
		return nil, refused("there are no subnets in %s in %s: name a VPC that has some in vpc_id, or subnets in network_configuration", what, n.clients.region)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[j.VPC] = subnets{ids: ids, found: time.Now()}
	return ids, nil
}

// choose takes the public subnets, where some are: a task with a public address in another one reaches nothing.
func choose(list []ec2types.Subnet) []string {
	var all, public []string
	for _, s := range list {
		all = append(all, deref(s.SubnetId))
		if aws.ToBool(s.MapPublicIpOnLaunch) {
			public = append(public, deref(s.SubnetId))
		}
	}
	if len(public) > 0 {
		all = public
	}
	slices.Sort(all)
	return all[:min(len(all), maxSubnets)]
}

// inRegion refuses what is in another region than the worker's.
func (c *clients) inRegion(j *Job) error {
	if region := regionOf(j.cluster()); region != "" && region != c.region {
		return refused("cluster %s is in another region than this worker or server, which speaks to %s: set AWS_REGION=%s where it runs, or name another cluster",
			clip(j.cluster()), c.region, region)
	}
	return nil
}

// regionOf is the region that an ARN names, or nothing.
func regionOf(arn string) string {
	if parts := splitARN(arn); parts != nil {
		return parts[3]
	}
	return ""
}

// splitARN cuts an ARN into its six parts: arn, partition, service, region, account, resource. nil: it is none.
func splitARN(s string) []string {
	if parts := strings.SplitN(s, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		return parts
	}
	return nil
}
