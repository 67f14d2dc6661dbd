package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// Job is the rendered job configuration of a process pool. Its names are Prefect's, plus python, cpu and memory.
type Job struct {
	Command      schemas.Command   `json:"command"`       // the program and its arguments; empty: the run's entrypoint
	Env          map[string]Value  `json:"env"`           // over the worker's own environment
	Labels       map[string]string `json:"labels"`        // for people; a process carries none
	Name         string            `json:"name"`          // for people
	StreamOutput *bool             `json:"stream_output"` // false: output is thrown away; absent: true
	WorkingDir   string            `json:"working_dir"`   // relative to the code's folder; empty: that folder
	Python       string            `json:"python"`        // interpreter for entrypoints; empty: see [Job.interpreter]
	CPU          Amount            `json:"cpu"`           // 1024 = 1 vCPU; 0: no limit
	Memory       Amount            `json:"memory"`        // MiB; 0: no limit
}

// parseJob reads a rendered job configuration. The error says which field is wrong and how.
func parseJob(b json.RawMessage) (*Job, error) {
	j := &Job{}
	if len(bytes.TrimSpace(b)) == 0 {
		return j, nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(j); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("job configuration: %s is a %s, want %s", wrong.Field, wrong.Value, wrong.Type)
		}
		return nil, fmt.Errorf("job configuration: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	for name, v := range j.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, fmt.Errorf("job configuration: env %q cannot name a variable", name)
		}
		if slices.Contains(ownVariables, name) {
			return nil, fmt.Errorf("job configuration: env %s is set by weir itself: choose another name", name)
		}
		if strings.IndexByte(v.text, 0) >= 0 {
			return nil, fmt.Errorf("job configuration: env %s holds a zero byte, which no environment can", name)
		}
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

// Amount is a positive whole number, or the text of one: Prefect's templates have cpu and memory as either.
type Amount int64

// UnmarshalJSON reads a number, text or null.
func (a *Amount) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" || s == "" {
		*a = 0
		return nil
	}
	var n float64
	if err := json.Unmarshal([]byte(s), &n); err != nil || n != float64(int64(n)) || n < 1 || n > 1<<30 {
		return fmt.Errorf("cpu or memory is %s, want a whole number above 0 (cpu: 1024 is one vCPU; memory: MiB)", clip(string(b)))
	}
	*a = Amount(n)
	return nil
}

// Value is an environment variable's value, or where to find it when the job starts. It never shows what it holds.
type Value struct {
	text     string
	fromEnv  string
	fromFile string
}

// UnmarshalJSON reads text, a number, a boolean, {"from_env": name} or {"from_file": path}.
func (v *Value) UnmarshalJSON(b []byte) error {
	var value any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return err
	}
	switch x := value.(type) {
	case nil:
		*v = Value{}
	case string:
		*v = Value{text: x}
	case bool, json.Number:
		*v = Value{text: fmt.Sprint(x)}
	case map[string]any:
		env, isEnv := x["from_env"].(string)
		file, isFile := x["from_file"].(string)
		if len(x) != 1 || env == "" && file == "" || !isEnv && !isFile {
			return errors.New(`an env value is an object, but neither {"from_env": name} nor {"from_file": path}`)
		}
		*v = Value{fromEnv: env, fromFile: file}
	default:
		return errors.New(`an env value is neither text nor {"from_env": name} nor {"from_file": path}`)
	}
	return nil
}

// String hides the value.
func (v Value) String() string { return "[hidden]" }

// resolve finds the value. Errors name the reference, never the value.
func (v Value) resolve(code string) (string, error) {
	switch {
	case v.fromEnv != "":
		s, ok := os.LookupEnv(v.fromEnv)
		if !ok {
			return "", fmt.Errorf("the worker's environment has no %s", v.fromEnv)
		}
		return s, nil
	case v.fromFile != "":
		b, err := os.ReadFile(under(code, v.fromFile))
		if err != nil {
			return "", err
		}
		s := strings.TrimSuffix(string(b), "\n") // as docker and kubernetes secrets are written by hand
		if strings.IndexByte(s, 0) >= 0 {
			return "", fmt.Errorf("%s holds a zero byte, which no environment can", v.fromFile)
		}
		return s, nil
	}
	return v.text, nil
}

// variables resolves env, sorted by name. A reference that leads nowhere is permanent: the run as asked for cannot start.
func (j *Job) variables(code string) ([]string, error) {
	list := make([]string, 0, len(j.Env))
	for _, name := range slices.Sorted(maps.Keys(j.Env)) {
		s, err := j.Env[name].resolve(code)
		if err != nil {
			return nil, runners.Permanent(schemas.ReasonStartFailed, fmt.Errorf("resolve env %s: %w", name, err))
		}
		list = append(list, name+"="+s)
	}
	return list, nil
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
