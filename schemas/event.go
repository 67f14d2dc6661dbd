package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Version is the version of every schema here. A message carries it in dataschema; a reader refuses a higher major one.
const Version = "v1"

// ContentType marks a NATS message as a CloudEvent in structured JSON mode (NATS protocol binding for CloudEvents 1.0.2).
const ContentType = "application/cloudevents+json"

// Event is a CloudEvents 1.0 envelope around Data.
type Event[T any] struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"` // run, attempt, state and a count: appending twice is the same event
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	DataSchema      string    `json:"dataschema"`
	TraceParent     string    `json:"traceparent,omitempty"`
	Data            T         `json:"data"`
}

// RunEvent is one step of a run's life: schemas/run-event.schema.json.
type RunEvent struct {
	Run        string          `json:"run"`
	Pool       string          `json:"pool"`
	Queue      string          `json:"queue"`
	Deployment string          `json:"deployment"`
	State      State           `json:"state"`
	Reason     Reason          `json:"reason,omitempty"`
	Message    string          `json:"message,omitempty"` // a sentence for people
	Attempt    int             `json:"attempt"`           // from 1; 0 when no attempt was made
	Crashes    int             `json:"crashes,omitempty"` // attempts so far that the infrastructure ended
	Excused    int             `json:"excused,omitempty"` // attempts so far that ended without being anybody's fault: they count neither as crashes nor as failures
	Worker     string          `json:"worker,omitempty"`
	Time       time.Time       `json:"time"`
	Execution  string          `json:"execution,omitempty"` // PID, container ID, ARN, Job name
	Place      string          `json:"place,omitempty"`     // where the execution is: an engine, in words that tell it from all others, or a cluster
	Details    json.RawMessage `json:"details,omitempty"`   // what more its infrastructure tells of the execution: a JSON object of the pool type's own shape
	Image      string          `json:"image,omitempty"`     // ID of the image that the execution runs, where it is a container
	Parent     string          `json:"parent,omitempty"`    // run that this one repeats
	Tags       []string        `json:"tags,omitempty"`

	Previous    uint64          `json:"previous"`                  // sequence in the log of the event that this one follows; 0: it is the run's first
	Requested   time.Time       `json:"requested"`                 // when the run was requested: when its first message was stored in the pool's stream
	Sequence    uint64          `json:"sequence"`                  // in the pool's stream, of the message whose delivery is the lease: a retry has one of its own
	Claimed     *time.Time      `json:"claimed,omitempty"`         // when the attempt was claimed
	Started     *time.Time      `json:"started,omitempty"`         // when the attempt's execution started
	Deadline    *time.Time      `json:"deadline,omitempty"`        // when the run times out; survives a change of worker
	RetryAt     *time.Time      `json:"retry_at,omitempty"`        // retrying: when the next attempt is due; nil: the same message asks for it, and whoever has that goes on at once
	Parameters  json.RawMessage `json:"parameters,omitempty"`      // what the job was given; in the pending event only
	Variables   json.RawMessage `json:"job_variables,omitempty"`   // the request's own; in the pending event only
	ExitCode    *int            `json:"exit_code,omitempty"`       // final states: the job's own
	Signal      string          `json:"signal,omitempty"`          // final states: the signal that ended the job
	Result      json.RawMessage `json:"result,omitempty"`          // completed: what the job returned
	QueuedMS    *int64          `json:"queued_ms,omitempty"`       // from request to claim, milliseconds
	ProvisionMS *int64          `json:"provisioning_ms,omitempty"` // from claim to start
	RunningMS   *int64          `json:"running_ms,omitempty"`      // from start to end
}

const (
	typePrefix = "weir.run."
	schemaBase = "https://weir.run/schemas/" + Version + "/"

	runEventSchema = schemaBase + "run-event.schema.json"
)

// DecodeRunEvent reads what [EncodeRunEvent] wrote. Unknown fields are ignored: a newer minor version may have them.
func DecodeRunEvent(b []byte) (RunEvent, error) {
	var e Event[RunEvent]
	if err := json.Unmarshal(b, &e); err != nil {
		return RunEvent{}, fmt.Errorf("read run event: %w", err)
	}
	if e.SpecVersion != "1.0" {
		return RunEvent{}, fmt.Errorf("read run event: specversion is %q, want 1.0", clip(e.SpecVersion))
	}
	if e.DataSchema != runEventSchema {
		return RunEvent{}, fmt.Errorf("read run event: its schema is %q and this weir reads %s: use the same version of weir everywhere", clip(e.DataSchema), Version)
	}
	if e.Data.Run == "" || e.Data.State == "" {
		return RunEvent{}, errors.New("read run event: run or state is missing")
	}
	return e.Data, nil
}
