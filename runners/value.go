package runners

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

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

// Value is a value that may be secret: text, or where to find it when the job starts. It never shows what it holds.
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

// Reference tells whether the value is to be found elsewhere, so that nothing secret is written here.
func (v Value) Reference() bool { return v.fromEnv != "" || v.fromFile != "" }

// Resolve finds the value; a relative file is taken from dir. Errors name the reference, never the value.
func (v Value) Resolve(dir string) (string, error) {
	switch {
	case v.fromEnv != "":
		s, ok := os.LookupEnv(v.fromEnv)
		if !ok {
			return "", fmt.Errorf("the worker's environment has no %s", v.fromEnv)
		}
		return s, nil
	case v.fromFile != "":
		path := v.fromFile
		if !filepath.IsAbs(path) && dir != "" {
			path = filepath.Join(dir, path)
		}
		b, err := os.ReadFile(path)
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

// clip keeps text from outside from filling an error.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
