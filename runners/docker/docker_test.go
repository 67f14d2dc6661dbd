package docker

import (
	"encoding/json"
	"testing"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/runners/runnertest"
)

func TestConform(t *testing.T) {
	shared.Up(t)
	t.Setenv("NATS_URL", "nats://secret@127.0.0.1") // must not reach a job
	tmp := t.TempDir()                              // where the suite's pipes are, which its scripts see
	t.Setenv("TMPDIR", tmp)
	runnertest.Conform(t, runnertest.Harness{
		New: func(t testing.TB, dir string) runners.Runner { return open(t, dir) },
		Shell: func(script string, env map[string]string) json.RawMessage {
			return shell(t, script, map[string]any{"env": env, "init": true, "volumes": []string{tmp + ":" + tmp}})
		},
		Bad:        json.RawMessage(`{"image": "weir-test/busybox:1", "command": ["/no/such/program"]}`),
		Abandon:    func(t testing.TB, r runners.Runner) { _ = r.(*runner).abandon() },
		Running:    dockertest.Running,
		ResultFile: true,
	})
}
