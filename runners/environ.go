package runners

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-run/weir/schemas"
)

// Env is a job's own environment variables.
type Env map[string]Value

// ownVariables are what every job is told in its environment, by Weir alone.
var ownVariables = []string{
	"WEIR_RUN_ID", "WEIR_ATTEMPT", "WEIR_POOL", "WEIR_QUEUE", "WEIR_DEPLOYMENT", "WEIR_WORKER", "WEIR_PARAMETERS", "WEIR_PARAMETERS_FILE",
	"WEIR_RESULT_FILE", "WEIR_EXECUTION",
}

// Check refuses what no environment can hold, and names that are Weir's own.
func (e Env) Check() error {
	for name, v := range e {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("env %q cannot name a variable", name)
		}
		if slices.Contains(ownVariables, name) {
			return fmt.Errorf("env %s is set by weir itself: choose another name", name)
		}
		if strings.IndexByte(v.text, 0) >= 0 {
			return fmt.Errorf("env %s holds a zero byte, which no environment can", name)
		}
	}
	return nil
}

// Resolve finds every value and returns NAME=value, sorted by name; relative files are taken from dir. A reference that leads
// nowhere is permanent: the run as asked for cannot start.
func (e Env) Resolve(dir string) ([]string, error) {
	list := make([]string, 0, len(e))
	for _, name := range slices.Sorted(maps.Keys(e)) {
		s, err := e[name].Resolve(dir)
		if err != nil {
			return nil, Permanent(schemas.ReasonStartFailed, fmt.Errorf("resolve env %s: %w", name, err))
		}
		list = append(list, name+"="+s)
	}
	return list, nil
}

// Environ is what every job is told of its run, but for its parameters and its result: how those travel is the runner's to say.
func (s *Spec) Environ() []string {
	own := []string{
		"WEIR_RUN_ID=" + s.Run, "WEIR_ATTEMPT=" + strconv.Itoa(s.Attempt), "WEIR_POOL=" + s.Pool, "WEIR_QUEUE=" + s.Queue,
		"WEIR_DEPLOYMENT=" + s.Deployment, "WEIR_WORKER=" + s.Worker,
	}
	if s.Trace != "" {
		own = append(own, "TRACEPARENT="+s.Trace)
	}
	return own
}
