package ecs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// The words with which Weir stops a task. By them a stop of Weir's is told from everybody else's, by whichever worker finds it.
const (
	stoppedByWeir   = "weir: "
	stoppedTooLate  = stoppedByWeir + "not running within "      // and the start's time
	stoppedOvertook = stoppedByWeir + "the run goes on without " // and the execution
	stoppedRun      = stoppedByWeir + "the run is ended: "       // and the execution
)

// ECS's stop codes.
const (
	codeFailedToStart  = "TaskFailedToStart"
	codeEssential      = "EssentialContainerExited"
	codeUser           = "UserInitiated"
	codeScheduler      = "ServiceSchedulerInitiated"
	codeSpot           = "SpotInterruption"
	codeTermination    = "TerminationNotice"
	codeInfrastructure = "InfrastructureHealth"
)

// conclude says how a job ended whose task has stopped; job is its container. An error has a reason and says that it never ran.
func conclude(t *task, job string) (runners.Result, error) {
	if !t.ran(job) {
		return runners.Result{}, neverRan(t, job)
	}
	r := runners.Result{NoCode: true, Started: t.StartedAt, Ended: t.end()}
	if r.Ended.Before(r.Started) { // ECS's times are of several machines
		r.Ended = r.Started
	}
	c := t.container(job)
	if c != nil && c.ExitCode != nil {
		r.ExitCode, r.NoCode, r.Signal = int(*c.ExitCode), false, runners.SignalOf(int(*c.ExitCode))
	}
	words := said(t, job)
	switch {
	case spotInterrupted(t):
		r.Reason, r.Message = schemas.ReasonSpotInterrupted, "AWS took back the Spot capacity that the task ran on: "+words
	case c != nil && outOfMemory(c) && (r.ExitCode != 0 || r.NoCode):
		r.Reason, r.Message = schemas.ReasonOOMKilled, "the container was killed for want of memory: "+words
	case t.StopCode == codeUser && strings.HasPrefix(t.StoppedReason, stoppedByWeir):
		// Whoever asked for it knows why. Another worker, which finds it so, knows only that the job did not end by itself.
		r.Reason, r.Message = schemas.ReasonExecutionLost, "a worker or server stopped the task, and did not record why: "+words
	case t.StopCode == codeUser:
		r.Reason, r.Message = schemas.ReasonStoppedByUser, "somebody stopped the task past Weir: "+words
	case t.StopCode == codeInfrastructure, t.StopCode == codeTermination, t.StopCode == codeScheduler:
		r.Reason, r.Message = schemas.ReasonExecutionLost, "AWS took the task away: "+words
	case endedByAnother(t, job):
		r.Reason, r.Message = schemas.ReasonEssentialExited, "another container of the task ended, and the job with it: "+words
	case r.NoCode:
		r.Reason, r.Message = schemas.ReasonExecutionLost, "ECS does not say with which exit code the job ended: "+words
	case c.Reason != "":
		r.Message = "ECS says: " + words
	}
	return r, nil
}

// spotInterrupted tells whether AWS took the task's capacity back. Whatever the job did about the signal, it was not done by itself.
func spotInterrupted(t *task) bool {
	return t.StopCode == codeSpot || t.StopCode == codeTermination && t.CapacityProvider == fargateSpot
}

// outOfMemory tells whether a container was killed for want of memory, which ECS says in its reason alone.
func outOfMemory(c *container) bool { return strings.HasPrefix(c.Reason, "OutOfMemory") }

// endedByAnother tells whether the job was ended because another essential container had ended. ECS does not say which one ended first:
// it is another where the job has no exit code, or one of a signal with which ECS ends a container, and the other one has a code of
// its own.
func endedByAnother(t *task, job string) bool {
	if c := t.container(job); c != nil && c.ExitCode != nil && !killed(*c.ExitCode) {
		return false
	}
	for i := range t.Containers {
		if o := &t.Containers[i]; o.Name != job && o.ExitCode != nil && !killed(*o.ExitCode) && len(t.Containers) > 1 {
			return true
		}
	}
	return false
}

// killed tells whether an exit code is what ECS leaves of a container that it stops.
func killed(code int32) bool {
	return code == 128+int32(syscall.SIGTERM) || code == 128+int32(syscall.SIGKILL)
}

// said is ECS's own words for a task's end: of the task, and of each container that it has some for.
func said(t *task, job string) string {
	var words []string
	if t.StoppedReason != "" {
		words = append(words, t.StoppedReason)
	} else if t.StopCode != "" {
		words = append(words, t.StopCode)
	}
	for i := range t.Containers {
		c := &t.Containers[i]
		text := c.Reason
		if c.ExitCode != nil && c.Name != job {
			text = strings.TrimPrefix(fmt.Sprintf("%s; exit code %d", text, *c.ExitCode), "; ")
		}
		if text == "" || strings.Contains(t.StoppedReason, text) {
			continue
		}
		words = append(words, fmt.Sprintf("container %s: %s", c.Name, text))
	}
	if len(words) == 0 {
		return "ECS says nothing of it"
	}
	return strings.Join(words, "; ")
}

// neverRan is why a task has stopped whose job never ran.
func neverRan(t *task, job string) error {
	words := said(t, job)
	switch {
	case spotInterrupted(t):
		return runners.Because(schemas.ReasonSpotInterrupted, errors.New("AWS took back the Spot capacity before the job ran: "+words))
	case t.StopCode == codeUser && strings.HasPrefix(t.StoppedReason, stoppedTooLate):
		return runners.Permanent(schemas.ReasonStartTimedOut, errors.New("the task was "+strings.TrimPrefix(t.StoppedReason, stoppedByWeir)))
	case t.StopCode == codeUser && strings.HasPrefix(t.StoppedReason, stoppedByWeir):
		return runners.Because(schemas.ReasonExecutionLost, errors.New("the task was stopped before the job ran: "+words))
	case t.StopCode == codeUser:
		return runners.Permanent(schemas.ReasonStoppedByUser, errors.New("somebody stopped the task past Weir before the job ran: "+words))
	case t.StopCode == codeInfrastructure, t.StopCode == codeTermination, t.StopCode == codeScheduler:
		return runners.Because(schemas.ReasonExecutionLost, errors.New("AWS took the task away before the job ran: "+words))
	}
	return failedToStart(words)
}

// A cause is why ECS could not start a task, which it tells by words alone.
type cause struct {
	words  []string // any of them
	within string   // and this as well, unless it is empty
	reason schemas.Reason
	final  bool   // another try does not mend it
	say    string // before ECS's own words
}

// What to do about what ECS says both when it is asked for a task and when it starts it.
const (
	roleWords    = "ECS cannot take on execution_role_arn, or task_role_arn: check that the role it names is there, and that its trust policy lets ecs-tasks.amazonaws.com assume it"
	machineWords = "the cluster has no machine to run the task on: register container instances in it, or run the task on Fargate by launch_type FARGATE"
)

// causes are looked through in order. The words are those of the pages "Stopped task error messages" and "CannotPullContainer task errors"
// of the ECS developer guide, of the registries and of containerd.
var causes = []cause{
	{
		words:  []string{"unable to assume the role", "unable to assume role"},
		reason: schemas.ReasonStartFailed, final: true, say: roleWords + ": ",
	},
	{words: []string{"No Container Instances were found"}, reason: schemas.ReasonCapacity, say: machineWords + ": "},
	{
		words: []string{
			"Capacity is unavailable", "RESOURCE:", "was unable to place a task", "capacity limit",
			"not enough free addresses", "InsufficientFreeAddresses", "NetworkInterfaceLimitExceeded", "maximum number of network interfaces",
		},
		reason: schemas.ReasonCapacity, say: "ECS has no room for the task now: ",
	},
	{
		words:  []string{"pull access denied", "repository does not exist", "manifest unknown", ": not found", "name unknown", "image not found", "NotFoundException: "},
		within: cannotPull, reason: schemas.ReasonImageNotFound, final: true, say: "the image is not there, or the registry does not show it to the task: ",
	},
	{
		words: []string{
			"no basic auth credentials", "unauthorized", "failed to authorize", "is not authorized to perform", "403 Forbidden", "AccessDenied", "invalid reference format",
			"does not contain descriptor matching platform", "no matching manifest", "no match for platform", "image operating system",
		},
		within: cannotPull, reason: schemas.ReasonImagePullFailed, final: true, say: "the task cannot pull the image: ",
	},
	{words: []string{cannotPull}, reason: schemas.ReasonImagePullFailed, say: "the task could not pull the image: "},
	{
		words:  []string{"log group does not exist", "log stream does not exist", "failed to validate logger args", "failed to initialize logging driver: failed to create Cloudwatch log"},
		reason: schemas.ReasonStartFailed, final: true, say: "the task cannot write its log: ",
	},
	{
		words: []string{
			"AccessDenied", "is not authorized to perform", "ResourceNotFoundException", "invalid parameters", "ParameterNotFound", "can't find the specified secret",
		},
		within: "ResourceInitializationError", reason: schemas.ReasonStartFailed, final: true, say: "the task cannot get what it needs before it starts: ",
	},
	{
		words:  []string{"executable file not found", "no such file or directory", "permission denied", "exec format error", "not a directory", "is a directory", "unable to find user"},
		within: "Cannot", reason: schemas.ReasonStartFailed, final: true, say: "the container cannot start: ",
	},
}

// cannotPull begins ECS's words for an image that did not come.
const cannotPull = "CannotPull"

// failedToStart is why ECS could not start a task, by its words.
func failedToStart(words string) error {
	for _, c := range causes {
		if !strings.Contains(words, c.within) {
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(words, w) {
				continue
			}
			err := errors.New(c.say + words)
			if c.final {
				return runners.Permanent(c.reason, err)
			}
			return runners.Because(c.reason, err)
		}
	}
	return runners.Because(schemas.ReasonStartFailed, errors.New("ECS could not start the task: "+words))
}
