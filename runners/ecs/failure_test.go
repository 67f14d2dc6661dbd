package ecs

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/schemas"
)

func worded(code, message string) error {
	return answered(400, &smithy.GenericAPIError{Code: code, Message: message})
}

func TestFailed_saysWhatToDo(t *testing.T) {
	c, job := &clients{region: "us-east-1"}, &Job{Cluster: "jobs", VPC: "vpc-1", PlatformVersion: "9.9"}
	for _, tt := range []struct {
		err    error
		want   string
		reason schemas.Reason
		final  bool
	}{
		{&credentialsError{errors.New("no EC2 IMDS role found")}, `there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, where the worker or server runs, or give its task or machine a role (no EC2 IMDS role found)`, schemas.ReasonStartFailed, false},
		{worded("ExpiredTokenException", "The security token included in the request is expired"), `the AWS credentials have expired: log in again (aws sso login)`, schemas.ReasonStartFailed, false},
		{worded("UnrecognizedClientException", "invalid"), `AWS does not accept the credentials of this worker or server: check AWS_ACCESS_KEY_ID`, schemas.ReasonStartFailed, false},
		{
			worded("AccessDeniedException", "User: arn:aws:sts::123456789012:assumed-role/w/s is not authorized to perform: ecs:RunTask on resource: arn:aws:ecs:us-east-1:123456789012:task-definition/x:1 because no identity-based policy allows the ecs:RunTask action"),
			`the role of this worker or server may not ecs:RunTask on arn:aws:ecs:us-east-1:123456789012:task-definition/x:1: allow it what weir work-pool provision POOL --rights runner prints`, schemas.ReasonStartFailed, true,
		},
		{
			worded("UnauthorizedOperation", "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x is not authorized to perform: ec2:DescribeSubnets because"),
			`the role of this worker or server may not ec2:DescribeSubnets: allow it`, schemas.ReasonStartFailed, true,
		},
		{answered(403, errors.New("<html>")), `AWS refuses it to the role of this worker or server: allow it what weir`, schemas.ReasonStartFailed, true},
		{answered(400, &types.ClusterNotFoundException{Message: aws.String("Cluster not found.")}), `there is no cluster jobs in us-east-1: create it (aws ecs create-cluster --cluster-name jobs), or name another in the job variable cluster`, schemas.ReasonStartFailed, true},
		{worded("PlatformUnknownException", "x"), `Fargate has no platform version 9.9: leave platform_version out`, schemas.ReasonStartFailed, true},
		{worded("InvalidVpcID.NotFound", "x"), `there is no VPC vpc-1 in us-east-1`, schemas.ReasonStartFailed, true},
		{worded("ClientException", "The specified capacity provider 'x' was not found"), `the cluster does not have that capacity provider: add it (aws ecs put-cluster-capacity-providers)`, schemas.ReasonStartFailed, true},
		{worded("InvalidParameterException", "No Container Instances were found in your cluster."), `the cluster has no machine to run the task on: register container instances in it, or run the task on Fargate by launch_type FARGATE (InvalidParameterException: No Container Instances`, schemas.ReasonCapacity, false},
		{worded("ClientException", "Capacity is unavailable at this time. Please try again later or in a different availability zone"), `no room`, schemas.ReasonCapacity, false},
		{worded("ClientException", "You’ve reached the limit on the number of vCPUs you can run concurrently"), `no room`, schemas.ReasonCapacity, false},
		{worded("ClientException", "ECS was unable to assume the role 'arn:aws:iam::1:role/x' that was provided for this task."), `ECS cannot take on execution_role_arn, or task_role_arn: check that the role it names is there`, schemas.ReasonStartFailed, true},
		{worded("ClientException", "Role is not valid"), `a role cannot be used: check execution_role_arn and task_role_arn`, schemas.ReasonStartFailed, true},
		{worded("InvalidParameterException", "TaskDefinition is inactive"), `was deregistered`, schemas.ReasonStartFailed, true},
		{worded("InvalidParameterException", "The subnet ID 'subnet-9' is wrong (ErrorCode: InvalidSubnetID.NotFound)"), `the network cannot be used: check subnets`, schemas.ReasonStartFailed, true},
		{worded("InvalidParameterException", "The subnet ID 'subnet-9' does not exist (ErrorCode: InvalidSubnetID.NotFound)"), `the network cannot be used: check subnets`, schemas.ReasonStartFailed, true},
		{worded("ClientException", "No Fargate configuration exists for given values: 1024 CPU, 512 memory."), `ECS does not have that cpu and memory`, schemas.ReasonStartFailed, true},
		{worded("InvalidParameterException", "Something new"), `AWS refuses it: InvalidParameterException: Something new`, schemas.ReasonStartFailed, true},
	} {
		err := c.failed("start the task", job, &callError{err: tt.err})
		_, final := runners.IsPermanent(err)
		if !strings.HasPrefix(err.Error(), "start the task: ") || !strings.Contains(err.Error(), tt.want) || runners.ReasonOf(err, "") != tt.reason || final != tt.final {
			t.Errorf("%v:\ngot  %v (%s, permanent: %t)\nwant %s (%s, permanent: %t)", tt.err, err, runners.ReasonOf(err, ""), final, tt.want, tt.reason, tt.final)
		}
		if strings.Contains(err.Error(), "operation error") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v is not one sentence", err)
		}
	}
}

// What a caller has to know of an error stays known when it is said in words.
func TestFailed_hidesNothing(t *testing.T) {
	c := &clients{}
	err := c.failed("start the task", &Job{}, &callError{err: worded("ClientException", "x"), unknown: true})
	if !errors.Is(err, errUnknown) {
		t.Errorf("%v does not tell that the outcome is not known", err)
	}
	ended := errors.New("the worker stops")
	if err := c.failed("start the task", &Job{}, &callError{err: ended, ended: true, last: errBusy}); !errors.Is(err, ended) {
		t.Errorf("%v does not tell why it was given up", err)
	} else if _, final := runners.IsPermanent(err); final {
		t.Errorf("%v is permanent", err)
	}
}

// The sentences fit what AWS answers.
func TestFailed_knowsAWSOwnWords(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c := connected(t, e)
	run := func(in *ecs.RunTaskInput, j *Job) error {
		_, err := ask(t.Context(), c, runTask, c.ecs.RunTask, in)
		if err == nil {
			return errors.New("it was started")
		}
		return c.failed("start the task", j, err)
	}
	request := func(variables string) (*ecs.RunTaskInput, *Job) {
		job := jobOf(t, variables)
		d, err := newTestRegistrar(c, &locks{}).resolve(t.Context(), spec(), job)
		if err != nil {
			t.Fatal(err)
		}
		o := orderOf(job)
		o.definition = d
		if o.network, err = newNetworks(c).of(t.Context(), job, d); err != nil {
			t.Fatal(err)
		}
		in, err := o.request()
		if err != nil {
			t.Fatal(err)
		}
		return in, job
	}
	for variables, want := range map[string]string{
		`{"image": "i", "cluster": "none"}`:                                  "there is no cluster none in us-east-1",
		`{"image": "i", "network_configuration": {"subnets": ["subnet-x"]}}`: "the network cannot be used",
		`{"image": "i", "capacity": ["gpu"]}`:                                "the cluster does not have that capacity provider",
		`{"image": "i", "launch_type": "EC2", "vpc_id": "vpc-default"}`:      "register container instances",
	} {
		in, job := request(variables)
		if err := run(in, job); !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", variables, err, want)
		}
	}
	in, job := request(`{"image": "i"}`)
	if err := e.AddUser("WORKER", "weir", `{"Statement": [{"Effect": "Allow", "Action": ["ecs:Describe*", "ecs:TagResource"], "Resource": "*"}]}`); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "WORKER")
	var err error
	if c, err = newClients(context.Background(), silence); err != nil {
		t.Fatal(err)
	}
	if err := run(in, job); !strings.Contains(err.Error(), "the role of this worker or server may not ecs:RunTask on ") {
		t.Errorf("without the right to: %v", err)
	}
	e.Expire("WORKER")
	if err := run(in, job); !strings.Contains(err.Error(), "the AWS credentials have expired") {
		t.Errorf("with old credentials: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "NOBODY")
	if c, err = newClients(context.Background(), silence); err != nil {
		t.Fatal(err)
	}
	if err := run(in, job); !strings.Contains(err.Error(), "AWS does not accept the credentials of this worker or server") {
		t.Errorf("with wrong credentials: %v", err)
	}
}

func TestNotPlaced_tellsRoomFromFaults(t *testing.T) {
	j, p := &Job{Cluster: "jobs"}, placement{name: "FARGATE_SPOT"}
	for _, tt := range []struct {
		reason, detail string
		want           schemas.Reason
		final          bool
	}{
		{"RESOURCE:MEMORY", "", schemas.ReasonCapacity, false},
		{"RESOURCE:ENI", "x", schemas.ReasonCapacity, false},
		{"AGENT", "", schemas.ReasonCapacity, false},
		{"EMPTY CAPACITY PROVIDER", "", schemas.ReasonCapacity, false},
		{"Capacity is unavailable at this time. Please try again later or in a different availability zone", "", schemas.ReasonCapacity, false},
		{"ATTRIBUTE", "ecs.cpu-architecture", schemas.ReasonStartFailed, true},
		{"SOMETHING NEW", "", schemas.ReasonStartFailed, false},
	} {
		err := notPlaced(j, p, []types.Failure{{Reason: &tt.reason, Detail: &tt.detail}})
		if _, final := runners.IsPermanent(err); runners.ReasonOf(err, "") != tt.want || final != tt.final || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: got %v (%s, permanent: %t), want %s, %t", tt.reason, err, runners.ReasonOf(err, ""), final, tt.want, tt.final)
		}
	}
	if err := notPlaced(j, p, nil); runners.ReasonOf(err, "") != schemas.ReasonCapacity {
		t.Errorf("no task and no failure: %v", err)
	}
}
