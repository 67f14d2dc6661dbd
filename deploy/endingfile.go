package deploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weir-run/weir/schemas"
)

// exitCodes reads a mapping such as {3: completed, 75: retry}.
func (r *reader) exitCodes(f field) schemas.ExitCodes {
	if f.value.kind != mapping {
		r.fail(f.value.at, "exit_codes: got %s, want a mapping such as {3: completed, 75: retry}", f.value.kind)
		return nil
	}
	codes := schemas.ExitCodes{}
	for _, entry := range f.value.fields {
		e := schemas.Ending(entry.value.text)
		if err := schemas.CheckExitCode(entry.key, e); err != nil {
			r.fail(entry.at, "exit_codes: %s", err)
			continue
		}
		codes[entry.key] = e
	}
	return codes
}

// signal reads the polite signal of a job.
func (r *reader) signal(f field) schemas.PoliteSignal {
	s := schemas.PoliteSignal(f.value.text)
	if !slices.Contains(schemas.PoliteSignals, s) {
		r.fail(f.value.at, "cancel_signal: got %q, want one of %s", f.value.text, strings.Trim(fmt.Sprint(schemas.PoliteSignals), "[]"))
		return ""
	}
	return s
}
