package ecstest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
)

// patience bounds a failing test, never a passing one.
const patience = 30 * time.Second

// account is what a test has: an endpoint, clients, a definition.
type account struct {
	*Endpoint
	ecs  *ecs.Client
	logs *cloudwatchlogs.Client
}

// open makes an account with the definition "job", of one container "main", whose attempts are not repeated by the SDK.
func open(t *testing.T, host Host) *account {
	t.Helper()
	e := Open(t, host)
	cfg := e.Config()
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	a := &account{e, ecs.NewFromConfig(cfg), cloudwatchlogs.NewFromConfig(cfg)}
	e.AddLogGroup("/weir/p")
	a.register(t, definitionInput("job"))
	return a
}

func definitionInput(family string) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{
		Family: aws.String(family), Cpu: aws.String("256"), Memory: aws.String("512"), NetworkMode: types.NetworkModeAwsvpc,
		RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		ExecutionRoleArn:        aws.String("arn:aws:iam::" + Account + ":role/execution"),
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("main"), Image: aws.String("weir-test/busybox:1"), Command: []string{"sh"},
			LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
				"awslogs-group": "/weir/p", "awslogs-region": Region, "awslogs-stream-prefix": "weir",
			}},
		}},
		Tags: []types.Tag{{Key: aws.String("content"), Value: aws.String("1")}},
	}
}

func (a *account) register(t *testing.T, in *ecs.RegisterTaskDefinitionInput) *types.TaskDefinition {
	t.Helper()
	out, err := a.ecs.RegisterTaskDefinition(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out.TaskDefinition
}

func runInput() *ecs.RunTaskInput {
	return &ecs.RunTaskInput{
		TaskDefinition: aws.String("job"), LaunchType: types.LaunchTypeFargate, StartedBy: aws.String("weir-1"),
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-a"}}},
	}
}

// run runs a task and returns its ARN.
func (a *account) run(t *testing.T, change ...func(*ecs.RunTaskInput)) string {
	t.Helper()
	in := runInput()
	for _, change := range change {
		change(in)
	}
	out, err := a.ecs.RunTask(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tasks) != 1 {
		t.Fatalf("got %d tasks, failures %v, want one task", len(out.Tasks), out.Failures)
	}
	return *out.Tasks[0].TaskArn
}

func (a *account) describe(t *testing.T, arn string) *types.Task {
	t.Helper()
	out, err := a.ecs.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Tasks: []string{arn}, Include: []types.TaskField{types.TaskFieldTags}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tasks) == 0 {
		return nil
	}
	return &out.Tasks[0]
}

// await looks until the task is in that state.
func (a *account) await(t *testing.T, arn, status string) *types.Task {
	t.Helper()
	last := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if task := a.describe(t, arn); task != nil {
			if last = *task.LastStatus; last == status {
				return task
			}
		}
	}
	t.Fatalf("task %s is %q after %s, want %s", arn, last, patience, status)
	return nil
}

// refused tells whether err is AWS's of that code, and fails the test when it is not.
func refused(t *testing.T, err error, code string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestEndpoint_answersInABubbleOfFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := New(Paper(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		e.Tune(func(k *Knobs) {
			k.Pace = Pace{Provisioning: time.Minute, Pending: time.Minute, Activating: time.Minute}
		})
		a := &account{Endpoint: e, ecs: ecs.NewFromConfig(e.Config())}
		e.AddLogGroup("/weir/p")
		a.register(t, definitionInput("job"))
		arn := a.run(t)
		time.Sleep(3*time.Minute + time.Second)
		if got := *a.describe(t, arn).LastStatus; got != "RUNNING" {
			t.Errorf("after three minutes the task is %s, want RUNNING", got)
		}
		time.Sleep(7 * 24 * time.Hour)
		if got := *a.describe(t, arn).LastStatus; got != "RUNNING" {
			t.Errorf("after seven days the task is %s, want RUNNING", got)
		}
	})
}

func TestThrottle_isABucketThatFillsAgain(t *testing.T) {
	a := open(t, Paper(nil))
	a.Tune(func(k *Knobs) { k.Limits = map[string]Bucket{"ecs:RunTask": {Burst: 2, Rate: 0.01}} })
	a.run(t)
	a.run(t)
	_, err := a.ecs.RunTask(t.Context(), runInput())
	refused(t, err, "ThrottlingException")
	a.Advance(100 * time.Second)
	a.run(t)
	if got := a.Calls("ecs:RunTask"); got != 4 {
		t.Errorf("counted %d calls, want 4", got)
	}
}

func TestLoseAnswers_doesTheWork(t *testing.T) {
	a := open(t, Paper(nil))
	a.LoseAnswers("ecs:RunTask", 1)
	in := runInput()
	in.ClientToken = aws.String("once")
	if _, err := a.ecs.RunTask(t.Context(), in); err == nil {
		t.Fatal("the answer came, want it lost")
	} else if _, ok := errors.AsType[smithy.APIError](err); ok || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want an end of the connection", err)
	}
	out, err := a.ecs.RunTask(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Tasks()) != 1 || *out.Tasks[0].TaskArn != a.Tasks()[0].ARN {
		t.Errorf("got %d tasks, want the one that the first call has made", len(a.Tasks()))
	}
}

func TestBefore_holdsACall(t *testing.T) {
	a := open(t, Paper(nil))
	arrived, free := make(chan Call, 1), make(chan struct{})
	a.Tune(func(k *Knobs) {
		k.Before = func(c Call) {
			if c.Action == "ecs:RunTask" {
				arrived <- c
				<-free
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := a.ecs.RunTask(ctx, runInput())
		ended <- err
	}()
	<-arrived
	if n := len(a.Tasks()); n != 0 {
		t.Errorf("there are %d tasks before the call is done", n)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("the call succeeded, want it cancelled")
	}
	close(free)
}

func TestAuthenticate_tellsWhatIsWrong(t *testing.T) {
	a := open(t, Paper(nil))
	a.Expire("OLD")
	for key, code := range map[string]string{"NOBODY": "UnrecognizedClientException", "OLD": "ExpiredTokenException"} {
		cfg := a.Config()
		cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key, SecretAccessKey: "x"}, nil
		})
		_, err := ecs.NewFromConfig(cfg).ListClusters(t.Context(), nil)
		refused(t, err, code)
	}
	answer, err := http.Post(a.URL, "application/x-www-form-urlencoded", http.NoBody) //nolint:noctx // a test's
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("a request without an action: got %s, want 400", answer.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}
