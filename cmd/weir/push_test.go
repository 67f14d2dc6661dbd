package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// pushProject has a push pool and a process pool.
const pushProject = `pools:
  - {name: production, type: "ecs:push"}
  - {name: development, type: process}
deployments:
  - name: etl
    command: [sleep, "600"]
    work_pool: {name: production, job_variables: {image: "busybox:1"}}
  - name: hello
    command: echo Hello
    work_pool: {name: development}
`

// startIn starts the real binary with more in its environment.
func startIn(t *testing.T, dir string, env map[string]string, args ...string) *program {
	t.Helper()
	var all []string
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	c := exec.Command("env", append(append(all, weirBinary), args...)...)
	return startProgram(t, dir, c.Path, c.Args[1:]...)
}

// Two servers share a push pool on ECS, and nothing else runs. The one that holds a run is killed: the other holds it within half a minute.
// It is stopped: the first, started again, holds it at once. There is one task and one attempt.
func TestPush_twoServersShareAPoolAndHoldEachOthersRuns(t *testing.T) {
	t.Parallel()
	url, cloud := newNATS(t), ecstest.Open(t, ecstest.Paper(nil))
	conn := connectTo(t, url)
	dir, state := writeFiles(t, map[string]string{"weir.yaml": pushProject}), t.TempDir()
	serve := func(n int) *program {
		env := cloud.Environ()
		env["XDG_STATE_HOME"] = filepath.Join(state, fmt.Sprint(n)) // each is a machine of its own
		p := startIn(t, t.TempDir(), env, "--server", url, "server", "start", "--http-listen", "off")
		p.await(t, "executes the runs of a push pool")
		return p
	}
	if out := weir(t, "--server", url, "work-pool", "create", "production", "--type", "ecs:push").ok(t); !strings.Contains(out, "weir server start") || strings.Contains(out, "worker start") {
		t.Errorf("got %q, want it said who executes the pool's runs", out)
	}
	if p, err := conn.Pool(t.Context(), "production"); err != nil || p.Lease() != 24*time.Second {
		t.Errorf("got ack wait %s, %v, want 24s, of which another server's hold within 30s follows", p.Lease(), err)
	}
	if got := weir(t, "--server", url, "worker", "start", "--pool", "production", "--state-dir", t.TempDir()); got.code != exitRefused || !strings.Contains(got.stderr, "weir server start") {
		t.Errorf("worker start: exit code %d, %s, want it refused with what to do", got.code, got.stderr)
	}
	if out := weir(t, "--server", url, "work-pool", "inspect", "production").ok(t); !strings.Contains(out, "a server that runs is the worker") {
		t.Errorf("inspect: got %q", out)
	}
	weir(t, "--server", url, "deploy", "-f", filepath.Join(dir, "weir.yaml")).ok(t)
	if out := weir(t, "--server", url, "deployment", "run", "etl").ok(t); !strings.Contains(out, "production-1") {
		t.Fatalf("got %q", out)
	}
	const run = "production-1"

	servers := map[string]*program{}
	first := serve(1)
	holder := reached(t, conn, run, inState(schemas.Running, 1)).Worker
	servers[holder] = first
	second := serve(2)
	var other string
	for _, w := range workersOf(t, conn, "production") {
		if w.Name != holder {
			other = w.Name
		}
	}
	if other != holder+"-2" {
		t.Errorf("got workers %s and %s, want the second one's name to follow the first's", holder, other)
	}

	first.signal(t, syscall.SIGKILL)
	<-first.ended
	killed := time.Now()
	reached(t, conn, run, func(e schemas.RunEvent) bool { return e.Worker == other })
	took := time.Since(killed)
	t.Logf("the other server held the run %s after the kill", took.Round(time.Millisecond))
	if took > 30*time.Second {
		t.Errorf("the other server held the run after %s, want 30s at most", took)
	}

	third := serve(1)
	stopped := time.Now()
	second.signal(t, syscall.SIGTERM)
	if code := second.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, second.output())
	}
	ended := time.Now()
	held := func(e schemas.RunEvent) bool { return e.Worker == holder && e.Time.After(stopped) }
	reached(t, conn, run, held)
	t.Logf("the stopped server ended after %s, and its run was held %s later", ended.Sub(stopped).Round(time.Millisecond), time.Since(ended).Round(time.Millisecond))
	if took := time.Since(stopped); took > 10*time.Second {
		t.Errorf("the run was held %s after the server was stopped, want it at once", took)
	}

	tasks := cloud.Tasks()
	if len(tasks) != 1 || cloud.Calls("ecs:RunTask") != 1 || cloud.Calls("ecs:StopTask") != 0 {
		t.Fatalf("got %d tasks, %d calls of RunTask, %d of StopTask, want 1, 1 and 0", len(tasks), cloud.Calls("ecs:RunTask"), cloud.Calls("ecs:StopTask"))
	}
	cloud.Exit(tasks[0].ARN, 0)
	last := reached(t, conn, run, func(e schemas.RunEvent) bool { return e.State.Final() })
	if last.State != schemas.Completed || last.Attempt != 1 || last.Crashes+last.Excused != 0 || last.Worker != holder {
		t.Errorf("got %s in attempt %d by %s, %d crashes, want completed in attempt 1", last.State, last.Attempt, last.Worker, last.Crashes)
	}
	third.signal(t, syscall.SIGTERM)
	if code := third.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, third.output())
	}
}

// workersOf are a pool's workers that are there.
func workersOf(t *testing.T, conn *streams.Conn, pool string) []schemas.Worker {
	t.Helper()
	workers, err := conn.Workers(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return workers
}

// Without AWS weir up is up at once, and does what it can without. What is missing is said once.
func TestPush_upNeedsNoAWS(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"weir.yaml": pushProject})
	env := map[string]string{"XDG_STATE_HOME": t.TempDir(), "HOME": t.TempDir(), "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "", "AWS_EC2_METADATA_DISABLED": "true"}
	began := time.Now()
	p := startIn(t, dir, env, "up", "--nats-listen", "127.0.0.1:0", "--http-listen", "off", "--run", "hello")
	p.await(t, "Weir is up.")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("that took %s", took)
	}
	p.await(t, "Completed")
	p.await(t, "runs of a push pool are not executed")
	p.await(t, "Ctrl-C stops it.")
	if !strings.Contains(p.output(), "AWS_REGION") || strings.Contains(p.output(), "worker start --pool production") {
		t.Errorf("got\n%s\nwant it said what is missing, and no worker asked for", p.output())
	}
	select {
	case <-p.ended:
		t.Fatalf("it ended:\n%s", p.output())
	case <-time.After(4 * time.Second): // it has tried again by now
	}
	if n := strings.Count(p.output(), "runs of a push pool are not executed"); n != 1 {
		t.Errorf("it was said %d times, want once:\n%s", n, p.output())
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, p.output())
	}
}

// weir up executes the runs of push pools too, also of one that is created while it runs, and lets them go when it is stopped.
func TestPush_upExecutesPushPools(t *testing.T) {
	t.Parallel()
	cloud := ecstest.Open(t, ecstest.Paper(nil))
	dir := t.TempDir()
	address := freeAddress(t)
	url := "nats://" + address
	env := cloud.Environ()
	env["XDG_STATE_HOME"] = t.TempDir()
	up := func() *program {
		p := startIn(t, dir, env, "up", "--nats-listen", address, "--http-listen", "off")
		p.await(t, "Ctrl-C stops it.")
		return p
	}
	p := up()
	file := writeFiles(t, map[string]string{"weir.yaml": pushProject})
	weir(t, "--server", url, "deploy", "-f", filepath.Join(file, "weir.yaml")).ok(t)
	p.await(t, "executes the runs of a push pool")
	weir(t, "--server", url, "deployment", "run", "etl").ok(t)
	reached(t, connectTo(t, url), "production-1", inState(schemas.Running, 1))
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, p.output())
	}
	if n := cloud.Calls("ecs:StopTask"); n != 0 {
		t.Errorf("%d tasks were stopped with it, want none", n)
	}
	p = up()
	tasks := cloud.Tasks()
	if len(tasks) != 1 {
		t.Fatalf("got %d tasks, want one", len(tasks))
	}
	cloud.Exit(tasks[0].ARN, 3)
	if e := reached(t, connectTo(t, url), "production-1", func(e schemas.RunEvent) bool { return e.State.Final() }); e.Attempt != 1 || e.ExitCode == nil || *e.ExitCode != 3 {
		t.Errorf("got %s in attempt %d, exit code %v, want 3 in attempt 1", e.State, e.Attempt, e.ExitCode)
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t)
}
