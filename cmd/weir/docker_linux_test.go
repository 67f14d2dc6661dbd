package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/schemas"
)

// onEngine starts a Docker engine for the test, where WEIR_TEST asks for docker. What is started from here on uses it.
func onEngine(t *testing.T) {
	t.Helper()
	engine := dockertest.Own(t, "docker", "")
	t.Setenv("DOCKER_HOST", engine.Host())
}

// containers returns the names of all containers there are, or of those that run.
func containers(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("docker", append([]string{"ps", "--format", "{{.Names}}"}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// contained is [scripted] with the job in a container, which has the project's folder as its working directory.
func contained(t *testing.T, ackWait int, script string) (dir string) {
	t.Helper()
	dir = writeFiles(t, map[string]string{"job.sh": script})
	project := fmt.Sprintf(`pools:
  - {name: dev, type: docker, ack_wait: %ds}
deployments:
  - name: job
    command: ["sh", "job.sh"]
    work_pool: {name: dev, job_variables: {image: "weir-test/busybox:1", working_dir: /job, volumes: ["%s:/job"]}}
`, ackWait, dir)
	if err := os.WriteFile(filepath.Join(dir, "weir.yaml"), []byte(project), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// gone waits until no container is left: they are removed after the run's end is recorded.
func gone(t *testing.T) {
	t.Helper()
	for limit := time.Now().Add(patience); len(containers(t, "-a")) > 0; time.Sleep(20 * time.Millisecond) { // an engine's list tells nobody that it changes
		if time.Now().After(limit) {
			t.Fatalf("containers are left: %q", containers(t, "-a"))
		}
	}
}

func TestDocker_workerThatIsKilledAgainAndAgainKeepsItsContainerAndEveryLine(t *testing.T) {
	onEngine(t)
	killedAgainAndAgain(t, contained(t, 10, chatter), 20, func() {
		if now := containers(t, "-a"); len(now) != 1 {
			t.Fatalf("containers: got %q, want one", now)
		}
	})
	gone(t)
}

// Workers of one engine take each other's containers over, whether the first is dead or stands still.
func TestDocker_anotherWorkerGoesOnWithTheContainer(t *testing.T) {
	onEngine(t)
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(s.String(), func(t *testing.T) {
			dir := contained(t, shortest, "echo begun; until test -e enough; do sleep 0.1; done; echo ended; exit 3")
			url, conn := onServer(t, dir)
			first := workerIn(t, dir, url, "first")
			run := submit(t, conn)
			reached(t, conn, run, inState(schemas.Running, 1))
			first.signal(t, s)
			second := workerIn(t, dir, url, "second")
			reached(t, conn, run, func(e schemas.RunEvent) bool { return e.Worker == "second" })
			if now := containers(t, "-a"); len(now) != 1 {
				t.Errorf("containers: got %q, want one", now)
			}
			if s == syscall.SIGSTOP {
				first.signal(t, syscall.SIGCONT)
			}
			if err := os.WriteFile(filepath.Join(dir, "enough"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"pending 1  first", "running 1  first", "running 1 held second", "failed 1 exit_code second"}, life(t, conn, run)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			logs := start(t, dir, "--server", url, "flow-run", "logs", run)
			if code := logs.exit(t); code != exitOK || logs.output() != "begun\nended\n" {
				t.Errorf("logs: exit code %d, %q", code, logs.output())
			}
			gone(t)
			_ = second
		})
	}
}

func TestDocker_cancelledMeansThatNothingRuns(t *testing.T) {
	onEngine(t)
	dir := contained(t, 10, "trap 'echo asked; sleep 1; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
	url, conn := onServer(t, dir)
	workerIn(t, dir, url, "a")
	run := submit(t, conn)
	reached(t, conn, run, inState(schemas.Running, 1))
	follow := start(t, dir, "--server", url, "flow-run", "logs", "-f", run)
	follow.await(t, "ready\n")
	mustRun(t, dir, "--server", url, "flow-run", "cancel", run)
	reached(t, conn, run, inState(schemas.Cancelled, 1))
	if now := containers(t); len(now) > 0 {
		t.Errorf("%q run, and the run is cancelled", now)
	}
	follow.await(t, "asked\n")
	gone(t)
}
