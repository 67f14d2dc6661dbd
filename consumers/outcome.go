package consumers

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// maxCrashes is how many attempts of a run may be lost with their infrastructure before it is given up.
const maxCrashes = 3

// crashPause is the time before the attempt that follows a crash; one such pause more with each crash. A worker that cannot
// start anything does not empty its queue meanwhile.
const crashPause = time.Second

// capacityPause is about the time before the attempt that follows one for which the infrastructure had no room.
const capacityPause = 10 * time.Second

// An outcome is how an attempt ended.
type outcome struct {
	state    schemas.State
	reason   schemas.Reason
	message  string
	exitCode *int
	signal   string
	result   json.RawMessage
	again    bool // the infrastructure ended the attempt, not the job: another may follow
	crash    bool // and it counts as a crash
	wanted   bool // by its exit code: what the retries say of causes does not count

	crashes int       // of the run, this attempt included
	excused int       // the same
	retryAt time.Time // state retrying: when the next attempt is due; zero: the attempt's own request asks for it too
}

// expired is the outcome of a run that was not started in time.
var expired = outcome{state: schemas.Failed, reason: schemas.ReasonExpired, message: "the run was not started in time"}

// event puts the outcome into e.
func (o outcome) event(e schemas.RunEvent) schemas.RunEvent {
	e.Reason, e.Message, e.ExitCode, e.Signal, e.Result, e.Crashes = o.reason, o.message, o.exitCode, o.signal, o.result, max(o.crashes, e.Crashes)
	e.Excused = max(o.excused, e.Excused)
	if o.state == schemas.Retrying && !o.retryAt.IsZero() {
		e.RetryAt = new(o.retryAt.UTC())
	}
	return e
}

// past is what of a run's attempts was not the job's own to fail, this one left out.
type past struct{ crashes, excused int }

// next turns the end of an attempt into a retry where another is to follow.
func (o outcome) next(r *schemas.Retries, attempt int, before past, now time.Time) outcome {
	o.crashes, o.excused = before.crashes, before.excused
	switch {
	case o.again && !o.crash:
		o.excused++
		if o.reason == schemas.ReasonCapacity {
			now = now.Add(time.Duration((0.5 + rand.Float64()) * float64(capacityPause)))
		}
		return o.retry(now, "another attempt follows")
	case o.crash && o.crashes+1 < maxCrashes:
		o.crashes++
		return o.retry(now.Add(time.Duration(o.crashes)*crashPause), fmt.Sprintf("attempt %d follows (%d of %d that may be lost)", attempt+1, o.crashes, maxCrashes-1))
	case r == nil || o.state != schemas.Failed && o.state != schemas.Crashed:
	case o.wanted || r.Want(schemas.RunEvent{State: o.state, Reason: o.reason, ExitCode: o.exitCode, Signal: o.signal}):
		if n := attempt - before.crashes - before.excused; n <= r.Max { // the nth attempt that was the job's own to fail
			wait := r.Wait(n, rand.Float64())
			return o.retry(now.Add(wait), fmt.Sprintf("retry %d of %d follows in %s", n, r.Max, wait.Round(time.Millisecond)))
		}
	}
	if o.crash {
		o.crashes++
	}
	return o
}

// unfollowed is the outcome of an attempt that ended for that reason and that another was to follow: NATS does not take it.
func unfollowed(reason schemas.Reason, message string, err error) outcome {
	return outcome{state: schemas.Failed, reason: reason, message: message + "; it cannot be requested: " + err.Error()}
}

func (o outcome) retry(at time.Time, what string) outcome {
	o.state, o.retryAt = schemas.Retrying, at
	o.message += "; " + what
	return o
}

// endKnown tells whether err still says how the execution ended. Of any other error only that much is certain: the execution
// may live on.
func endKnown(err error) bool {
	return errors.Is(err, errTimedOut) || errors.Is(err, errStopped) || errors.Is(err, errCancelled) || errors.Is(err, runners.ErrGone) || neverRan(err)
}

// neverRan tells whether err says that the job of an execution that was taken never ran.
func neverRan(err error) bool {
	return runners.ReasonOf(err, "") != "" && !errors.Is(err, runners.ErrGone)
}

// conclusion says what an execution's end means for its run. err is why it was ended, as [endKnown] has it.
func conclusion(r runners.Result, err error) outcome {
	switch {
	case errors.Is(err, errTimedOut):
		return outcome{state: schemas.Failed, reason: schemas.ReasonTimedOut, message: err.Error(), exitCode: exitCode(r), signal: r.Signal}
	case errors.Is(err, errCancelled):
		return outcome{state: schemas.Cancelled, reason: schemas.ReasonCancelRequest, message: "the job was stopped: " + err.Error(), exitCode: exitCode(r), signal: r.Signal}
	case errors.Is(err, errStopped):
		return workerStopped("the worker was told to stop at once")
	case err != nil && neverRan(err):
		return startFailure(err)
	case errors.Is(err, runners.ErrGone):
		return crashed(runners.ReasonOf(err, schemas.ReasonWorkerLost), "the execution vanished: "+err.Error())
	}
	o := outcome{reason: r.Reason, message: r.Message, exitCode: exitCode(r), signal: r.Signal, result: r.Value}
	switch {
	case r.NoCode && r.Reason == "" && r.Signal == "":
		return crashed(schemas.ReasonExecutionLost, sentences("it is not known how the job ended", r.Message))
	case r.Reason == schemas.ReasonLeaseLost || r.Reason == schemas.ReasonEngineUnreachable || r.Reason == schemas.ReasonExecutionLost ||
		r.Reason == schemas.ReasonSpotInterrupted:
		again := crashed(r.Reason, r.Message)
		o.state, o.again, o.crash = again.state, again.again, again.crash
	case r.Reason == schemas.ReasonStoppedByUser || r.Reason == schemas.ReasonEssentialExited:
		o.state = schemas.Failed
	case r.Reason == schemas.ReasonResultInvalid || r.Reason == schemas.ReasonResultTooLarge:
		o.state = schemas.Failed
	case r.ExitCode == 0 && r.Signal == "" && !r.NoCode:
		o.state = schemas.Completed
	case r.Signal != "":
		o.state = schemas.Failed
		if o.reason == "" {
			o.reason, o.message = schemas.ReasonSignal, sentences("the job was ended by "+r.Signal, r.Message)
		}
	default:
		o.state = schemas.Failed
		if o.reason == "" {
			o.reason, o.message = schemas.ReasonExitCode, sentences(fmt.Sprintf("the job ended with exit code %d", r.ExitCode), r.Message)
		}
	}
	return o
}

// meant is the outcome of a job some of whose exit codes do not mean that it failed.
func (o outcome) meant(codes schemas.ExitCodes) outcome {
	if o.reason != schemas.ReasonExitCode {
		return o
	}
	switch codes.Of(*o.exitCode) {
	case schemas.EndCompleted:
		o.state, o.message = schemas.Completed, o.message+", which the deployment takes for completed"
	case schemas.EndCancelled:
		o.state, o.message = schemas.Cancelled, o.message+", which the deployment takes for cancelled"
	case schemas.EndRetry:
		o.wanted = true
	}
	return o
}

// sentences joins what is to be said, and what the runner has to add.
func sentences(said, more string) string {
	if more == "" {
		return said
	}
	return said + "; " + more
}

// startFailure says what it means that an execution could not be started.
func startFailure(err error) outcome {
	if reason, ok := runners.IsPermanent(err); ok {
		return outcome{state: schemas.Failed, reason: reason, message: err.Error()}
	}
	if errors.Is(err, errCancelled) {
		return outcome{state: schemas.Cancelled, reason: schemas.ReasonCancelRequest, message: "the job was not started: " + err.Error()}
	}
	if errors.Is(err, errStopped) {
		return workerStopped("the worker was told to stop before it had started the job")
	}
	return crashed(runners.ReasonOf(err, schemas.ReasonStartFailed), err.Error())
}

// crashed is the outcome of an attempt that the infrastructure ended. One for which it had no room, or no longer, does not count: that
// may last, and says nothing of the job.
func crashed(reason schemas.Reason, message string) outcome {
	room := reason == schemas.ReasonCapacity || reason == schemas.ReasonSpotInterrupted
	return outcome{state: schemas.Crashed, reason: reason, message: message, again: true, crash: !room}
}

// workerStopped is the outcome of an attempt that its worker gave back.
func workerStopped(message string) outcome {
	return outcome{state: schemas.Crashed, reason: schemas.ReasonWorkerStopped, message: message, again: true}
}

// exitCode is the job's, where it is known.
func exitCode(r runners.Result) *int {
	if r.NoCode {
		return nil
	}
	return &r.ExitCode
}
