package ecstest

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
)

func TestNetwork_isRead(t *testing.T) {
	a := open(t, Paper(nil))
	client := ec2.NewFromConfig(a.Config())
	filter := func(name string, values ...string) []types.Filter {
		return []types.Filter{{Name: aws.String(name), Values: values}}
	}
	vpc, err := client.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: filter("is-default", "true")})
	if err != nil || len(vpc.Vpcs) != 1 || *vpc.Vpcs[0].VpcId != "vpc-default" || !*vpc.Vpcs[0].IsDefault {
		t.Errorf("the default VPC: got %+v, %v", vpc, err)
	}
	_, err = client.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{VpcIds: []string{"vpc-none"}})
	refused(t, err, "InvalidVpcID.NotFound")
	found, err := client.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: filter("vpc-id", "vpc-default")})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, s := range found.Subnets {
		ids = append(ids, *s.SubnetId)
	}
	if diff := cmp.Diff([]string{"subnet-a", "subnet-b"}, ids); diff != "" {
		t.Errorf("its subnets (-want +got):\n%s", diff)
	}
	groups, err := client.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{Filters: filter("vpc-id", "vpc-private")})
	if err != nil || len(groups.SecurityGroups) != 1 || *groups.SecurityGroups[0].GroupId != "sg-private" {
		t.Errorf("its security groups: got %+v, %v", groups, err)
	}
}

func TestIdentity(t *testing.T) {
	a := open(t, Paper(nil))
	out, err := sts.NewFromConfig(a.Config()).GetCallerIdentity(t.Context(), nil)
	if err != nil || *out.Account != Account || *out.Arn != "arn:aws:iam::123456789012:user/admin" {
		t.Errorf("got %+v, %v", out, err)
	}
}
