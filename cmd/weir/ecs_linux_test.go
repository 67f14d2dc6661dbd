package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/schemas"
)

// A fargate is an AWS account whose tasks are containers of a Docker engine, and a project that has its jobs there.
type fargate struct {
	*ecstest.Endpoint
	engine *dockertest.Engine
	dir    string // the project's, which the containers see
}

// onFargate makes the account. What is started from here on uses it.
func onFargate(t *testing.T, engine *dockertest.Engine, ackWait int, script string) *fargate {
	t.Helper()
	dir := writeFiles(t, map[string]string{"job.sh": script})
	project := fmt.Sprintf(`pools:
  - {name: dev, type: ecs, ack_wait: %ds}
deployments:
  - name: job
    command: ["sh", "job.sh"]
    work_pool:
      name: dev
      job_variables:
        image: weir-test/busybox:1
        working_dir: %s
        execution_role_arn: arn:aws:iam::123456789012:role/execution
        configure_cloudwatch_logs: true
        network_configuration: {subnets: [subnet-a]}
        stop_timeout: 5
`, ackWait, dir)
	if err := os.WriteFile(filepath.Join(dir, "weir.yaml"), []byte(project), 0o600); err != nil {
		t.Fatal(err)
	}
	e := ecstest.Open(t, ecstest.Docker{Host: engine.Host(), Binds: []string{dir + ":" + dir}})
	e.Setenv(t)
	return &fargate{e, engine, dir}
}

// one fails the test when there is not one task, or none of its containers runs when it should.
func (f *fargate) one(t *testing.T) ecstest.Task {
	t.Helper()
	tasks := f.Tasks()
	if len(tasks) != 1 {
		t.Fatalf("got %d tasks, want 1: %+v", len(tasks), tasks)
	}
	return tasks[0]
}

// Real workers, a real server, real containers.
func TestEcs_tasksOutliveTheirWorkers(t *testing.T) {
	engine := dockertest.Own(t, "ecs", "")
	t.Run("a run from its request to its end", func(t *testing.T) {
		f := onFargate(t, engine, 10, "echo last words; exit 3")
		url, conn := onServer(t, f.dir)
		workerIn(t, f.dir, url, "a")
		run := submit(t, conn)
		if diff := cmp.Diff([]string{"pending 1  a", "pending 1  a", "running 1  a", "failed 1 exit_code a"}, life(t, conn, run)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if got := f.one(t); got.Status != "STOPPED" || got.StopCode != "EssentialContainerExited" {
			t.Errorf("the task is %s, %s", got.Status, got.StopCode)
		}
		if logs := weir(t, "--server", url, "flow-run", "logs", run).ok(t); logs != "last words\n" {
			t.Errorf("logs: %q", logs)
		}
	})
	t.Run("killed between RunTask and its event", func(t *testing.T) {
		f := onFargate(t, engine, shortest, "echo begun; until test -e enough; do sleep 0.1; done; echo ended; exit 3")
		url, conn := onServer(t, f.dir)
		first := workerIn(t, f.dir, url, "first")
		var once sync.Once
		dead := make(chan struct{})
		f.Tune(func(k *ecstest.Knobs) {
			k.After = func(c ecstest.Call) {
				if c.Action == "ecs:RunTask" { // the task is made, and the answer is not on its way yet
					once.Do(func() {
						first.signal(t, syscall.SIGKILL)
						<-first.ended
						close(dead)
					})
				}
			}
		})
		run := submit(t, conn)
		<-dead
		task := f.one(t)
		workerIn(t, f.dir, url, "second")
		held := reached(t, conn, run, func(e schemas.RunEvent) bool { return e.Worker == "second" && e.Execution != "" })
		if held.Attempt != 1 || held.Execution != task.ARN {
			t.Errorf("the second worker holds %s, attempt %d, want %s, attempt 1", held.Execution, held.Attempt, task.ARN)
		}
		if err := os.WriteFile(filepath.Join(f.dir, "enough"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		events := life(t, conn, run)
		if events[len(events)-1] != "failed 1 exit_code second" {
			t.Errorf("got events %q, want the task's own end told by the second worker", events)
		}
		f.one(t)
		if logs := weir(t, "--server", url, "flow-run", "logs", run).ok(t); logs != "begun\nended\n" {
			t.Errorf("logs: %q", logs)
		}
	})
	t.Run("killed again and again", func(t *testing.T) {
		f := onFargate(t, engine, 10, chatter)
		killedAgainAndAgain(t, f.dir, 5, func() { f.one(t) })
	})
	t.Run("cancelled means that nothing runs", func(t *testing.T) {
		f := onFargate(t, engine, 10, "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
		url, conn := onServer(t, f.dir)
		workerIn(t, f.dir, url, "a")
		run := submit(t, conn)
		reached(t, conn, run, inState(schemas.Running, 1))
		follow := start(t, f.dir, "--server", url, "flow-run", "logs", "-f", run)
		follow.await(t, "ready\n")
		mustRun(t, f.dir, "--server", url, "flow-run", "cancel", run)
		reached(t, conn, run, inState(schemas.Cancelled, 1))
		if now := f.engine.Docker(t, "ps", "-q"); now != "" {
			t.Errorf("%q run, and the run is cancelled", now)
		}
		if got := f.one(t); got.Status != "STOPPED" || got.StopCode != "UserInitiated" {
			t.Errorf("the task is %s, %s", got.Status, got.StopCode)
		}
		follow.await(t, "asked\n")
	})
}
