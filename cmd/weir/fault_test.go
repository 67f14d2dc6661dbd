package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// ledger is a project whose job writes a line when it starts and one when it ends, after a while.
func ledger(t *testing.T, while string) (dir, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "ledger")
	project := fmt.Sprintf(`pools:
  - name: dev
    type: process
    ack_wait: 3s
deployments:
  - name: job
    command: ["sh", "-c", "echo start $WEIR_RUN_ID $WEIR_ATTEMPT >> %[1]s; sleep %[2]s; echo end $WEIR_RUN_ID $WEIR_ATTEMPT >> %[1]s"]
    work_pool:
      name: dev
`, file, while)
	return writeFiles(t, map[string]string{"weir.yaml": project}), file
}

// entries counts the lines of a ledger.
func entries(t *testing.T, file string) map[string]int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		lines[line]++
	}
	return lines
}

func serverOn(t *testing.T, dir, address string) *program {
	t.Helper()
	s := start(t, dir, "server", "start", "--data", filepath.Join(dir, "data"), "--nats-listen", address, "--http-listen", "off")
	s.await(t, "server is ready")
	return s
}

func startWorkerOn(t *testing.T, url, name string, args ...string) *program {
	t.Helper()
	w := start(t, t.TempDir(), append([]string{"--server", url, "worker", "start", "--pool", "dev", "--name", name, "--state-dir", t.TempDir()}, args...)...)
	w.await(t, "Ready.")
	return w
}

func mustRun(t *testing.T, dir string, args ...string) {
	t.Helper()
	if p := start(t, dir, args...); p.exit(t) != 0 {
		t.Fatalf("weir %s: exit code %d:\n%s", strings.Join(args, " "), p.cmd.ProcessState.ExitCode(), p.output())
	}
}

func TestFault_killedServerLosesNoRunAndStartsNoneTwice(t *testing.T) {
	t.Parallel()
	dir, file := ledger(t, "0.05")
	address := freeAddress(t)
	url := "nats://" + address
	server := serverOn(t, dir, address)
	mustRun(t, dir, "--server", url, "deploy")
	workers := []*program{startWorkerOn(t, url, "a", "--limit", "4"), startWorkerOn(t, url, "b", "--limit", "4")}
	defer func() {
		for _, w := range workers {
			if t.Failed() {
				t.Log(w.output())
			}
		}
	}()

	conn, err := streams.Connect(t.Context(), streams.Config{Server: url})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const n = 200
	for range n {
		if _, err := conn.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "job"}); err != nil {
			t.Fatal(err)
		}
	}
	final := func(i int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		run, state := fmt.Sprintf("dev-%d", i), schemas.Scheduled
		err := conn.WatchRun(ctx, run, func(e streams.Recorded) error { state = e.State; return nil })
		if err != nil || state != schemas.Completed {
			t.Fatalf("run %s: got state %s, %v, want completed", run, state, err)
		}
	}
	final(n / 5) // in full flight
	server.signal(t, syscall.SIGKILL)
	<-server.ended
	serverOn(t, dir, address)
	for i := range n {
		final(i + 1)
	}
	got := entries(t, file)
	for i := range n {
		run := fmt.Sprintf("dev-%d", i+1)
		if got["start "+run+" 1"] != 1 || got["end "+run+" 1"] != 1 || got["start "+run+" 2"] != 0 {
			t.Errorf("run %s: started %d times, ended %d times, and %d second attempts, want one start and one end", run,
				got["start "+run+" 1"], got["end "+run+" 1"], got["start "+run+" 2"])
		}
	}
}

func TestFault_killedWorkersRunGoesOnWithAnother(t *testing.T) {
	t.Parallel()
	dir, file := ledger(t, "4")
	address := freeAddress(t)
	url := "nats://" + address
	serverOn(t, dir, address)
	mustRun(t, dir, "--server", url, "deploy")
	a := startWorkerOn(t, url, "a")
	first := start(t, dir, "--server", url, "deployment", "run", "job", "--watch")
	first.await(t, "Running")
	a.signal(t, syscall.SIGKILL)
	<-a.ended
	startWorkerOn(t, url, "b")
	watch := start(t, dir, "--server", url, "flow-run", "watch", "dev-1")
	if code := watch.exit(t); code != 0 {
		t.Fatalf("watch: exit code %d:\n%s", code, watch.output())
	}
	// The first attempt's job was killed with its lease: it never reached its end.
	got := entries(t, file)
	if got["start dev-1 1"] != 1 || got["end dev-1 1"] != 0 || got["start dev-1 2"] != 1 || got["end dev-1 2"] != 1 {
		t.Errorf("ledger: got %v, want a first start without an end and a second with one", got)
	}
	if !strings.Contains(watch.output(), "worker_lost") {
		t.Errorf("watch does not say that the worker was lost:\n%s", watch.output())
	}
}

func TestFault_followedLogGoesOnAfterTheServersRestart(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"weir.yaml": `deployments:
  - name: job
    command: ["sh", "-c", "echo before; until test -e go-on; do sleep 0.1; done; echo after"]
    work_pool: {name: dev}
pools:
  - {name: dev, type: process}
`})
	address := freeAddress(t)
	url := "nats://" + address
	server := serverOn(t, dir, address)
	mustRun(t, dir, "--server", url, "deploy")
	start(t, dir, "--server", url, "worker", "start", "--pool", "dev", "--state-dir", t.TempDir()).await(t, "Ready.")
	mustRun(t, dir, "--server", url, "deployment", "run", "job")
	conn := connectTo(t, url)
	started(t, conn, "dev-1")
	follow := start(t, dir, "--server", url, "flow-run", "logs", "-f", "dev-1")
	follow.await(t, "before")
	server.signal(t, syscall.SIGKILL)
	<-server.ended
	serverOn(t, dir, address)
	if err := os.WriteFile(filepath.Join(dir, "go-on"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := follow.exit(t); code != exitOK || follow.output() != "before\nafter\n" {
		t.Errorf("followed log: exit code %d, got %q, want both lines", code, follow.output())
	}
}

// started waits until the run is recorded as running.
func started(t *testing.T, conn *streams.Conn, run string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen := errors.New("seen")
	err := conn.WatchRun(ctx, run, func(e streams.Recorded) error {
		if e.State == schemas.Running {
			return seen
		}
		return nil
	})
	if !errors.Is(err, seen) {
		t.Fatalf("run %s did not start: %v", run, err)
	}
}
