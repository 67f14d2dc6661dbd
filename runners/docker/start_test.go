package docker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

func TestStart_saysWhyAContainerDoesNotStart(t *testing.T) {
	shared.Up(t)
	r := open(t, t.TempDir())
	defer r.Close()
	for _, tt := range []struct {
		name string
		more map[string]any
		want string
	}{ // the engine says of each but the user that the request is wrong
		{"no program", map[string]any{"command": []string{"/no/such/program"}}, "/no/such/program"},
		{"no executable", map[string]any{"command": []string{"/etc/passwd"}}, "permission denied"},
		{"no mount", map[string]any{"volumes": []string{"/no/such/folder:/x"}}, "/no/such/folder"},
		{"no user", map[string]any{"user": "nobody-of-that-name"}, "nobody-of-that-name"},
		{"no network", map[string]any{"networks": []string{"no-such-network"}}, "no-such-network"},
		{"no second network", map[string]any{"networks": []string{"bridge", "no-such-network"}}, "no-such-network"},
		{"no container's network", map[string]any{"network_mode": "container:no-such-container"}, "No such container: no-such-container"},
		{"more CPUs than there are", map[string]any{"cpu": 1 << 20}, "CPUs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.Start(patient(t), spec("run.1", shell(t, "true", tt.more), nil))
			_, permanent := runners.IsPermanent(err)
			if reason := runners.ReasonOf(err, ""); permanent != (tt.name != "no user") || reason != schemas.ReasonStartFailed || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v (reason %q, permanent %v), want start_failed with %q in it", err, reason, permanent, tt.want)
			}
			if left := names(t, r); len(left) > 0 {
				t.Errorf("containers are left: %q", left)
			}
		})
	}
}

// A cancel while the image comes ends the start, and nothing is left of it.
func TestStart_isCancelledDuringThePull(t *testing.T) {
	shared.Up(t)
	host := newRegistry(t)
	t.Setenv("ROBOT_PASSWORD", "s3cret")
	r := open(t, t.TempDir())
	defer r.Close()
	ctx, cancel := context.WithCancelCause(patient(t))
	why := errors.New("somebody asked for it")
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	_, err := r.Start(ctx, spec("run.1", shell(t, "true", map[string]any{
		"image": host + "/slow/tool:1", "registry_credentials": map[string]any{"username": "robot", "password": map[string]any{"from_env": "ROBOT_PASSWORD"}},
	}), nil))
	if _, permanent := runners.IsPermanent(err); permanent || !errors.Is(err, why) {
		t.Errorf("start = %v, want the cancel's cause", err)
	}
	if left := names(t, r); len(left) > 0 {
		t.Errorf("containers are left: %q", left)
	}
}

const flow = `
import os, sys
from prefect import flow
import beside

@flow
def main(n=1, pad=""):
    print("pid", os.getpid(), "pad", len(pad))
    try:
        open(beside.__file__, "a")
    except OSError as err:
        print("read-only", err.errno == 30)
    return {"n": n + beside.ONE}

def forever():
    import time
    print("ready")
    try:
        time.sleep(600)
    finally:
        print("cleaned up")
`

// python starts an entrypoint with the project's folder at code.
func python(t *testing.T, r *runner, name, entrypoint, code, parameters string, more map[string]any) (runners.Execution, *runnertest.Recorder) {
	t.Helper()
	job := map[string]any{"image": "weir-test/python:1"}
	for k, v := range more {
		job[k] = v
	}
	raw, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	out := runnertest.NewRecorder()
	s := spec(name, raw, out)
	s.Entrypoint, s.Code, s.Parameters = entrypoint, code, json.RawMessage(parameters)
	e, err := r.Start(patient(t), s)
	if err != nil {
		t.Fatal(err)
	}
	return e, out
}

func TestStart_runsAnEntrypoint(t *testing.T) {
	shared.Up(t)
	r := open(t, t.TempDir())
	defer r.Close()
	code := t.TempDir()
	for name, text := range map[string]string{"flows/main.py": flow, "flows/beside.py": "ONE = 1\n"} {
		path := filepath.Join(code, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for d := code; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // for the user of the job
			t.Fatal(err)
		}
	}
	large, err := json.Marshal(map[string]any{"n": 2, "pad": strings.Repeat("x", 300_000)})
	if err != nil {
		t.Fatal(err)
	}
	inImage := map[string]any{"volumes": []string{code + "/flows:/app:ro"}} // as good as being in it
	for _, tt := range []struct {
		name, entrypoint, code, parameters string
		more                               map[string]any
		value                              string
	}{
		{"project", "flows/main.py:main", code, `{"n": 4}`, nil, `{"n": 5}`},
		{"user", "flows/main.py:main", code, `{}`, map[string]any{"user": "65534:65534"}, `{"n": 2}`},
		{"large", "flows/main.py:main", code, string(large), nil, `{"n": 3}`},
		{"absolute", "/app/main.py:main", "", `{}`, inImage, `{"n": 2}`},
		{"workdir", "main.py:main", code, `{}`, map[string]any{"volumes": inImage["volumes"], "working_dir": "/app"}, `{"n": 2}`},
	} {
		e, out := python(t, r, tt.name+".1", tt.entrypoint, tt.code, tt.parameters, tt.more)
		res, err := waitFor(t, e)
		if err != nil || res.ExitCode != 0 || string(res.Value) != tt.value {
			t.Errorf("%s: got exit code %d, value %s, %v, want %s\n%q", tt.name, res.ExitCode, res.Value, err, tt.value, out.Lines(""))
		}
		if got := out.Lines(runners.Stdout); len(got) != 2 || got[1] != "read-only True" && tt.name != "user" {
			t.Errorf("%s: got output %q", tt.name, got)
		}
	}
}

// The kernel keeps SIGTERM from a container's first process that does not ask for it: the launcher does.
func TestStop_endsAnEntrypointPolitely(t *testing.T) {
	shared.Up(t)
	r := open(t, t.TempDir())
	defer r.Close()
	code := t.TempDir()
	for name, text := range map[string]string{"main.py": flow, "beside.py": "ONE = 1\n"} {
		if err := os.WriteFile(filepath.Join(code, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	e, out := python(t, r, "run.1", "main.py:forever", code, "{}", nil)
	out.Await(t, 1)
	if err := e.Stop(patient(t), runnertest.Patience); err != nil {
		t.Fatal(err)
	}
	res, err := waitFor(t, e)
	if got := out.Lines(runners.Stdout); err != nil || res.ExitCode != 143 || len(got) != 2 || got[1] != "cleaned up" {
		t.Errorf("got exit code %d, %v, output %q, want 143 and its last words", res.ExitCode, err, got)
	}
}
