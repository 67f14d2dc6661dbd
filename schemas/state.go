// Package schemas holds Weir's messages: their Go types, their JSON Schemas, and the rules a message from outside has to
// meet. It knows nothing of NATS.
package schemas

// State is where a run stands. The words and their meaning are Prefect's.
type State string

// The states of a run. A run that waits in its pool's stream is Scheduled: the message itself is that state, no event
// records it.
const (
	Scheduled  State = "scheduled"
	Pending    State = "pending"    // claimed; infrastructure is being prepared
	Running    State = "running"    // the execution has started
	Retrying   State = "retrying"   // this attempt has ended, another follows
	Cancelling State = "cancelling" // a cancel was asked for and the execution is not yet confirmed gone
	Completed  State = "completed"
	Failed     State = "failed"
	Crashed    State = "crashed" // the infrastructure ended the run, not the job
	Cancelled  State = "cancelled"
)

// States lists every state that an event can carry, in the order of a run's life.
var States = []State{Pending, Running, Retrying, Cancelling, Completed, Failed, Crashed, Cancelled}

// Final tells whether nothing follows s.
func (s State) Final() bool {
	return s == Completed || s == Failed || s == Crashed || s == Cancelled
}

// follows lists, for each state, what may come next; docs/run-life.md draws it. Scheduled stands for "no event yet". A state
// may follow itself where its owner records it again (reason held), so that retention never takes a live run's last event;
// Running also where another worker takes the execution over.
var follows = map[State][]State{
	Scheduled:  {Pending, Failed, Cancelled},
	Pending:    {Pending, Running, Retrying, Cancelling, Completed, Failed, Crashed, Cancelled},
	Running:    {Running, Retrying, Cancelling, Completed, Failed, Crashed, Cancelled},
	Retrying:   {Retrying, Pending, Cancelling, Failed, Cancelled},
	Cancelling: {Cancelling, Cancelled, Completed, Failed, Crashed},
}

// CanFollow tells whether next is an allowed step from s.
func (s State) CanFollow(next State) bool {
	for _, f := range follows[s] {
		if f == next {
			return true
		}
	}
	return false
}

// Reason says for machines why a run is in its state. The list is closed.
type Reason string

// The reasons. docs/reasons.md says for each what it means and what to do.
const (
	ReasonNone              Reason = ""
	ReasonExitCode          Reason = "exit_code"                  // the job ended with an exit code other than 0
	ReasonSignal            Reason = "signal"                     // a signal ended the job, and Weir did not send it
	ReasonTimedOut          Reason = "timed_out"                  // the run took longer than its timeout
	ReasonExpired           Reason = "expired"                    // the run was not started before its expires_at
	ReasonRejected          Reason = "rejected"                   // the request was not valid; it is in the dead letters
	ReasonStartFailed       Reason = "start_failed"               // the infrastructure could not start the job
	ReasonStartTimedOut     Reason = "start_timed_out"            // the job was not running within its start_timeout
	ReasonImageNotFound     Reason = "image_not_found"            // there is no such image, or it is not on the engine and may not be pulled
	ReasonImagePullFailed   Reason = "image_pull_failed"          // the image could not be pulled
	ReasonCapacity          Reason = "capacity_unavailable"       // the infrastructure has no room for the job now
	ReasonSpotInterrupted   Reason = "spot_interrupted"           // the infrastructure took back the capacity that the job ran on
	ReasonEssentialExited   Reason = "essential_container_exited" // another container of the job ended, and the job with it
	ReasonStoppedByUser     Reason = "stopped_by_user"            // somebody stopped the execution past Weir
	ReasonExecutionLost     Reason = "execution_lost"             // the infrastructure does not know any more how the execution ended, or took it away
	ReasonEngineUnreachable Reason = "engine_unreachable"         // the container engine was away too long, or ended the job as it stopped
	ReasonResultTooLarge    Reason = "result_too_large"           // the job's result is over the limit
	ReasonResultInvalid     Reason = "result_invalid"             // the job's result is not JSON
	ReasonOOMKilled         Reason = "oom_killed"                 // the job used more memory than it was given
	ReasonWorkerLost        Reason = "worker_lost"                // the worker's lease ran out and its execution is gone
	ReasonLeaseLost         Reason = "lease_lost"                 // the job was ended because its worker's lease was not confirmed in time
	ReasonCancelRequest     Reason = "cancel_requested"           // somebody asked for the cancel
	ReasonWorkerStopped     Reason = "worker_stopped"             // the worker was told to stop at once
	ReasonHeld              Reason = "held"                       // nothing changed: a long run's state is recorded again
)

// Reasons lists every reason.
var Reasons = []Reason{
	ReasonExitCode, ReasonSignal, ReasonTimedOut, ReasonExpired, ReasonRejected, ReasonStartFailed, ReasonStartTimedOut, ReasonImageNotFound,
	ReasonImagePullFailed, ReasonCapacity, ReasonSpotInterrupted, ReasonEssentialExited, ReasonStoppedByUser, ReasonExecutionLost,
	ReasonEngineUnreachable, ReasonResultTooLarge, ReasonResultInvalid, ReasonOOMKilled, ReasonWorkerLost, ReasonLeaseLost, ReasonCancelRequest, ReasonWorkerStopped, ReasonHeld,
}
