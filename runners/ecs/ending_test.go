package ecs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

const job = "job"

var began, over = time.Unix(1_700_000_000, 0), time.Unix(1_700_000_060, 0)

// ended is a task that has stopped for that code and reason, whose job ran and ended with exit codes by container; -1: it has none.
func endedTask(code, reason string, containers ...container) *task {
	return &task{
		ARN: "arn:aws:ecs:us-east-1:1:task/c/1", Status: stopped, StopCode: code, StoppedReason: reason, Containers: containers,
		CreatedAt: began.Add(-time.Minute), StartedAt: began, ExecutionStopped: over, StoppedAt: over.Add(10 * time.Second),
	}
}

func of(name string, exit int32, reason string) container {
	c := container{Name: name, Status: stopped, Reason: reason}
	if exit >= 0 {
		c.ExitCode = &exit
	}
	return c
}

func TestConclude(t *testing.T) {
	const essential = "Essential container in task exited"
	for _, c := range []struct {
		name    string
		task    *task
		code    int // -1: none
		signal  string
		reason  schemas.Reason
		message string // a part of it
	}{
		{"exit 0", endedTask(codeEssential, essential, of(job, 0, "")), 0, "", "", ""},
		{"exit 7", endedTask(codeEssential, essential, of(job, 7, "")), 7, "", "", ""},
		{"exit 255", endedTask(codeEssential, essential, of(job, 255, "")), 255, "", "", ""},
		{"a signal", endedTask(codeEssential, essential, of(job, 139, "")), 139, "SIGSEGV", "", ""},
		{"killed, alone", endedTask(codeEssential, essential, of(job, 137, "")), 137, "SIGKILL", "", ""},
		{
			"killed for want of memory", endedTask(codeEssential, essential, of(job, 137, "OutOfMemoryError: Container killed due to memory usage")),
			137, "SIGKILL", schemas.ReasonOOMKilled, "OutOfMemoryError: Container killed due to memory usage",
		},
		{
			"killed for want of memory, without a code", endedTask(codeEssential, essential, of(job, -1, "OutOfMemoryError: Container killed due to memory usage")),
			-1, "", schemas.ReasonOOMKilled, "OutOfMemoryError: Container killed due to memory usage",
		},
		{
			"a process killed for want of memory, of a job that ended well", endedTask(codeEssential, essential, of(job, 0, "OutOfMemoryError: container killed due to memory usage")),
			0, "", "", "OutOfMemoryError",
		},
		{
			"a helper ended first", endedTask(codeEssential, essential, of(job, 143, ""), of("proxy", 1, "")),
			143, "SIGTERM", schemas.ReasonEssentialExited, "container proxy: exit code 1",
		},
		{
			"a helper ended well first", endedTask(codeEssential, essential, of("proxy", 0, ""), of(job, 137, "")),
			137, "SIGKILL", schemas.ReasonEssentialExited, "container proxy: exit code 0",
		},
		{
			"a helper ended and the job has no code", endedTask(codeEssential, essential, of("proxy", 3, ""), of(job, -1, "")),
			-1, "", schemas.ReasonEssentialExited, "container proxy: exit code 3",
		},
		{"the job ended first, its helper was stopped", endedTask(codeEssential, essential, of(job, 4, ""), of("proxy", 143, "")), 4, "", "", ""},
		{"the job ended well, its helper badly", endedTask(codeEssential, essential, of(job, 0, ""), of("proxy", 1, "")), 0, "", "", ""},
		{"both were killed", endedTask(codeEssential, essential, of(job, 137, ""), of("proxy", 137, "")), 137, "SIGKILL", "", ""},
		{"no code at all", endedTask(codeEssential, essential, of(job, -1, "")), -1, "", schemas.ReasonExecutionLost, essential},
		{"no containers at all", endedTask("", ""), -1, "", schemas.ReasonExecutionLost, "ECS says nothing of it"},
		{
			"taken back", endedTask(codeSpot, "Your Spot Task was interrupted.", of(job, 143, "")), 143, "SIGTERM", schemas.ReasonSpotInterrupted,
			"Your Spot Task was interrupted.",
		},
		{"taken back, and ended well", endedTask(codeSpot, "Your Spot Task was interrupted.", of(job, 0, "")), 0, "", schemas.ReasonSpotInterrupted, "Spot"},
		{"taken back, by the older code", spot(endedTask(codeTermination, "Your Spot Task was interrupted.", of(job, 0, ""))), 0, "", schemas.ReasonSpotInterrupted, "Spot"},
		{
			"an instance ended", endedTask(codeTermination, "Host EC2 (instance i-1) terminated.", of(job, -1, "")), -1, "", schemas.ReasonExecutionLost,
			"Host EC2 (instance i-1) terminated.",
		},
		{"broken hardware", endedTask(codeInfrastructure, "Task stopped by ECS", of(job, 137, "")), 137, "SIGKILL", schemas.ReasonExecutionLost, "Task stopped by ECS"},
		{"the scheduler", endedTask(codeScheduler, "Scaling activity initiated", of(job, 143, "")), 143, "SIGTERM", schemas.ReasonExecutionLost, "Scaling"},
		{"stopped in the console", endedTask(codeUser, "Task stopped by user", of(job, 143, "")), 143, "SIGTERM", schemas.ReasonStoppedByUser, "Task stopped by user"},
		{"stopped in the console, and ended well", endedTask(codeUser, "told by Ann", of(job, 0, "")), 0, "", schemas.ReasonStoppedByUser, "told by Ann"},
		{"stopped by Weir", endedTask(codeUser, stoppedRun+"r.1", of(job, 143, "")), 143, "SIGTERM", schemas.ReasonExecutionLost, "a worker or server stopped the task"},
		{"a code that is not known", endedTask("SomethingNew", "because", of(job, 9, "")), 9, "", "", ""},
		{
			"a helper that could not start, and the job ran",
			endedTask(codeFailedToStart, "Task failed to start", of(job, 143, ""), of("proxy", -1, "CannotPullContainerError: x: not found")),
			143, "SIGTERM", "", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := conclude(c.task, job)
			if err != nil {
				t.Fatalf("conclude: %v", err)
			}
			if code := r.ExitCode; r.NoCode != (c.code < 0) || !r.NoCode && code != c.code {
				t.Errorf("got exit code %d (none: %t), want %d", code, r.NoCode, c.code)
			}
			if r.Signal != c.signal || r.Reason != c.reason {
				t.Errorf("got signal %q, reason %q, want %q, %q (message %q)", r.Signal, r.Reason, c.signal, c.reason, r.Message)
			}
			if !strings.Contains(r.Message, c.message) || c.message == "" && r.Message != "" {
				t.Errorf("got message %q, want %q in it", r.Message, c.message)
			}
			if !r.Started.Equal(began) || !r.Ended.Equal(over) {
				t.Errorf("got times %v to %v, want %v to %v", r.Started, r.Ended, began, over)
			}
		})
	}
}

func spot(t *task) *task {
	t.CapacityProvider = fargateSpot
	return t
}

func TestConclude_jobNeverRan(t *testing.T) {
	for _, c := range []struct {
		code, words string
		inContainer bool // the container's reason, not the task's
		reason      schemas.Reason
		final       bool
	}{
		{codeFailedToStart, "Capacity is unavailable at this time. Please try again later or in a different availability zone", false, schemas.ReasonCapacity, false},
		{codeFailedToStart, "RESOURCE:MEMORY", false, schemas.ReasonCapacity, false},
		{codeFailedToStart, "Unexpected EC2 error: InsufficientFreeAddressesInSubnet", false, schemas.ReasonCapacity, false},
		{codeFailedToStart, "CannotPullContainerError: failed to resolve ref docker.io/library/none:1: docker.io/library/none:1: not found", false, schemas.ReasonImageNotFound, true},
		{codeFailedToStart, "CannotPullContainerError: Error response from daemon: pull access denied for none, repository does not exist or may require 'docker login'", true, schemas.ReasonImageNotFound, true},
		{codeFailedToStart, "CannotPullImageManifestError: manifest unknown: Requested image not found", true, schemas.ReasonImageNotFound, true},
		{codeFailedToStart, "CannotPullContainerError: unexpected status from HEAD request to https://r/v2/x: 403 Forbidden", true, schemas.ReasonImagePullFailed, true},
		{codeFailedToStart, "CannotPullContainerError: Error response from daemon: Get https://r: no basic auth credentials", true, schemas.ReasonImagePullFailed, true},
		{codeFailedToStart, "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/arm64'", true, schemas.ReasonImagePullFailed, true},
		{codeFailedToStart, "CannotPullContainerError: ref pull has been retried 5 time(s): 429 Too Many Requests: toomanyrequests", true, schemas.ReasonImagePullFailed, false},
		{codeFailedToStart, "CannotPullContainerError: dial tcp 10.0.0.1:443: i/o timeout", false, schemas.ReasonImagePullFailed, false},
		{codeFailedToStart, "CannotPullContainerError: write /var/lib/containerd: no space left on device", false, schemas.ReasonImagePullFailed, false},
		{codeFailedToStart, "ResourceInitializationError: failed to initialize logging driver: ResourceNotFoundException: The specified log group does not exist.", false, schemas.ReasonStartFailed, true},
		{codeFailedToStart, "ResourceInitializationError: unable to pull secrets or registry auth: AccessDeniedException: User is not authorized to perform: secretsmanager:GetSecretValue", false, schemas.ReasonStartFailed, true},
		{codeFailedToStart, "ResourceInitializationError: unable to pull secrets or registry auth: RequestCanceled: context deadline exceeded", false, schemas.ReasonStartFailed, false},
		{codeFailedToStart, "No Container Instances were found in your cluster.", false, schemas.ReasonCapacity, false},
		{codeFailedToStart, "ResourceInitializationError: ECS was unable to assume the role 'arn:aws:iam::1:role/x' that was provided for this task", true, schemas.ReasonStartFailed, true},
		{codeFailedToStart, `CannotStartContainerError: exec: "nothing": executable file not found in $PATH`, true, schemas.ReasonStartFailed, true},
		{codeFailedToStart, "CannotCreateContainerError: API error (500): devmapper", true, schemas.ReasonStartFailed, false},
		{codeFailedToStart, "ContainerRuntimeTimeoutError: Could not transition to running; timed out after waiting 1m", true, schemas.ReasonStartFailed, false},
		{codeFailedToStart, "Timeout waiting for network interface provisioning to complete.", false, schemas.ReasonStartFailed, false},
		{codeSpot, "Your Spot Task was interrupted.", false, schemas.ReasonSpotInterrupted, false},
		{codeUser, "Task stopped by user", false, schemas.ReasonStoppedByUser, true},
		{codeUser, stoppedTooLate + "600 s (task_start_timeout_seconds)", false, schemas.ReasonStartTimedOut, true},
		{codeUser, stoppedRun + "r.1", false, schemas.ReasonExecutionLost, false},
		{codeInfrastructure, "the host is gone", false, schemas.ReasonExecutionLost, false},
		{"", "", false, schemas.ReasonStartFailed, false},
	} {
		t.Run(c.code+" "+c.words, func(t *testing.T) {
			told := &task{Status: stopped, StopCode: c.code, StoppedReason: c.words, Containers: []container{of(job, -1, "")}}
			if c.inContainer {
				told.StoppedReason, told.Containers[0].Reason = "Task failed to start", c.words
			}
			_, err := conclude(told, job)
			if err == nil || errors.Is(err, runners.ErrGone) {
				t.Fatalf("conclude = %v, want an error that has a reason", err)
			}
			reason, final := runners.IsPermanent(err)
			if !final {
				reason = runners.ReasonOf(err, "")
			}
			if reason != c.reason || final != c.final {
				t.Errorf("got %q (permanent %t), want %q (%t): %v", reason, final, c.reason, c.final, err)
			}
			if !strings.Contains(err.Error(), strings.TrimPrefix(c.words, stoppedByWeir)) {
				t.Errorf("got %q, want ECS's own words in it: %q", err, c.words)
			}
		})
	}
}

func TestTask_olderNewsIsKnown(t *testing.T) {
	at := func(status string, version int64) *task { return &task{Status: status, Version: version} }
	for _, c := range []struct {
		told, known *task
		older       bool
	}{
		{at(pending, 2), at(running, 3), true},
		{at(running, 3), at(pending, 2), false},
		{at(running, 3), at(running, 3), false},
		{at(running, 0), at(stopped, 0), true},
		{at(running, 0), at(stopped, 7), true}, // one of them has no version
		{at(stopped, 0), at(running, 0), false},
		{at("SOMETHING_NEW", 4), at(running, 3), false},
	} {
		if got := c.told.before(c.known); got != c.older {
			t.Errorf("%v before %v: got %t, want %t", c.told, c.known, got, c.older)
		}
	}
}

// The end of a job is told when its containers have ended and ECS has told all of it, not when its network is gone.
func TestTask_ended(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*task)
		want   bool
	}{
		"stopped":            {func(t *task) { t.Status = stopped }, true},
		"all is told":        {func(*task) {}, true},
		"still running":      {func(t *task) { t.Status = running }, false},
		"still stopping":     {func(t *task) { t.Status = stopping }, false},
		"no stop code yet":   {func(t *task) { t.StopCode = "" }, false},
		"no time yet":        {func(t *task) { t.ExecutionStopped = time.Time{} }, false},
		"no exit code yet":   {func(t *task) { t.Containers[1].ExitCode = nil }, false},
		"no containers":      {func(t *task) { t.Containers = nil }, false},
		"stopped, no code":   {func(t *task) { t.Status, t.Containers[1].ExitCode = stopped, nil }, true},
		"stopped, no reason": {func(t *task) { t.Status, t.StopCode = stopped, "" }, true},
	} {
		told := endedTask(codeEssential, "Essential container in task exited", of(job, 0, ""), of("proxy", 143, ""))
		told.Status = deprovisioning
		c.change(told)
		if got := told.ended(); got != c.want {
			t.Errorf("%s: got ended %t, want %t", name, got, c.want)
		}
	}
}

func TestForemost(t *testing.T) {
	tags := map[string]string{tagContainer: job}
	waits := &task{ARN: "waits", Status: pending, CreatedAt: began, Tags: tags}
	ran := endedTask(codeEssential, "", of(job, 0, ""))
	ran.ARN, ran.Tags = "ran", tags
	never := &task{ARN: "never", Status: stopped, CreatedAt: began.Add(time.Hour), Tags: tags}
	later := &task{ARN: "later", Status: stopped, CreatedAt: began.Add(2 * time.Hour), Tags: tags}
	for _, c := range []struct {
		tasks []*task
		want  *task
	}{
		{nil, nil},
		{[]*task{never}, never},
		{[]*task{never, later}, later},
		{[]*task{later, never}, later},
		{[]*task{ran, later}, ran},
		{[]*task{ran, waits, later}, waits},
		{[]*task{waits, never}, waits},
	} {
		if got := foremost(c.tasks); got != c.want {
			t.Errorf("foremost of %v: got %v, want %v", c.tasks, got, c.want)
		}
	}
}

// What an answer says and what an event says of a task is the same task.
func TestTaskOf(t *testing.T) {
	at := time.Unix(1_700_000_000, 0).UTC()
	got := taskOf(&types.Task{
		TaskArn: aws.String("arn:aws:ecs:us-east-1:1:task/c/0123"), LastStatus: aws.String(stopped), Version: 6, StartedAt: &at,
		StopCode: types.TaskStopCodeEssentialContainerExited, Containers: []types.Container{{Name: aws.String(job), ExitCode: aws.Int32(7)}},
	})
	if got.Status != stopped || !got.StartedAt.Equal(at) || got.container(job) == nil || *got.container(job).ExitCode != 7 || taskID(got.ARN) != "0123" {
		t.Errorf("got %+v", got)
	}
}
