package ecstest

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

func TestRunTask_sameTokenSameTask(t *testing.T) {
	a := open(t, Paper(nil))
	token := func(in *ecs.RunTaskInput) { in.ClientToken = aws.String("token") }
	first := a.run(t, token)
	if second := a.run(t, token); second != first {
		t.Errorf("the same token made %s and %s, want one task", first, second)
	}
	in := runInput()
	token(in)
	in.StartedBy = aws.String("weir-2")
	_, err := a.ecs.RunTask(t.Context(), in)
	conflict, ok := errors.AsType[*types.ConflictException](err)
	if !ok || len(conflict.ResourceIds) != 1 || conflict.ResourceIds[0] != first {
		t.Errorf("other parameters: got %v, want a conflict with %s", err, first)
	}
	a.Advance(25 * time.Hour)
	if later := a.run(t, token); later == first {
		t.Errorf("a day later the token still names %s", first)
	}
}

func TestRunTask_refusesWhatCannotRun(t *testing.T) {
	a := open(t, Paper(nil))
	override := func(name string) *types.TaskOverride {
		return &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String(name)}}}
	}
	long := override("main")
	long.ContainerOverrides[0].Command = []string{strings.Repeat("x", 8192)}
	strategy := func(provider string) []types.CapacityProviderStrategyItem {
		return []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String(provider)}}
	}
	for name, test := range map[string]struct {
		code, says string
		change     func(*ecs.RunTaskInput)
	}{
		"cluster":    {"ClusterNotFoundException", "Cluster not found", func(in *ecs.RunTaskInput) { in.Cluster = aws.String("nowhere") }},
		"definition": {"InvalidParameterException", "not found", func(in *ecs.RunTaskInput) { in.TaskDefinition = aws.String("nobody") }},
		"network":    {"InvalidParameterException", "Network Configuration", func(in *ecs.RunTaskInput) { in.NetworkConfiguration = nil }},
		"subnet": {"InvalidParameterException", "subnet-x", func(in *ecs.RunTaskInput) {
			in.NetworkConfiguration.AwsvpcConfiguration.Subnets = []string{"subnet-x"}
		}},
		"overrides length": {"InvalidParameterException", "8192", func(in *ecs.RunTaskInput) { in.Overrides = long }},
		"container":        {"InvalidParameterException", "sidecar", func(in *ecs.RunTaskInput) { in.Overrides = override("sidecar") }},
		"pair": {"InvalidParameterException", "Fargate configuration", func(in *ecs.RunTaskInput) {
			in.Overrides = &types.TaskOverride{Cpu: aws.String("1024")}
		}},
		"count": {"InvalidParameterException", "Count", func(in *ecs.RunTaskInput) { in.Count = aws.Int32(11) }},
		"token": {"InvalidParameterException", "clientToken", func(in *ecs.RunTaskInput) { in.ClientToken = aws.String(strings.Repeat("x", 65)) }},
		"both":  {"InvalidParameterException", "capacity provider strategy", func(in *ecs.RunTaskInput) { in.CapacityProviderStrategy = strategy("FARGATE") }},
		"provider": {"InvalidParameterException", "not associated", func(in *ecs.RunTaskInput) {
			in.LaunchType, in.CapacityProviderStrategy = "", strategy("nobody")
		}},
		"EC2":      {"InvalidParameterException", "No Container Instances", func(in *ecs.RunTaskInput) { in.LaunchType = types.LaunchTypeEc2 }},
		"platform": {"PlatformUnknownException", "platform", func(in *ecs.RunTaskInput) { in.PlatformVersion = aws.String("9") }},
	} {
		t.Run(name, func(t *testing.T) {
			in := runInput()
			test.change(in)
			_, err := a.ecs.RunTask(t.Context(), in)
			refused(t, err, test.code)
			if err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want it to say %q", err, test.says)
			}
		})
	}
	if n := len(a.Tasks()); n != 0 {
		t.Errorf("refused calls have made %d tasks", n)
	}
}

func TestLife_goesThroughAllStates(t *testing.T) {
	const step = 10 * time.Minute
	a := open(t, Paper(func(Task) Plan { return Plan{Runs: step, Exit: 7} }))
	a.Tune(func(k *Knobs) {
		k.Pace = Pace{Provisioning: step, Pending: step, Activating: step, Deactivating: step, Deprovisioning: step}
	})
	arn := a.run(t)
	var task *types.Task
	for _, want := range []string{"PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "DEPROVISIONING", "STOPPED"} {
		if task = a.describe(t, arn); *task.LastStatus != want {
			t.Errorf("the task is %s, want %s", *task.LastStatus, want)
		}
		if want != "STOPPED" {
			a.Advance(step)
		}
	}
	if task.StopCode != types.TaskStopCodeEssentialContainerExited || *task.StoppedReason != essentialExited || *task.Containers[0].ExitCode != 7 {
		t.Errorf("got stop code %s, reason %q, exit code %v", task.StopCode, *task.StoppedReason, task.Containers[0].ExitCode)
	}
	order := []*time.Time{task.CreatedAt, task.PullStartedAt, task.PullStoppedAt, task.StartedAt, task.StoppingAt, task.ExecutionStoppedAt, task.StoppedAt}
	for i, at := range order {
		if at == nil || i > 0 && at.Before(*order[i-1]) {
			t.Errorf("time %d of the task is %v, after %v", i, at, order[max(i-1, 0)])
		}
	}
	if ran := task.StoppingAt.Sub(*task.StartedAt); ran < step || ran > step+time.Minute {
		t.Errorf("it ran for %s, want %s", ran, step)
	}
}

func TestStopTask(t *testing.T) {
	polite := 3
	for name, test := range map[string]struct {
		plan     Plan
		running  bool
		wantCode *int32
	}{
		"before it runs": {Plan{Runs: Forever}, false, nil},
		"by SIGTERM":     {Plan{Runs: Forever}, true, aws.Int32(143)},
		"politely":       {Plan{Runs: Forever, Polite: &polite}, true, aws.Int32(3)},
		"by SIGKILL":     {Plan{Runs: Forever, Deaf: true}, true, aws.Int32(137)},
	} {
		t.Run(name, func(t *testing.T) {
			a := open(t, Paper(func(Task) Plan { return test.plan }))
			if !test.running {
				a.Tune(func(k *Knobs) { k.Pace.Provisioning = time.Hour })
			}
			arn := a.run(t)
			if test.running {
				a.await(t, arn, "RUNNING")
			}
			if _, err := a.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: aws.String(arn), Reason: aws.String("enough")}); err != nil {
				t.Fatal(err)
			}
			if test.plan.Deaf {
				a.await(t, arn, "STOPPING")
				a.Advance(29 * time.Second)
				a.await(t, arn, "STOPPING")
				a.Advance(time.Second)
			}
			task := a.await(t, arn, "STOPPED")
			if code := task.Containers[0].ExitCode; (code == nil) != (test.wantCode == nil) || code != nil && *code != *test.wantCode {
				t.Errorf("got exit code %v, want %v", code, test.wantCode)
			}
			if task.StopCode != types.TaskStopCodeUserInitiated || *task.StoppedReason != "enough" {
				t.Errorf("got stop code %s, reason %s", task.StopCode, *task.StoppedReason)
			}
		})
	}
	a := open(t, Paper(nil))
	_, err := a.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: aws.String(strings.Repeat("0", 32))})
	refused(t, err, "InvalidParameterException")
}

func TestTask_isSeenLateAndForgottenAfterAnHour(t *testing.T) {
	a := open(t, Paper(func(Task) Plan { return Plan{} }))
	a.Tune(func(k *Knobs) { k.Visible = time.Minute })
	arn := a.run(t)
	out, err := a.ecs.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Tasks: []string{arn}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tasks) != 0 || len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" || *out.Failures[0].Arn != arn {
		t.Errorf("right after it was made: got %d tasks, failures %v", len(out.Tasks), out.Failures)
	}
	if n := len(a.startedBy(t, "weir-1", types.DesiredStatusStopped)); n != 0 {
		t.Errorf("right after it was made, the list has it")
	}
	a.Advance(time.Minute)
	a.await(t, arn, "STOPPED")
	if n := len(a.startedBy(t, "weir-1", types.DesiredStatusStopped)); n != 1 {
		t.Errorf("the list has %d tasks, want 1", n)
	}
	if n := len(a.startedBy(t, "weir-1", types.DesiredStatusRunning)); n != 0 {
		t.Errorf("the list of running ones has %d tasks, want none", n)
	}
	a.Advance(time.Hour)
	if task := a.describe(t, arn); task != nil {
		t.Errorf("after an hour the task is %s, want it forgotten", *task.LastStatus)
	}
}

func (a *account) startedBy(t *testing.T, by string, desired types.DesiredStatus) []string {
	t.Helper()
	var arns []string
	pages := ecs.NewListTasksPaginator(a.ecs, &ecs.ListTasksInput{StartedBy: aws.String(by), DesiredStatus: desired})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		arns = append(arns, page.TaskArns...)
	}
	return arns
}

func TestCapacity(t *testing.T) {
	a := open(t, Paper(nil))
	a.Tune(func(k *Knobs) { k.NoCapacity = map[string]Refusal{"FARGATE_SPOT": InAnswer, "FARGATE": InTask} })
	in := runInput()
	in.LaunchType, in.CapacityProviderStrategy = "", []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE_SPOT")}}
	out, err := a.ecs.RunTask(t.Context(), in)
	if err != nil || len(out.Tasks) != 0 || len(out.Failures) != 1 || !strings.HasPrefix(*out.Failures[0].Reason, "Capacity is unavailable at this time.") {
		t.Errorf("got %+v, %v, want a failure", out, err)
	}
	task := a.await(t, a.run(t), "STOPPED")
	if task.StopCode != types.TaskStopCodeTaskFailedToStart || !strings.HasPrefix(*task.StoppedReason, "Capacity is unavailable") || task.StartedAt != nil {
		t.Errorf("got stop code %s, reason %s", task.StopCode, *task.StoppedReason)
	}
	a.Tune(func(k *Knobs) { k.NoCapacity = nil })
	spot := a.run(t, func(in *ecs.RunTaskInput) {
		in.LaunchType, in.CapacityProviderStrategy = "", []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE_SPOT")}}
	})
	if got := a.await(t, spot, "RUNNING"); *got.CapacityProviderName != "FARGATE_SPOT" {
		t.Errorf("it runs on %v", got.CapacityProviderName)
	}
	a.Interrupt(spot)
	if got := a.await(t, spot, "STOPPED"); got.StopCode != types.TaskStopCodeSpotInterruption || *got.Containers[0].ExitCode != 143 {
		t.Errorf("interrupted: got stop code %s", got.StopCode)
	}
}

func TestRoles_thatECSCannotAssume(t *testing.T) {
	a := open(t, Paper(nil))
	a.SetRoles("arn:aws:iam::" + Account + ":role/other")
	task := a.await(t, a.run(t), "STOPPED")
	if task.StopCode != types.TaskStopCodeTaskFailedToStart || !strings.HasPrefix(*task.StoppedReason, "ECS was unable to assume the role") {
		t.Errorf("got stop code %s, reason %s", task.StopCode, *task.StoppedReason)
	}
}

func TestEC2_needsInstances(t *testing.T) {
	a := open(t, Paper(nil))
	in := definitionInput("machine")
	in.RequiresCompatibilities, in.NetworkMode = nil, types.NetworkModeBridge
	a.register(t, in)
	machine := func(in *ecs.RunTaskInput) {
		in.TaskDefinition, in.LaunchType, in.NetworkConfiguration = aws.String("machine"), types.LaunchTypeEc2, nil
	}
	a.Tune(func(k *Knobs) { k.Instances, k.NoCapacity = true, map[string]Refusal{"EC2": InAnswer} })
	full := runInput()
	machine(full)
	out, err := a.ecs.RunTask(t.Context(), full)
	if err != nil || len(out.Failures) != 1 || *out.Failures[0].Reason != "RESOURCE:MEMORY" {
		t.Errorf("without room: got %+v, %v", out, err)
	}
	a.Tune(func(k *Knobs) { k.NoCapacity = nil })
	task := a.await(t, a.run(t, machine), "RUNNING")
	if task.LaunchType != types.LaunchTypeEc2 || task.PlatformVersion != nil || len(task.Attachments) != 0 {
		t.Errorf("got launch type %s, platform %v, attachments %v", task.LaunchType, task.PlatformVersion, task.Attachments)
	}
	a.Exit(*task.TaskArn, 4)
	if got := a.await(t, *task.TaskArn, "STOPPED"); *got.Containers[0].ExitCode != 4 {
		t.Errorf("got exit code %d, want 4", *got.Containers[0].ExitCode)
	}
}

func TestTags_areMergedAndRead(t *testing.T) {
	a := open(t, Paper(nil))
	arn := aws.String(a.run(t, func(in *ecs.RunTaskInput) {
		in.PropagateTags, in.EnableECSManagedTags = types.PropagateTagsTaskDefinition, true
		in.Tags = []types.Tag{{Key: aws.String("own"), Value: aws.String("1")}}
	}))
	if _, err := a.ecs.TagResource(t.Context(), &ecs.TagResourceInput{ResourceArn: arn, Tags: []types.Tag{{Key: aws.String("own"), Value: aws.String("2")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ecs.UntagResource(t.Context(), &ecs.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"content"}}); err != nil {
		t.Fatal(err)
	}
	out, err := a.ecs.ListTagsForResource(t.Context(), &ecs.ListTagsForResourceInput{ResourceArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, tag := range out.Tags {
		got[*tag.Key] = *tag.Value
	}
	if want := map[string]string{"own": "2", "aws:ecs:clusterName": "default"}; !maps.Equal(got, want) {
		t.Errorf("got tags %v, want %v", got, want)
	}
}

func TestDescribeTasks_atMostHundred(t *testing.T) {
	a := open(t, Paper(nil))
	arns := make([]string, 101)
	for i := range arns {
		arns[i] = a.run(t)
	}
	_, err := a.ecs.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Tasks: arns})
	refused(t, err, "InvalidParameterException")
	out, err := a.ecs.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Tasks: arns[1:]})
	if err != nil || len(out.Tasks) != 100 {
		t.Errorf("of 100 tasks: got %d, %v", len(out.Tasks), err)
	}
	if n := len(a.startedBy(t, "weir-1", "")); n != 101 {
		t.Errorf("the list has %d tasks, want 101", n)
	}
}

// Thousands of tasks are cheap: what Weir itself holds is what a benchmark in one process is to measure.
func TestPaper_taskIsSmall(t *testing.T) {
	a := open(t, Paper(nil))
	in := runInput()
	in.Overrides = &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("main")}}}
	for i := range 8 {
		in.Overrides.ContainerOverrides[0].Environment = append(in.Overrides.ContainerOverrides[0].Environment,
			types.KeyValuePair{Name: aws.String(fmt.Sprintf("WEIR_VARIABLE_%d", i)), Value: aws.String("value")})
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(fmt.Sprintf("run.weir.tag-%d", i)), Value: aws.String("value")})
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc) //nolint:gosec // far from it
	}
	const count = 2000
	before := heap()
	for i := range count {
		in.ClientToken = aws.String(fmt.Sprintf("%064d", i))
		if _, err := a.ecs.RunTask(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / count
	t.Logf("%d bytes a task", each)
	if each > 2<<10 {
		t.Errorf("a task takes %d bytes, want at most 2 KiB", each)
	}
	runtime.KeepAlive(a)
}
