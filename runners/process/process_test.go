package process

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
)

func TestConform(t *testing.T) {
	t.Setenv("NATS_URL", "nats://secret@127.0.0.1") // must not reach a job
	runnertest.Conform(t, runnertest.Harness{
		New: func(t testing.TB, dir string) runners.Runner { return open(t, dir, "") },
		Shell: func(script string, env map[string]string) json.RawMessage {
			b, err := json.Marshal(map[string]any{"command": []string{"/bin/sh", "-c", script}, "env": env})
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Bad:     json.RawMessage(`{"command": ["/no/such/program"]}`),
		Abandon: func(t testing.TB, r runners.Runner) { abandon(r) },
		Running: func(t testing.TB, word string) bool { return len(running(t, word)) > 0 },
		Leases:  true, ResultFile: true,
	})
}

// abandon is the death of a worker, as the supervisor sees it.
func abandon(r runners.Runner) {
	k := r.(*runner).link.Load()
	k.mu.Lock()
	k.ended = errClosed // without a goodbye
	close(k.closed)
	k.mu.Unlock()
	k.leave()
	k.conn.Close()
	k.wg.Wait()
}

// running returns the processes that have word in their command line, zombies not counted.
func running(t testing.TB, word string) (pids []int) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(b, []byte(word)) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		pids = append(pids, pid)
	}
	return pids
}

func spec(name, job string, out runners.Output) runners.Spec {
	return runners.Spec{
		Name: name, Run: "run", Attempt: 1, Pool: "p", Queue: "default", Deployment: "d", Worker: "w",
		Parameters: json.RawMessage("{}"), Job: json.RawMessage(job), Output: out,
	}
}

// run starts a job and waits for its end.
func run(t testing.TB, r runners.Runner, s runners.Spec) runners.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runnertest.Patience)
	defer cancel()
	e, err := r.Start(ctx, s)
	if err != nil {
		t.Fatalf("start %s: %v", s.Name, err)
	}
	res, err := e.Wait(ctx)
	if err != nil {
		t.Fatalf("wait for %s: %v", s.Name, err)
	}
	return res
}
