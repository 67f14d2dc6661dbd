package schemas

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A PoliteSignal is one with which a job can be told to end before it is killed.
type PoliteSignal string

// PoliteSignals lists them.
var PoliteSignals = []PoliteSignal{"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"}

// An Ending is what an exit code of a job means, where it does not mean that the job failed.
type Ending string

// The endings.
const (
	EndCompleted Ending = "completed" // the job has done its work
	EndCancelled Ending = "cancelled" // the job found that there was nothing to do
	EndRetry     Ending = "retry"     // try again, whatever retry_on and never_on say
)

// Endings lists every ending.
var Endings = []Ending{EndCompleted, EndCancelled, EndRetry}

// ExitCodes says what exit codes mean: by the code as text, from 1 to 255, since JSON has no other keys.
type ExitCodes map[string]Ending

// Of is what an exit code means; empty: that the job failed.
func (c ExitCodes) Of(code int) Ending { return c[strconv.Itoa(code)] }

// CheckExitCode refuses an entry that means nothing.
func CheckExitCode(code string, e Ending) error {
	if n, err := strconv.Atoi(code); err != nil || n < 1 || n > 255 || code != strconv.Itoa(n) {
		return fmt.Errorf("exit code %q: write a whole number from 1 to 255", clip(code))
	}
	if !slices.Contains(Endings, e) {
		names := make([]string, len(Endings))
		for i, n := range Endings {
			names[i] = string(n)
		}
		return fmt.Errorf("exit code %s: got %q, want %s", code, clip(string(e)), strings.Join(names, ", "))
	}
	return nil
}
