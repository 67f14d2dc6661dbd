package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// Job is the rendered job configuration of a process pool. Its names are Prefect's, plus python, cpu and memory.
type Job struct {
	Command      schemas.Command   `json:"command"`       // the program and its arguments; empty: the run's entrypoint
	Env          runners.Env       `json:"env"`           // over the worker's own environment
	Labels       map[string]string `json:"labels"`        // for people; a process carries none
	Name         string            `json:"name"`          // for people
	StreamOutput *bool             `json:"stream_output"` // false: output is thrown away; absent: true
	WorkingDir   string            `json:"working_dir"`   // relative to the code's folder; empty: that folder
	Python       string            `json:"python"`        // interpreter for entrypoints; empty: see [Job.interpreter]
	CPU          runners.Amount    `json:"cpu"`           // 1024 = 1 vCPU; 0: no limit
	Memory       runners.Amount    `json:"memory"`        // MiB; 0: no limit
}

// parseJob reads a rendered job configuration. The error says which field is wrong and how.
func parseJob(b json.RawMessage) (*Job, error) {
	j := &Job{}
	if len(bytes.TrimSpace(b)) == 0 {
		return j, nil
	}
	if err := runners.DecodeJob(b, j); err != nil {
		return nil, err
	}
	if err := j.Env.Check(); err != nil {
		return nil, fmt.Errorf("job configuration: %w", err)
	}
	if len(j.Command) > 0 && j.Command[0] == "" {
		return nil, errors.New("job configuration: command names no program")
	}
	for what, list := range map[string][]string{"command": j.Command, "working_dir": {j.WorkingDir}, "python": {j.Python}} {
		if slices.ContainsFunc(list, func(s string) bool { return strings.IndexByte(s, 0) >= 0 }) {
			return nil, fmt.Errorf("job configuration: %s holds a zero byte, which no command line can", what)
		}
	}
	return j, nil
}

// check is [runners.Type.Check].
func check(b json.RawMessage) error {
	_, err := parseJob(b)
	return err
}

// under takes a relative path from dir.
func under(dir, path string) string {
	if filepath.IsAbs(path) || dir == "" {
		return path
	}
	return filepath.Join(dir, path)
}

// clip keeps text from outside from filling an error.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
