package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"testing"

	"github.com/moby/moby/client"
	"go.uber.org/goleak"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/runners/runnertest"
)

// The engine that all tests share which do not break theirs.
var shared = dockertest.New("docker")

func TestMain(m *testing.M) {
	code := m.Run()
	if err := shared.Down(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// open opens a runner of a system of its own on the shared engine, as a worker does that starts in dir.
func open(t testing.TB, dir string) *runner {
	t.Helper()
	return openOn(t, dir, shared.Host())
}

// systemOf is the system of a worker that starts in dir.
func systemOf(dir string) string {
	hash := fnv.New32()
	hash.Write([]byte(dir))
	return fmt.Sprintf("%08x", hash.Sum32())
}

// openOn opens one on the engine at host.
func openOn(t testing.TB, dir, host string) *runner {
	t.Helper()
	return openTuned(t, dir, host, func(*engine) {})
}

// openTuned opens one whose engine is as tune makes it.
func openTuned(t testing.TB, dir, host string, tune func(*engine)) *runner {
	t.Helper()
	e, err := dial([]client.Opt{client.WithHost(host)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tune(e)
	r, err := newRunner(context.Background(), e, runners.Config{
		System: systemOf(dir), Worker: "w", Pool: "p", Dir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const busybox = dockertest.Busybox

// shell is the job configuration of a shell script; more are further settings.
func shell(t testing.TB, script string, more map[string]any) json.RawMessage {
	t.Helper()
	job := map[string]any{"image": busybox, "command": []string{"/bin/sh", "-c", script}}
	for name, value := range more {
		job[name] = value
	}
	b, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func spec(name string, job json.RawMessage, out runners.Output) runners.Spec {
	if out == nil {
		out = runnertest.NewRecorder()
	}
	return runners.Spec{
		Name: name, Run: "run", Attempt: 1, Pool: "p", Queue: "default", Deployment: "d", Worker: "w",
		Parameters: json.RawMessage("{}"), Job: job, Output: out,
	}
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), runnertest.Patience)
	t.Cleanup(cancel)
	return ctx
}
