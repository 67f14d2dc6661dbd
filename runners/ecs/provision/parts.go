package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/policies"
)

// Kinds of parts, for people.
const (
	kindCluster   = "cluster"
	kindExecution = "execution role"
	kindJob       = "job role"
	kindLogGroup  = "log group"
)

// retention is how many days CloudWatch keeps what jobs print: Weir keeps its own copy.
const retention = 7

// policyName is that of the inline policy which Weir gives a role, and which alone it changes.
const policyName = "weir"

// failed notes in a part that it could not be looked at or made.
func failed(part runners.Part, err error) runners.Part {
	part.State, part.Message = runners.PartRefused, explain(err).Error()
	return part
}

func (a *account) makeCluster(ctx context.Context) runners.Part {
	part := runners.Part{Kind: kindCluster, Name: a.cluster}
	spot := []string{"FARGATE", "FARGATE_SPOT"}
	found, err := a.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{a.cluster}})
	if err != nil {
		return failed(part, err)
	}
	for _, c := range found.Clusters {
		if aws.ToString(c.Status) != "ACTIVE" {
			continue // a deleted one is told of for a while
		}
		part.ID, part.State = aws.ToString(c.ClusterArn), runners.PartExists
		if len(c.CapacityProviders) == 0 {
			part.Message = "it has no capacity providers: jobs run by launch type, and cannot ask for FARGATE_SPOT"
			part.Next = fmt.Sprintf("aws ecs put-cluster-capacity-providers --cluster %s --capacity-providers %s --default-capacity-provider-strategy capacityProvider=FARGATE",
				a.cluster, strings.Join(spot, " "))
		}
		return part
	}
	part.State = runners.PartMissing
	if !a.apply {
		return part
	}
	made, err := a.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: &a.cluster, CapacityProviders: spot})
	if err != nil {
		return failed(part, err)
	}
	part.ID, part.State = aws.ToString(made.Cluster.ClusterArn), runners.PartCreated
	return part
}

func (a *account) makeExecutionRole(ctx context.Context) runners.Part {
	rights, err := policies.Execution.Document(a.scope)
	if err != nil {
		return failed(runners.Part{Kind: kindExecution, Name: a.execution}, err)
	}
	return a.makeRole(ctx, runners.Part{Kind: kindExecution, Name: a.execution}, "ECS starts the tasks of Weir's jobs with this role.", policies.Agent, rights)
}

func (a *account) makeJobRole(ctx context.Context) runners.Part {
	part := a.makeRole(ctx, runners.Part{Kind: kindJob, Name: a.job}, "Weir's jobs have this role. It allows nothing until a policy is attached to it.", policies.Tasks, nil)
	if part.State == runners.PartCreated || part.State == runners.PartMissing {
		part.Message = "it allows nothing by itself: attach what your jobs need"
	}
	return part
}

// makeRole looks for a role that tasks run with, and makes it. rights are what the role's own policy is to allow; nil: it has none.
func (a *account) makeRole(ctx context.Context, part runners.Part, description string, trusted policies.Policy, rights json.RawMessage) runners.Part {
	trust, err := trusted.Document(a.scope)
	if err != nil {
		return failed(part, err)
	}
	found, err := a.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &part.Name})
	if err == nil {
		part.ID, part.State = aws.ToString(found.Role.Arn), runners.PartExists
		if !trusts(aws.ToString(found.Role.AssumeRolePolicyDocument)) {
			part.State = runners.PartRefused
			part.Message = "ECS's tasks cannot take it on: its trust policy does not name ecs-tasks.amazonaws.com, and is left as it is"
			part.Next = fmt.Sprintf("aws iam update-assume-role-policy --role-name %s --policy-document '%s'", part.Name, trust)
			return part
		}
		return a.checkRights(ctx, part, rights, aws.ToString(found.Role.Description) == description)
	}
	if _, absent := errors.AsType[*iamtypes.NoSuchEntityException](err); !absent {
		return failed(part, err)
	}
	part.State = runners.PartMissing
	if !a.apply {
		return part
	}
	made, err := a.iam.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: &part.Name, Description: &description, AssumeRolePolicyDocument: aws.String(string(trust)),
	})
	if _, there := errors.AsType[*iamtypes.EntityAlreadyExistsException](err); there { // somebody was faster, or the answer to a first try was lost
		part.ID = a.roleARN(part.Name)
	} else if err != nil {
		return failed(part, err)
	} else {
		part.ID = aws.ToString(made.Role.Arn)
	}
	part.State = runners.PartCreated
	return a.putRights(ctx, part, rights)
}

// checkRights holds the policy that Weir gave a role against the one that it would give now. A role of ours may have none: whoever made it
// came no further.
func (a *account) checkRights(ctx context.Context, part runners.Part, rights json.RawMessage, ours bool) runners.Part {
	if rights == nil {
		return part
	}
	has, err := a.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &part.Name, PolicyName: aws.String(policyName)})
	_, absent := errors.AsType[*iamtypes.NoSuchEntityException](err)
	switch {
	case absent && !ours:
		part.Message = "it was not made by this command, and its rights are left as they are: it has to pull the image, read the secrets and write to " + a.logGroup
		return part
	case err != nil && !absent:
		return failed(part, err)
	case err == nil && same(aws.ToString(has.PolicyDocument), rights):
		return part
	}
	part.State, part.Message = runners.PartDiffers, "its policy "+policyName+" is not as it has to be; rights of your own belong in a policy of another name"
	if !a.apply {
		return part
	}
	part.State, part.Message = runners.PartUpdated, ""
	return a.putRights(ctx, part, rights)
}

func (a *account) putRights(ctx context.Context, part runners.Part, rights json.RawMessage) runners.Part {
	if rights == nil {
		return part
	}
	_, err := a.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: &part.Name, PolicyName: aws.String(policyName), PolicyDocument: aws.String(string(rights)),
	})
	if err != nil {
		return failed(part, fmt.Errorf("give it its policy: %w", err))
	}
	return part
}

// document is a policy as IAM tells it: escaped as in a URL.
func document(told string) string {
	if text, err := url.PathUnescape(told); err == nil {
		return text
	}
	return told
}

// same tells whether two policies are the same JSON.
func same(told string, want json.RawMessage) bool {
	var a, b any
	return json.Unmarshal([]byte(document(told)), &a) == nil && json.Unmarshal(want, &b) == nil && reflect.DeepEqual(a, b)
}

// trusts tells whether ECS's tasks may take on a role with that trust policy.
func trusts(told string) bool {
	var policy struct {
		Statement []struct {
			Effect    string
			Principal json.RawMessage
		}
	}
	if json.Unmarshal([]byte(document(told)), &policy) != nil {
		return false
	}
	for _, s := range policy.Statement {
		if s.Effect == "Allow" && strings.Contains(string(s.Principal), `"ecs-tasks.amazonaws.com"`) {
			return true
		}
	}
	return false
}

func (a *account) makeLogGroup(ctx context.Context) runners.Part {
	part := runners.Part{Kind: kindLogGroup, Name: a.logGroup}
	pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(a.logs, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &a.logGroup})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return failed(part, err)
		}
		for _, g := range page.LogGroups {
			if aws.ToString(g.LogGroupName) == a.logGroup {
				part.ID, part.State = aws.ToString(g.Arn), runners.PartExists
				if g.RetentionInDays == nil {
					part.Message = "it keeps output for ever"
					part.Next = fmt.Sprintf("aws logs put-retention-policy --log-group-name %s --retention-in-days %d", a.logGroup, retention)
				}
				return part
			}
		}
	}
	part.State = runners.PartMissing
	if !a.apply {
		return part
	}
	_, err := a.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &a.logGroup})
	if _, there := errors.AsType[*logtypes.ResourceAlreadyExistsException](err); err != nil && !there {
		return failed(part, err)
	}
	part.ID = fmt.Sprintf("arn:%s:logs:%s:%s:log-group:%s:*", a.scope.Partition, a.scope.Region, a.scope.Account, a.logGroup)
	part.State = runners.PartCreated
	_, err = a.logs.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: &a.logGroup, RetentionInDays: aws.Int32(retention)})
	if err != nil {
		return failed(part, fmt.Errorf("have it keep output for %d days only: %w", retention, err))
	}
	return part
}
