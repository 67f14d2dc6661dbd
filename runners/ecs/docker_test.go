package ecs

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"strconv"
	"testing"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/runners/runnertest"
)

// shared is the engine of all tests whose tasks are containers.
var shared = dockertest.New("ecs")

// onDocker makes an account whose tasks are containers, which see the folder binds. The environment leads there.
func onDocker(t *testing.T, binds ...string) *ecstest.Endpoint {
	t.Helper()
	shared.Up(t)
	host := ecstest.Docker{Host: shared.Host()}
	for _, folder := range binds {
		host.Binds = append(host.Binds, folder+":"+folder)
	}
	e := ecstest.Open(t, host)
	e.AddLogGroup("/weir/pool")
	e.Setenv(t)
	return e
}

// openIn opens a runner of a system of its own, as a worker does that starts in dir.
func openIn(t testing.TB, dir string) *runner {
	t.Helper()
	hash := fnv.New32()
	hash.Write([]byte(dir))
	r, err := newRunner(context.Background(), runners.Config{
		System: strconv.FormatUint(uint64(hash.Sum32()), 16), Worker: "worker", Pool: "pool", Dir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// shellJob is the job configuration of a shell script in a container of the engine.
func shellJob(t testing.TB, script string, more map[string]any) json.RawMessage {
	t.Helper()
	job := map[string]any{"image": dockertest.Busybox, "command": []string{"sh", "-c", script}, "init": true, "stop_timeout": 2}
	for name, value := range more {
		job[name] = value
	}
	return jobWith(t, job)
}

// The whole suite, with real processes. What Fargate and CloudWatch Logs do not have is declared: stderr apart from stdout, bytes that
// are no text, a signal and a time of one's own to stop by, a file that can be read after the end.
func TestConform(t *testing.T) {
	shared.Up(t)
	t.Setenv("NATS_URL", "nats://secret@127.0.0.1") // must not reach a job
	tmp := t.TempDir()                              // where the suite's pipes are, which its scripts see
	t.Setenv("TMPDIR", tmp)
	onDocker(t, tmp)
	runnertest.Conform(t, runnertest.Harness{
		New: func(t testing.TB, dir string) runners.Runner { return openIn(t, dir) },
		Shell: func(script string, env map[string]string) json.RawMessage {
			return shellJob(t, script, map[string]any{"env": env})
		},
		Bad:        shellJob(t, "", map[string]any{"command": []string{"/no/such/program"}, "init": false}),
		Abandon:    func(_ testing.TB, r runners.Runner) { _ = r.Close() },
		Running:    dockertest.Running,
		OneStream:  true,
		Text:       true,
		Provisions: true,
		Remembers:  true,
	})
}
