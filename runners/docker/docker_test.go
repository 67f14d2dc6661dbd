package docker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
)

func TestConform(t *testing.T) {
	shared.up(t)
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
		Running:    running,
		ResultFile: true,
	})
}

// running tells whether a process that has word in its command line is running, in a container or not.
func running(t testing.TB, word string) bool {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), word) {
			return true
		}
	}
	return false
}
