package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// shortest is the shortest ack wait that a pool may have, in seconds.
const shortest = 5

// scripted is a project whose deployment, job of pool dev, is a shell script that is run in the project's folder, which it
// returns. more is what else the deployment has, as lines of YAML.
func scripted(t *testing.T, ackWait int, script string, more ...string) (dir string) {
	t.Helper()
	project := fmt.Sprintf(`pools:
  - {name: dev, type: process, ack_wait: %ds}
deployments:
  - name: job
    command: ["sh", "job.sh"]
    work_pool: {name: dev}
`, ackWait)
	for _, line := range more {
		project += "    " + line + "\n"
	}
	return writeFiles(t, map[string]string{"weir.yaml": project, "job.sh": script})
}

// onServer starts a server in dir and deploys the project there.
func onServer(t *testing.T, dir string) (url string, conn *streams.Conn) {
	t.Helper()
	address := freeAddress(t)
	url = "nats://" + address
	serverOn(t, dir, address)
	mustRun(t, dir, "--server", url, "deploy")
	return url, connectTo(t, url)
}

// submit asks for a run of job.
func submit(t *testing.T, conn *streams.Conn) (run string) {
	t.Helper()
	r, err := conn.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "job"})
	if err != nil {
		t.Fatal(err)
	}
	return r.Run
}

// reached waits for the first event of a run that is wanted, and returns it.
func reached(t *testing.T, conn *streams.Conn, run string, wanted func(schemas.RunEvent) bool) (event schemas.RunEvent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	seen := errors.New("seen")
	for !errors.Is(err, seen) && ctx.Err() == nil { // a watch breaks where NATS does
		err = conn.WatchRun(ctx, run, func(e streams.Recorded) error {
			if event = e.RunEvent; wanted(event) {
				return seen
			}
			return nil
		})
		if err == nil {
			break // the run is final
		}
	}
	if !errors.Is(err, seen) {
		t.Fatalf("run %s: the event that is waited for did not come: %v; the last was %s, attempt %d, %s", run, err, event.State, event.Attempt, event.Message)
	}
	return event
}

// inState is for reached: the first event of an attempt that has the state.
func inState(state schemas.State, attempt int) func(schemas.RunEvent) bool {
	return func(e schemas.RunEvent) bool { return e.State == state && e.Attempt == attempt }
}

// life waits until a run is final and returns its events as "state attempt reason worker".
func life(t *testing.T, conn *streams.Conn, run string) (events []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := false
	err := conn.WatchRun(ctx, run, func(e streams.Recorded) error {
		events = append(events, fmt.Sprintf("%s %d %s %s", e.State, e.Attempt, e.Reason, e.Worker))
		ended = e.State.Final()
		return nil
	})
	if err != nil || !ended {
		t.Fatalf("run %s did not end: %v, %q", run, err, events)
	}
	return events
}

// stateDir is a worker's state folder that is the same at each of its starts.
func stateDir(dir, worker string) string { return filepath.Join(dir, "state-"+worker) }

// workerIn starts a worker of the project in dir that has its state folder there.
func workerIn(t *testing.T, dir, url, name string, args ...string) *program {
	t.Helper()
	return startWorkerOn(t, url, name, append([]string{"--state-dir", stateDir(dir, name)}, args...)...)
}
