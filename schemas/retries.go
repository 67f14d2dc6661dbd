package schemas

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Retries says whether and when a job that failed is tried again. Its JSON is this object, or only the number Max. What the
// infrastructure took (a lost worker, a process that could not be started) is tried again whatever it says, and does not
// count against Max.
type Retries struct {
	Max        int      `json:"max"`                   // attempts after the first; at most 100
	Backoff    Duration `json:"backoff,omitempty"`     // before the first of them; 0: 10 s
	Factor     float64  `json:"factor,omitempty"`      // each wait is so many times as long as the one before it, 1 to 100; 0: 2
	Jitter     *float64 `json:"jitter,omitempty"`      // share of the wait that is left to chance, 0 to 1; nil: 0.2
	MaxBackoff Duration `json:"max_backoff,omitempty"` // no wait is longer; 0: 10 min
	RetryOn    []Cause  `json:"retry_on,omitempty"`    // only these; empty: whatever failed the job but a result that cannot be taken
	NeverOn    []Cause  `json:"never_on,omitempty"`    // not these, even if RetryOn has them
}

// What is true of retries unless told otherwise.
const (
	defaultBackoff    = 10 * time.Second
	defaultFactor     = 2
	defaultJitter     = 0.2
	defaultMaxBackoff = 10 * time.Minute
)

// A Cause is what may have ended an attempt: a reason (oom_killed), an exit code (exit:75) or a signal (signal:SIGSEGV).
type Cause string

// UnmarshalJSON reads the object, or a number for Max alone.
func (r *Retries) UnmarshalJSON(b []byte) error {
	if n := 0; json.Unmarshal(b, &n) == nil {
		*r = Retries{Max: n}
	} else {
		type plain Retries
		if err := json.Unmarshal(b, (*plain)(r)); err != nil {
			return err
		}
	}
	for _, c := range slices.Concat(r.RetryOn, r.NeverOn) {
		if err := c.Check(); err != nil {
			return err
		}
	}
	return nil
}

// causePattern is what a cause may be: the reasons that can end an attempt after which there may be another, an exit code, a
// signal.
const (
	causePattern = `^(exit_code|signal|timed_out|oom_killed|start_failed|start_timed_out|image_not_found|image_pull_failed|capacity_unavailable|spot_interrupted|essential_container_exited|stopped_by_user|execution_lost|engine_unreachable|` +
		`result_too_large|result_invalid|worker_lost|lease_lost|worker_stopped|exit:([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])|signal:SIG[A-Z0-9+]{2,8})$`
	causeHint = "exit:<code from 1 to 255>, signal:<NAME>, or one of exit_code, signal, timed_out, oom_killed, start_failed, " +
		"start_timed_out, image_not_found, image_pull_failed, capacity_unavailable, spot_interrupted, essential_container_exited, stopped_by_user, execution_lost, engine_unreachable, result_too_large, result_invalid, worker_lost, lease_lost, worker_stopped"
)

var causeForm = regexp.MustCompile(causePattern)

// Check refuses a cause that can never be met.
func (c Cause) Check() error {
	if !causeForm.MatchString(string(c)) {
		return fmt.Errorf("cause %q: write %s", clip(string(c)), causeHint)
	}
	return nil
}

// Want tells whether an attempt that e ended is one to try again. What crashed, and a job that did its work but whose result
// cannot be taken, is so only where RetryOn names its reason.
func (r Retries) Want(e RunEvent) bool {
	met := func(causes []Cause) bool { return slices.ContainsFunc(causes, func(c Cause) bool { return c.met(e) }) }
	if len(r.RetryOn) == 0 && (e.State == Crashed || e.Reason == ReasonResultTooLarge || e.Reason == ReasonResultInvalid) {
		return false
	}
	return (len(r.RetryOn) == 0 || met(r.RetryOn)) && !met(r.NeverOn)
}

func (c Cause) met(e RunEvent) bool {
	if code, ok := strings.CutPrefix(string(c), "exit:"); ok {
		return e.Signal == "" && e.ExitCode != nil && fmt.Sprint(*e.ExitCode) == code
	}
	if name, ok := strings.CutPrefix(string(c), "signal:"); ok {
		return e.Signal == name
	}
	return string(c) == string(e.Reason)
}

// Wait is the time before the nth retry, counted from 1. chance is a random number from 0 to below 1.
func (r Retries) Wait(n int, chance float64) time.Duration {
	backoff, factor, jitter, longest := time.Duration(r.Backoff), r.Factor, defaultJitter, time.Duration(r.MaxBackoff)
	if backoff == 0 {
		backoff = defaultBackoff
	}
	if factor == 0 {
		factor = defaultFactor
	}
	if r.Jitter != nil {
		jitter = *r.Jitter
	}
	if longest == 0 {
		longest = max(defaultMaxBackoff, backoff)
	}
	wait := min(float64(backoff)*math.Pow(factor, float64(n-1)), float64(longest))
	return min(time.Duration(wait*(1+jitter*(2*chance-1))), longest)
}
