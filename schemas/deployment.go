package schemas

import (
	"encoding/json"
	"time"
)

// Deployment says what to run, on which pool, with which overrides. KV key deployment.<name>: schemas/deployment.schema.json.
type Deployment struct {
	Name            string                     `json:"name"`
	Description     string                     `json:"description,omitempty"`
	Version         string                     `json:"version,omitempty"`
	Tags            []string                   `json:"tags,omitempty"`
	Pool            string                     `json:"pool"`
	Queue           string                     `json:"queue"`                // never empty in the record
	Entrypoint      string                     `json:"entrypoint,omitempty"` // file.py:function; or Command
	Command         Command                    `json:"command,omitempty"`
	Directory       string                     `json:"directory,omitempty"`        // absolute folder of the project file on the machine that deployed it
	Parameters      map[string]json.RawMessage `json:"parameters,omitempty"`       // defaults
	ParameterSchema json.RawMessage            `json:"parameter_schema,omitempty"` // JSON Schema of the parameters object; empty: anything goes
	JobVariables    map[string]json.RawMessage `json:"job_variables,omitempty"`
	Timeout         Duration                   `json:"timeout,omitempty"`       // from running; 0: none
	Grace           Duration                   `json:"grace,omitempty"`         // from the polite signal to the kill; 0: 30 s
	CancelSignal    PoliteSignal               `json:"cancel_signal,omitempty"` // one of PoliteSignals; empty: SIGTERM, or what the image wants
	Retries         *Retries                   `json:"retries,omitempty"`       // of a job that fails; nil: none
	ExitCodes       ExitCodes                  `json:"exit_codes,omitempty"`    // those that do not mean that the job failed
	ExpiresAfter    Duration                   `json:"expires_after,omitempty"` // from request to start; 0: never
	Created         time.Time                  `json:"created"`
	Updated         time.Time                  `json:"updated"`
}
