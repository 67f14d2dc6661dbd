package ecstest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weir-run/weir/runners/docker/dockertest"
)

// shared is the engine of all tests that need one.
var shared = dockertest.New("ecs")

func TestMain(m *testing.M) {
	code := m.Run()
	if err := shared.Down(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// onDocker makes an account whose tasks are containers.
func onDocker(t *testing.T) *account {
	t.Helper()
	shared.Up(t)
	return open(t, Docker{Host: shared.Host(), Secrets: map[string]string{"arn:secret": "hidden"}})
}

// shell makes the task run a script.
func shell(script string) func(*ecs.RunTaskInput) {
	return func(in *ecs.RunTaskInput) {
		in.Overrides = &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{
			Name: aws.String("main"), Command: []string{"sh", "-c", script},
			Environment: []types.KeyValuePair{{Name: aws.String("OWN"), Value: aws.String("a b")}},
		}}}
	}
}

func TestDocker_exitCodeEnvironmentAndOutput(t *testing.T) {
	a := onDocker(t)
	in := definitionInput("job")
	in.ContainerDefinitions[0].Environment = []types.KeyValuePair{{Name: aws.String("GIVEN"), Value: aws.String("1")}, {Name: aws.String("OWN"), Value: aws.String("x")}}
	in.ContainerDefinitions[0].Secrets = []types.Secret{{Name: aws.String("SECRET"), ValueFrom: aws.String("arn:secret")}}
	a.register(t, in)
	arn := a.run(t, shell(`echo "$GIVEN $OWN $SECRET"; seq 3; echo; printf 'no newline'; exit 7`))
	task := a.await(t, arn, "STOPPED")
	if c := task.Containers[0]; *c.ExitCode != 7 || c.Reason != nil || task.StopCode != types.TaskStopCodeEssentialContainerExited {
		t.Errorf("got exit code %d, reason %v, stop code %s", *c.ExitCode, c.Reason, task.StopCode)
	}
	lines, _ := a.filter(t, &cloudwatchlogs.FilterLogEventsInput{LogStreamNames: []string{streamOf(arn)}})
	if diff := cmp.Diff([]string{"1 a b hidden", "1", "2", "3", "no newline"}, lines); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	if left := shared.Docker(t, "ps", "-aq", "--filter", "label="+label+"="+arn); left != "" {
		t.Errorf("containers are left: %s", left)
	}
}

func TestDocker_whatCannotStart(t *testing.T) {
	a := onDocker(t)
	for name, test := range map[string]struct {
		change func(*types.ContainerDefinition)
		says   string
	}{
		"image":   {func(d *types.ContainerDefinition) { d.Image = aws.String("weir-test/none:1") }, "CannotPullContainerError: "},
		"program": {func(d *types.ContainerDefinition) { d.Command = []string{"/no/such"} }, "CannotStartContainerError: "},
		"secret": {func(d *types.ContainerDefinition) {
			d.Secrets = []types.Secret{{Name: aws.String("S"), ValueFrom: aws.String("none")}}
		}, "ResourceInitializationError: unable to pull secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			in := definitionInput("bad")
			test.change(&in.ContainerDefinitions[0])
			a.register(t, in)
			arn := a.run(t, func(in *ecs.RunTaskInput) { in.TaskDefinition = aws.String("bad") })
			task := a.await(t, arn, "STOPPED")
			if task.StopCode != types.TaskStopCodeTaskFailedToStart || !strings.HasPrefix(*task.StoppedReason, test.says) || task.StartedAt != nil {
				t.Errorf("got stop code %s, reason %q, want %s", task.StopCode, *task.StoppedReason, test.says)
			}
			if c := task.Containers[0]; c.ExitCode != nil || c.Reason == nil {
				t.Errorf("got exit code %v, reason %v of the container", c.ExitCode, c.Reason)
			}
		})
	}
}

func TestDocker_memoryLimitKills(t *testing.T) {
	a := onDocker(t)
	const greedy = "dd if=/dev/zero of=/dev/null bs=700M count=1"
	task := a.await(t, a.run(t, shell(greedy+"; exit 4")), "STOPPED")
	if c := task.Containers[0]; *c.ExitCode != 4 || c.Reason != nil {
		t.Errorf("a process of the container: got exit code %d, reason %v, want 4 and none", *c.ExitCode, c.Reason)
	}
	task = a.await(t, a.run(t, shell("exec "+greedy)), "STOPPED")
	if c := task.Containers[0]; *c.ExitCode != 137 || c.Reason == nil || *c.Reason != outOfMemory {
		t.Errorf("the container's first process: got exit code %d, reason %v, want 137, %s", *c.ExitCode, c.Reason, outOfMemory)
	}
}

func TestDocker_stopIsSIGTERMThenSIGKILL(t *testing.T) {
	a := onDocker(t)
	in := definitionInput("job")
	in.ContainerDefinitions[0].StopTimeout = aws.Int32(2)
	a.register(t, in)
	for name, test := range map[string]struct {
		script  string
		code    int32
		atLeast time.Duration
	}{
		"polite": {"trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done", 3, 0},
		"deaf":   {"trap '' TERM; echo ready; while :; do sleep 0.1; done", 137, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			arn := a.run(t, shell(test.script))
			a.awaitLine(t, arn, "ready")
			a.await(t, arn, "RUNNING")
			if _, err := a.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: aws.String(arn)}); err != nil {
				t.Fatal(err)
			}
			task := a.await(t, arn, "STOPPED")
			if took := task.ExecutionStoppedAt.Sub(*task.StoppingAt); *task.Containers[0].ExitCode != test.code || took < test.atLeast || took > test.atLeast+10*time.Second {
				t.Errorf("got exit code %d after %s, want %d after %s", *task.Containers[0].ExitCode, took, test.code, test.atLeast)
			}
			if task.StopCode != types.TaskStopCodeUserInitiated {
				t.Errorf("got stop code %s", task.StopCode)
			}
		})
	}
}

// awaitLine looks until the task has written a line.
func (a *account) awaitLine(t *testing.T, arn, line string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		lines, _ := a.filter(t, &cloudwatchlogs.FilterLogEventsInput{LogStreamNamePrefix: aws.String(streamOf(arn))})
		if slices.Contains(lines, line) {
			return
		}
	}
	t.Fatalf("no line %q within %s", line, patience)
}

// The end of an essential container ends the others, which share its network.
func TestDocker_essentialContainerEndsTheOthers(t *testing.T) {
	a := onDocker(t)
	in := definitionInput("job")
	sidecar := in.ContainerDefinitions[0]
	sidecar.Name, sidecar.Essential = aws.String("sidecar"), aws.Bool(false)
	sidecar.Command = []string{"sh", "-c", "trap 'exit 4' TERM; nc -l -p 7000 -e echo hello & while :; do sleep 0.1; done"}
	in.ContainerDefinitions = append(in.ContainerDefinitions, sidecar)
	a.register(t, in)
	task := a.await(t, a.run(t, shell("until nc 127.0.0.1 7000 </dev/null | grep hello; do sleep 0.1; done; exit 5")), "STOPPED")
	if main, other := task.Containers[0], task.Containers[1]; *main.ExitCode != 5 || *other.ExitCode != 4 {
		t.Errorf("got exit codes %d and %d, want 5 and 4", *main.ExitCode, *other.ExitCode)
	}
}

// A task may be stopped while its containers are made.
func TestDocker_stoppedOnTheWay(t *testing.T) {
	a := onDocker(t)
	for i := range 10 {
		arn := a.run(t, shell("trap exit TERM; while :; do sleep 0.1; done"))
		time.Sleep(time.Duration(i) * 20 * time.Millisecond)
		if _, err := a.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: aws.String(arn)}); err != nil {
			t.Fatal(err)
		}
		task := a.await(t, arn, "STOPPED")
		if task.StopCode != types.TaskStopCodeUserInitiated {
			t.Errorf("got stop code %s, reason %s", task.StopCode, *task.StoppedReason)
		}
	}
}
