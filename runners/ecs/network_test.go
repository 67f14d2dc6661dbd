package ecs

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
)

func TestNetworks_findSubnets(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	n := newNetworks(connected(t, e))
	for _, tt := range []struct{ variables, want, wrong string }{
		{`{"image": "i"}`, `{"awsvpcConfiguration":{"assignPublicIp":"ENABLED","subnets":["subnet-a","subnet-b"]}}`, ""},
		{`{"image": "i", "launch_type": "EC2"}`, `{"awsvpcConfiguration":{"subnets":["subnet-a","subnet-b"]}}`, ""},
		{`{"image": "i", "vpc_id": "vpc-private"}`, `{"awsvpcConfiguration":{"assignPublicIp":"ENABLED","subnets":["subnet-c"]}}`, ""},
		{
			`{"image": "i", "vpc_id": "vpc-private", "network_configuration": {"securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}}`,
			`{"awsvpcConfiguration":{"assignPublicIp":"DISABLED","securityGroups":["sg-1"],"subnets":["subnet-c"]}}`, "",
		},
		{
			`{"image": "i", "network_configuration": {"awsvpcConfiguration": {"subnets": ["subnet-x"]}}}`,
			`{"awsvpcConfiguration":{"subnets":["subnet-x"]}}`, "",
		},
		{`{"image": "i", "vpc_id": "vpc-none"}`, "", "there are no subnets in VPC vpc-none in us-east-1: name a VPC that has some in vpc_id"},
	} {
		got, err := n.of(t.Context(), jobOf(t, tt.variables), &definition{awsvpc: true})
		if tt.wrong != "" {
			if _, final := runners.IsPermanent(err); !final || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%s: got %v, want a permanent error with %q", tt.variables, err, tt.wrong)
			}
		} else if text, _ := json.Marshal(wire(got)); err != nil || string(text) != tt.want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", tt.variables, text, err, tt.want)
		}
	}
	if got, err := n.of(t.Context(), jobOf(t, `{"image": "i"}`), &definition{}); got != nil || err != nil {
		t.Errorf("without a network of its own: %v, %v", got, err)
	}
	calls := e.Calls("ec2:DescribeSubnets")
	if _, err := n.of(t.Context(), jobOf(t, `{"image": "i"}`), &definition{awsvpc: true}); err != nil || e.Calls("ec2:DescribeSubnets") != calls {
		t.Errorf("%v: the subnets were looked up again", err)
	}
}

// AWS answers few such calls in a second, and runs come in bursts.
func TestNetworks_lookOnceForManyStarts(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	n := newNetworks(connected(t, e))
	j := jobOf(t, `{"image": "i"}`)
	var starts sync.WaitGroup
	for range 100 {
		starts.Go(func() {
			if _, err := n.of(t.Context(), j, &definition{awsvpc: true}); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	if vpcs, subnets := e.Calls("ec2:DescribeVpcs"), e.Calls("ec2:DescribeSubnets"); vpcs != 1 || subnets != 1 {
		t.Errorf("got %d looks for the VPC and %d for its subnets, want one of each", vpcs, subnets)
	}
}

func TestChoose_takesThePublicOnes(t *testing.T) {
	subnet := func(id string, public bool) ec2types.Subnet {
		return ec2types.Subnet{SubnetId: &id, MapPublicIpOnLaunch: aws.Bool(public)}
	}
	if got := strings.Join(choose([]ec2types.Subnet{subnet("c", true), subnet("b", false), subnet("a", true)}), " "); got != "a c" {
		t.Errorf("got %s, want the public ones, sorted", got)
	}
	if got := strings.Join(choose([]ec2types.Subnet{subnet("c", false), subnet("b", false)}), " "); got != "b c" {
		t.Errorf("got %s, want all", got)
	}
	if got := len(choose(make([]ec2types.Subnet, 40))); got != maxSubnets {
		t.Errorf("got %d subnets, ECS takes %d", got, maxSubnets)
	}
}

func TestInRegion_refusesAnotherOne(t *testing.T) {
	c := &clients{region: "us-east-1"}
	for cluster, want := range map[string]string{
		"": "", "jobs": "", "arn:aws:ecs:us-east-1:123456789012:cluster/jobs": "",
		"arn:aws:ecs:eu-west-1:123456789012:cluster/jobs": "is in another region than this worker or server, which speaks to us-east-1: set AWS_REGION=eu-west-1",
	} {
		err := c.inRegion(&Job{Cluster: cluster})
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", cluster, err, want)
		}
	}
}
