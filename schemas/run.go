package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// MaxRequest is the size in bytes of the largest run request. Larger data belongs in a file or object store that the
// parameters name.
const MaxRequest = 512 << 10

// RunRequest is the body of a run request: schemas/run-request.schema.json. The zero value, and an empty body, ask for the
// deployment as it is.
type RunRequest struct {
	Parameters   map[string]json.RawMessage `json:"parameters,omitempty"`    // over the deployment's own
	JobVariables map[string]json.RawMessage `json:"job_variables,omitempty"` // over the deployment's own
	Tags         []string                   `json:"tags,omitempty"`
	Timeout      Duration                   `json:"timeout,omitempty"` // from running; 0: the deployment's
	Retries      *Retries                   `json:"retries,omitempty"` // nil: the deployment's
	Parent       string                     `json:"parent,omitempty"`  // run that this one repeats
	ExpiresAt    *time.Time                 `json:"expires_at,omitempty"`
}

// ParseRunRequest reads a run request's body. An empty body is valid. The error says which field is wrong and how: unless the
// body is over [MaxRequest], it is an [*InvalidError].
func ParseRunRequest(body []byte) (RunRequest, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return RunRequest{}, nil
	}
	if len(body) > MaxRequest {
		return RunRequest{}, fmt.Errorf("the run request has %d bytes, the limit is %d: keep large data in a file or object store that the parameters name",
			len(body), MaxRequest)
	}
	if err := Validate(RunRequestSchema, body); err != nil {
		return RunRequest{}, err
	}
	var r RunRequest
	if err := json.Unmarshal(body, &r); err != nil { // a time or duration that only its own reader finds wrong
		return RunRequest{}, &InvalidError{What: RunRequestSchema.what, Problems: []Problem{{Text: err.Error()}}}
	}
	return r, nil
}

// Duration is a time.Duration that JSON carries as seconds (90, 0.5) or as text (90s, 10m, 1h30m).
type Duration time.Duration

// MarshalJSON writes seconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(d).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads seconds or text.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	p, err := ParseDuration(v)
	if err != nil {
		return err
	}
	*d = p
	return nil
}

// maxDuration is the longest duration that a file or message may ask for: 10 years.
const maxDuration = 10 * 365 * 24 * time.Hour

// ParseDuration reads a duration as JSON and YAML have it: a number of seconds, or text such as 90s or 10m. None is negative
// or longer than 10 years.
func ParseDuration(v any) (Duration, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case string:
		d, err := time.ParseDuration(v)
		if err != nil || v[0] == '+' {
			return 0, fmt.Errorf("duration %q: %s", clip(v), durationHint)
		}
		if d < 0 || d > maxDuration {
			return 0, fmt.Errorf("duration %s is not between 0 and 10 years", clip(v))
		}
		return Duration(d), nil
	case float64:
		if !(v >= 0 && v <= maxDuration.Seconds()) { // neither is NaN
			return 0, fmt.Errorf("duration %v is not between 0 and 10 years, in seconds", v)
		}
		return Duration(math.Round(v * float64(time.Second))), nil
	case int:
		return ParseDuration(float64(v))
	case int64:
		return ParseDuration(float64(v))
	case uint64:
		return ParseDuration(float64(v))
	default:
		return 0, fmt.Errorf("duration is %s: %s", kindOf(v), durationHint)
	}
}

const durationHint = "write seconds (90) or a number with a unit (90s, 10m, 1h30m)"
