package ecs

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

// Endpoints that others have written of what AWS documents. They see it that this runner and the tests' own endpoint do not err together.
// moto runs nothing: each look at a task moves it on, and its exit code is 0. MiniStack runs tasks as containers. Neither knows client
// tokens, throttling, events, capacity or Spot.

// emulator is one of them, and clients to look into it.
type emulator struct {
	ecs    *ecs.Client
	logs   *cloudwatchlogs.Client
	ec2    *ec2.Client
	subnet string
}

var emulatorsInstalled = sync.OnceValue(func() error { return emulators("install") })

func emulators(args ...string) error {
	out, err := exec.Command(filepath.Join("testdata", "emulators.sh"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("emulators.sh %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// startEmulator starts one for the test. The environment leads there.
func startEmulator(t *testing.T, name string) *emulator {
	t.Helper()
	dockertest.Need(t, "ecs")
	if err := emulatorsInstalled(); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(free.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	dir := filepath.Join(t.TempDir(), name)
	if err := emulators("up", dir, name, port); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("%s says:\n%s", name, log[max(0, len(log)-4000):])
		}
		if err := emulators("down", dir); err != nil {
			t.Error(err)
		}
	})
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": "http://127.0.0.1:" + port, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "WEIR_ECS_RATE": "20",
	} {
		t.Setenv(name, value)
	}
	cfg, err := awsconfig.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := &emulator{ecs: ecs.NewFromConfig(cfg), logs: cloudwatchlogs.NewFromConfig(cfg), ec2: ec2.NewFromConfig(cfg)}
	m.prepare(t)
	return m
}

// prepare makes what a user has made: a cluster, a log group. It finds the subnets of the default VPC, in which tasks are started.
func (m *emulator) prepare(t *testing.T) {
	t.Helper()
	if _, err := m.ecs.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("prod")}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.logs.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("/weir/pool")}); err != nil {
		t.Fatal(err)
	}
	found, err := m.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{
		Filters: []ec2types.Filter{{Name: aws.String("default-for-az"), Values: []string{"true"}}},
	})
	if err != nil || len(found.Subnets) == 0 {
		t.Fatalf("there is no subnet: %v", err)
	}
	m.subnet = *found.Subnets[0].SubnetId
}

// spec is a run in its cluster. Without a security group and a memory of the container's own, moto fails.
func (m *emulator) spec(t *testing.T, name, script string, more map[string]any, out runners.Output) runners.Spec {
	t.Helper()
	settings := map[string]any{
		"cluster": "prod", "init": false, "task_definition": map[string]any{"containerDefinitions": []map[string]any{{"name": defaultContainer, "memory": 512}}},
		"network_configuration": map[string]any{"subnets": []string{m.subnet}, "securityGroups": []string{m.group(t)}},
	}
	for name, value := range more {
		settings[name] = value
	}
	run, _, _ := strings.Cut(name, ".")
	if out == nil {
		out = runnertest.NewRecorder()
	}
	return runners.Spec{
		Name: name, Run: run, Attempt: 1, Pool: "pool", Queue: "default", Deployment: "d", Worker: "worker", Parameters: []byte(`{"n":1}`),
		Job: shellJob(t, script, settings), Output: out,
	}
}

func (m *emulator) group(t *testing.T) string {
	t.Helper()
	found, err := m.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupNames: []string{"default"}})
	if err != nil || len(found.SecurityGroups) == 0 {
		t.Fatalf("there is no security group: %v", err)
	}
	return *found.SecurityGroups[0].GroupId
}

// worker opens a runner, as a worker does that starts in dir.
func (m *emulator) worker(t *testing.T, dir string) *runner {
	t.Helper()
	r := openIn(t, dir)
	t.Cleanup(func() {
		if !isClosed(r.closed) {
			_ = r.Close()
		}
	})
	return r
}

// patient is a context that ends long after whatever is waited for has happened.
func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), runnertest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// definitions are the revisions of all families.
func (m *emulator) definitions(t *testing.T) []string {
	t.Helper()
	out, err := m.ecs.ListTaskDefinitions(t.Context(), &ecs.ListTaskDefinitionsInput{})
	if err != nil {
		t.Fatal(err)
	}
	return out.TaskDefinitionArns
}

func (m *emulator) task(t *testing.T, arn string) types.Task {
	t.Helper()
	out, err := m.ecs.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{
		Cluster: aws.String("prod"), Tasks: []string{arn}, Include: []types.TaskField{types.TaskFieldTags},
	})
	if err != nil || len(out.Tasks) != 1 {
		t.Fatalf("describe %s: %v, %v", arn, out, err)
	}
	return out.Tasks[0]
}

// registersOnce starts runs of one deployment by two workers, of which the second knows nothing of the first.
func (m *emulator) registersOnce(t *testing.T) {
	t.Helper()
	var last string
	for w := range 2 {
		r := m.worker(t, t.TempDir())
		for i := range 3 {
			e, err := r.Start(patient(t), m.spec(t, fmt.Sprintf("run%d-%d.1", w, i), fmt.Sprintf("exit %d", i), map[string]any{"env": map[string]any{"I": i}}, nil))
			if err != nil {
				t.Fatal(err)
			}
			last = e.ID()
		}
	}
	if got := m.definitions(t); len(got) != 1 || !strings.HasSuffix(got[0], ":task-definition/weir-pool-d:1") {
		t.Errorf("six runs of one deployment: got task definitions %q, want weir-pool-d:1", got)
	}
	tags := map[string]string{}
	for _, tag := range m.task(t, last).Tags {
		tags[*tag.Key] = *tag.Value
	}
	for name, want := range map[string]string{tagPool: "pool", tagDeployment: "d", tagRun: "run1-2", tagAttempt: "1", tagExecution: "run1-2.1"} {
		if tags[name] != want {
			t.Errorf("tag %s is %q, want %q", name, tags[name], want)
		}
	}
}

func TestMoto_registersOnce(t *testing.T) {
	startEmulator(t, "moto").registersOnce(t)
}

func TestMoto_aWholeLife(t *testing.T) {
	m := startEmulator(t, "moto")
	dir := t.TempDir()
	first := m.worker(t, dir)
	e, err := first.Start(patient(t), m.spec(t, "run.1", "exit 0", map[string]any{"configure_cloudwatch_logs": false, "task_watch_poll_interval": 1}, nil)) // moto has no streams, nor times of a task
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := m.worker(t, dir)
	found, err := second.Find(patient(t), runners.Sought{Name: "run.1", ID: e.ID(), Place: second.Place(shellJob(t, "", map[string]any{"cluster": "prod"})), Output: runnertest.NewRecorder()})
	if err != nil {
		t.Fatal(err)
	}
	if found.ID() != e.ID() {
		t.Errorf("found %s, want %s", found.ID(), e.ID())
	}
	res, err := found.Wait(patient(t))
	if err != nil || res.ExitCode != 0 || res.NoCode {
		t.Errorf("got %+v, %v, want exit code 0", res, err)
	}
}

func TestMoto_whatIsNotThere(t *testing.T) {
	m := startEmulator(t, "moto")
	m.whatIsNotThere(t, map[string]map[string]any{
		"nowhere":     {"cluster": "nowhere"},
		"nobody":      {"task_definition_arn": "nobody", "image": nil, "configure_cloudwatch_logs": nil, "init": nil, "stop_timeout": nil, "task_definition": nil},
		"subnet-0123": {"network_configuration": map[string]any{"subnets": []string{"subnet-0123"}, "securityGroups": []string{m.group(t)}}},
	})
}

// whatIsNotThere expects a sentence that names it, at once.
func (m *emulator) whatIsNotThere(t *testing.T, cases map[string]map[string]any) {
	t.Helper()
	r := m.worker(t, t.TempDir())
	for name, settings := range cases {
		_, err := r.Start(patient(t), m.spec(t, name+".1", "true", settings, nil))
		reason, permanent := runners.IsPermanent(err)
		if !permanent || reason != schemas.ReasonStartFailed || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: start = %v (%s), want a permanent error that names it", name, err, reason)
		}
	}
}

func TestMiniStack_registersOnce(t *testing.T) {
	startMiniStack(t).registersOnce(t)
}

// startMiniStack starts it with tasks that are containers.
func startMiniStack(t *testing.T) *emulator {
	t.Helper()
	shared.Up(t)
	t.Setenv("DOCKER_HOST", shared.Host())
	return startEmulator(t, "ministack")
}

func TestMiniStack_exitCodesAndOutput(t *testing.T) {
	m := startMiniStack(t)
	r := m.worker(t, t.TempDir())
	for _, code := range []int{0, 7, 255} {
		out := runnertest.NewRecorder()
		// MiniStack loses a last line without a newline, and empty ones.
		script := fmt.Sprintf("seq 1000; echo \"$OWN $WEIR_PARAMETERS\"; exit %d", code)
		e, err := r.Start(patient(t), m.spec(t, fmt.Sprintf("run%d.1", code), script, map[string]any{"env": map[string]any{"OWN": "a b"}}, out))
		if err != nil {
			t.Fatal(err)
		}
		res, err := e.Wait(patient(t))
		if err != nil || res.ExitCode != code || res.NoCode || res.Reason != "" {
			t.Errorf("exit %d: got %+v, %v", code, res, err)
		}
		var want []string
		for i := range 1000 {
			want = append(want, fmt.Sprint(i+1))
		}
		if diff := cmp.Diff(append(want, `a b {"n":1}`), out.Lines("")); diff != "" {
			t.Errorf("exit %d: output (-want +got):\n%s", code, diff)
		}
	}
}

func TestMiniStack_whatCannotStart(t *testing.T) {
	m := startMiniStack(t)
	r := m.worker(t, t.TempDir())
	for name, settings := range map[string]map[string]any{
		"image": {"image": "weir-test/none:1"}, "program": {"command": []string{"/no/such/program"}},
	} {
		e, err := r.Start(patient(t), m.spec(t, name+".1", "", settings, nil))
		if err == nil {
			_, err = e.Wait(patient(t))
		}
		if reason := runners.ReasonOf(err, ""); !slices.Contains([]schemas.Reason{schemas.ReasonImageNotFound, schemas.ReasonImagePullFailed, schemas.ReasonStartFailed}, reason) {
			t.Errorf("%s: got %v (%s), want a reason why it could not start", name, err, reason)
		}
	}
	m.whatIsNotThere(t, map[string]map[string]any{
		"nobody": {"task_definition_arn": "nobody", "image": nil, "configure_cloudwatch_logs": nil, "init": nil, "stop_timeout": nil, "task_definition": nil},
	})
}

func TestMiniStack_stoppedAndFound(t *testing.T) {
	m := startMiniStack(t)
	dir, out := t.TempDir(), runnertest.NewRecorder()
	first := m.worker(t, dir)
	if _, err := first.Start(patient(t), m.spec(t, "run.1", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done", nil, out)); err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := m.worker(t, dir)
	place := second.Place(shellJob(t, "", map[string]any{"cluster": "prod"}))
	e, err := second.Find(patient(t), runners.Sought{Name: "run.1", Place: place, Output: out}) // its ARN was not recorded
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Stop(patient(t), time.Second); err != nil {
		t.Fatal(err)
	}
	if got := shared.Docker(t, "ps", "-q"); got != "" {
		t.Errorf("after the stop there is a container: %s", got)
	}
	if _, err := e.Wait(patient(t)); err != nil {
		t.Errorf("wait: %v", err)
	}
	if diff := cmp.Diff([]string{"ready", "bye"}, out.Lines("")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}
