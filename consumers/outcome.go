package consumers

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// maxCrashes is how many attempts of a run may be lost with their infrastructure before it is given up.
const maxCrashes = 3

// An outcome is how an attempt ended.
type outcome struct {
	state     schemas.State
	reason    schemas.Reason
	message   string
	execution string
	exitCode  *int
	signal    string
	result    json.RawMessage
	again     bool // the infrastructure ended the attempt, not the job: another may follow
}

// event puts the outcome into e.
func (o outcome) event(e schemas.RunEvent) schemas.RunEvent {
	e.Reason, e.Message, e.ExitCode, e.Signal, e.Result = o.reason, o.message, o.exitCode, o.signal, o.result
	if o.execution != "" {
		e.Execution = o.execution
	}
	return e
}

// retry turns a crash into a retry while the run has attempts left.
func (o outcome) retry(attempt int) outcome {
	if o.again && attempt < maxCrashes {
		o.state = schemas.Retrying
		o.message += fmt.Sprintf("; attempt %d of %d follows", attempt+1, maxCrashes)
	}
	return o
}

// retryPause is the time before the second attempt; one such pause more before each that follows. A worker that cannot start
// anything does not empty its queue meanwhile.
const retryPause = time.Second

// endKnown tells whether err still says how the execution ended. Of any other error only that much is certain: the execution
// may live on.
func endKnown(err error) bool {
	return errors.Is(err, errTimedOut) || errors.Is(err, errStopped) || errors.Is(err, runners.ErrGone)
}

// conclusion says what an execution's end means for its run. err is why it was ended, as [endKnown] has it.
func conclusion(r runners.Result, err error) outcome {
	switch {
	case errors.Is(err, errTimedOut):
		return outcome{state: schemas.Failed, reason: schemas.ReasonTimedOut, message: err.Error(), exitCode: &r.ExitCode, signal: r.Signal}
	case errors.Is(err, errStopped):
		return outcome{state: schemas.Crashed, reason: schemas.ReasonWorkerStopped, message: "the worker was told to stop at once", again: true}
	case errors.Is(err, runners.ErrGone):
		return outcome{state: schemas.Crashed, reason: schemas.ReasonWorkerLost, message: "the execution vanished: " + err.Error(), again: true}
	}
	o := outcome{reason: r.Reason, message: r.Message, exitCode: &r.ExitCode, signal: r.Signal, result: r.Value}
	switch {
	case r.Reason == schemas.ReasonLeaseLost:
		o.state, o.again = schemas.Crashed, true
	case r.Reason == schemas.ReasonResultInvalid || r.Reason == schemas.ReasonResultTooLarge:
		o.state = schemas.Failed
	case r.ExitCode == 0 && r.Signal == "":
		o.state = schemas.Completed
	case r.Signal != "":
		o.state = schemas.Failed
		if o.reason == "" {
			o.reason, o.message = schemas.ReasonSignal, fmt.Sprintf("the job was ended by %s", r.Signal)
		}
	default:
		o.state = schemas.Failed
		if o.reason == "" {
			o.reason, o.message = schemas.ReasonExitCode, fmt.Sprintf("the job ended with exit code %d", r.ExitCode)
		}
	}
	return o
}

// startFailure says what it means that an execution could not be started.
func startFailure(err error) outcome {
	if reason, ok := runners.IsPermanent(err); ok {
		return outcome{state: schemas.Failed, reason: reason, message: err.Error()}
	}
	return outcome{state: schemas.Crashed, reason: schemas.ReasonStartFailed, message: err.Error(), again: true}
}
