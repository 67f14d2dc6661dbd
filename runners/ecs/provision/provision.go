// Package provision makes what ECS pools need in an AWS account, and no more: a cluster, the role with which ECS starts tasks, a role for
// the jobs, a log group. What is there stays as it is, but for the rights that Weir itself has given. The policies are those of package
// policies; Terraform's module ecs-push makes the same.
package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/policies"
)

// names are what the parts are called.
type names struct {
	cluster, execution, job, logGroup string
}

// Names that are used where nothing is decided. A pool has its own roles and log group, or one pool's rights would replace another's.
const (
	defaultCluster = "weir"
	defaultRoles   = "weir"
	defaultGroup   = "jobs"
)

// queueVariable names the queue of ECS's events to workers and servers. Where this command has it too, their rights are for it as well.
const queueVariable = "WEIR_ECS_EVENTS_QUEUE"

// roleName is the longest that IAM takes.
const roleName = 64

// account is one of AWS's, seen from one region.
type account struct {
	names
	scope policies.Scope
	ecs   *ecs.Client
	iam   *iam.Client
	logs  *cloudwatchlogs.Client
	apply bool
}

// Provision is [runners.Provision]. Region and credentials are found as every AWS program finds them.
func Provision(ctx context.Context, p runners.ProvisionRequest) (runners.Infrastructure, error) {
	n, err := decide(p.Pool, p.Variables)
	if err != nil {
		return runners.Infrastructure{}, err
	}
	a := &account{names: n, apply: p.Apply}
	if err := a.enter(ctx); err != nil {
		if p.Apply || ctx.Err() != nil {
			return runners.Infrastructure{}, err
		}
		return a.blind(p, err)
	}
	steps := []func(context.Context) runners.Part{a.makeCluster, a.makeExecutionRole, a.makeJobRole, a.makeLogGroup}
	infrastructure := runners.Infrastructure{Where: "account " + a.scope.Account + ", region " + a.scope.Region}
	for _, step := range steps {
		infrastructure.Parts = append(infrastructure.Parts, step(ctx))
		if ctx.Err() != nil {
			return infrastructure, context.Cause(ctx)
		}
	}
	return a.tell(p, infrastructure)
}

// decide finds the names: what job variables say is used under that name.
func decide(pool string, variables map[string]json.RawMessage) (names, error) {
	roles, group := defaultRoles, defaultGroup
	if pool != "" {
		roles, group = defaultRoles+"-"+pool, pool
	}
	n := names{cluster: defaultCluster, execution: roles + "-execution", job: roles + "-job", logGroup: "/weir/" + group}
	var options map[string]json.RawMessage
	for name, into := range map[string]any{
		"cluster": &n.cluster, "execution_role_arn": &n.execution, "task_role_arn": &n.job, "cloudwatch_logs_options": &options,
	} {
		raw, given := variables[name]
		if !given || string(raw) == "null" || string(raw) == `""` {
			continue
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return n, fmt.Errorf("job variable %s is %s: %w", name, raw, err)
		}
	}
	if group, given := options["awslogs-group"]; given {
		if err := json.Unmarshal(group, &n.logGroup); err != nil {
			return n, fmt.Errorf("job variable cloudwatch_logs_options: awslogs-group is %s, want text", group)
		}
	}
	for _, name := range []*string{&n.cluster, &n.execution, &n.job} {
		if arn.IsARN(*name) { // of another account or region it would not be found, and that is told of then
			*name = (*name)[strings.LastIndexByte(*name, '/')+1:]
		}
	}
	for variable, name := range map[string]string{"execution_role_arn": n.execution, "task_role_arn": n.job} {
		if len(name) > roleName {
			return n, fmt.Errorf("role %s has %d letters, and IAM takes %d: give a shorter name by the job variable %s", name, len(name), roleName, variable)
		}
	}
	if n.execution == n.job {
		return n, fmt.Errorf("execution_role_arn and task_role_arn are both %s: a job would have the rights with which ECS reads its secrets; name two roles", n.job)
	}
	return n, nil
}

// enter finds out which account this is.
func (a *account) enter(ctx context.Context) error {
	config, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.Nop{}))
	if err != nil {
		return fmt.Errorf("read the AWS configuration: %w", err)
	}
	if config.Region == "" {
		return errors.New("no AWS region is known: set AWS_REGION, such as eu-central-1, or a region in the profile that AWS_PROFILE names")
	}
	a.scope.Region = config.Region
	if _, err := config.Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (%w)", innermost(err))
	}
	who, err := sts.NewFromConfig(config).GetCallerIdentity(ctx, nil)
	if err != nil {
		return fmt.Errorf("ask AWS who we are: %w", explain(err))
	}
	me, err := arn.Parse(aws.ToString(who.Arn))
	if err != nil {
		return fmt.Errorf("ask AWS who we are: it says %q: %w", aws.ToString(who.Arn), err)
	}
	a.setScope(me.Partition, aws.ToString(who.Account))
	a.ecs, a.iam, a.logs = ecs.NewFromConfig(config), iam.NewFromConfig(config), cloudwatchlogs.NewFromConfig(config)
	return nil
}

func (a *account) setScope(partition, number string) {
	a.scope = policies.Scope{
		Partition: partition, Region: a.scope.Region, Account: number, Cluster: a.cluster, LogGroups: []string{a.logGroup},
	}
	if url := os.Getenv(queueVariable); url != "" {
		a.scope.Queue = path.Base(url)
	}
	a.scope.Roles = []string{a.roleARN(a.execution), a.roleARN(a.job)}
}

func (a *account) roleARN(name string) string {
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", a.scope.Partition, a.scope.Account, name)
}

// Placeholders of what is not known without AWS.
const (
	anyAccount = "ACCOUNT"
	anyRegion  = "REGION"
)

// blind tells what would be looked for, where AWS cannot be asked.
func (a *account) blind(p runners.ProvisionRequest, why error) (runners.Infrastructure, error) {
	infrastructure := runners.Infrastructure{Unseen: why.Error(), Unknown: []string{anyAccount}}
	if a.scope.Region == "" {
		a.scope.Region = anyRegion
		infrastructure.Unknown = append(infrastructure.Unknown, anyRegion)
	}
	a.setScope("aws", anyAccount)
	for _, part := range []runners.Part{
		{Kind: kindCluster, Name: a.cluster}, {Kind: kindExecution, Name: a.execution}, {Kind: kindJob, Name: a.job}, {Kind: kindLogGroup, Name: a.logGroup},
	} {
		part.State = runners.PartUnseen
		infrastructure.Parts = append(infrastructure.Parts, part)
	}
	return a.tell(p, infrastructure)
}

// tell adds what follows from the parts: job variables, rights and what is left to do.
func (a *account) tell(p runners.ProvisionRequest, i runners.Infrastructure) (runners.Infrastructure, error) {
	i.Variables = map[string]json.RawMessage{}
	for name, value := range map[string]any{
		"cluster": a.cluster, "execution_role_arn": a.roleARN(a.execution), "task_role_arn": a.roleARN(a.job),
		"configure_cloudwatch_logs": true, "cloudwatch_logs_options": map[string]string{"awslogs-group": a.logGroup},
	} {
		b, err := json.Marshal(value)
		if err != nil {
			return i, err
		}
		i.Variables[name] = b
	}
	i.Rights = map[string]json.RawMessage{}
	for name, policy := range map[string]policies.Policy{"runner": policies.Runner, "provision": policies.Provision} {
		document, err := policy.Document(a.scope)
		if err != nil {
			return i, err
		}
		i.Rights[name] = document
	}
	if i.Unseen != "" { // what stands for the unknown is of no use to AWS
		i.Next = append(i.Next, "look again where AWS can be reached: "+p.Command)
		return i, nil
	}
	if i.Refused() {
		i.Next = append(i.Next, "have somebody who may do all of this run the same command, or give you the rights to: "+p.Command+" --rights provision")
	}
	if i.Missing() > 0 && !a.apply {
		i.Next = append(i.Next, "make what is missing: "+p.Command+" --apply")
	}
	who := "worker"
	if strings.HasSuffix(p.Type, ":push") {
		who = "server"
	}
	i.Next = append(i.Next, fmt.Sprintf(
		"give the %s its rights: %s --rights runner >weir-runner.json && aws iam put-role-policy --role-name ROLE-OF-THE-%s --policy-name weir --policy-document file://weir-runner.json",
		who, p.Command, strings.ToUpper(who)))
	return i, nil
}
