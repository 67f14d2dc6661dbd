package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// program is a weir process, or the nats command, that a test started.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended and all its output is in
	mu    sync.Mutex
	out   bytes.Buffer // both outputs; under mu
	grown chan struct{}
}

// start starts the real binary in dir.
func start(t *testing.T, dir string, args ...string) *program {
	return startProgram(t, dir, weirBinary, args...)
}

func startProgram(t *testing.T, dir, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(name, args...), ended: make(chan struct{}), grown: make(chan struct{}, 1)}
	p.cmd.Dir = dir
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewReader(r); ; {
			line, err := lines.ReadString('\n')
			p.mu.Lock()
			p.out.WriteString(line)
			p.mu.Unlock()
			select {
			case p.grown <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the exit code is in ProcessState
		// A worker's supervisor may live on for a while and keep the pipe open.
		if err := r.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			r.Close()
		}
		<-read
	}()
	t.Cleanup(func() {
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGKILL} {
			_ = p.cmd.Process.Signal(s) // may have ended
			select {
			case <-p.ended:
			case <-time.After(10 * time.Second):
				continue
			}
			break
		}
		r.Close()
	})
	return p
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// await waits until the output has one of the texts.
func (p *program) await(t *testing.T, texts ...string) {
	t.Helper()
	limit := time.After(patience)
	has := func() bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(p.output(), text) })
	}
	for !has() {
		select {
		case <-p.grown:
		case <-p.ended:
			if has() {
				return
			}
			t.Fatalf("%s ended (%s) without %q:\n%s", p.cmd, p.cmd.ProcessState, texts, p.output())
		case <-limit:
			t.Fatalf("%s did not say %q:\n%s", p.cmd, texts, p.output())
		}
	}
}

// exit waits for the process to end and returns its exit code.
func (p *program) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s did not end:\n%s", p.cmd, p.output())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *program) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func writeFiles(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const pythonProject = `deployments:
  - name: my-flow
    entrypoint: flows/my_flow.py:my_flow
    work_pool:
      name: development
`

const pythonFlow = `
def my_flow(name: str = "you", times: int = 1):
    print("Hello", name)
    if name == "nobody":
        raise ValueError("nobody is there")
    return {"greeted": name, "times": times}
`

func pythonFiles() map[string]string {
	return map[string]string{"prefect.yaml": pythonProject, "flows/my_flow.py": pythonFlow}
}

// startUp starts weir up in dir and returns it with the URL of its NATS.
func startUp(t *testing.T, dir string, args ...string) (up *program, url string) {
	t.Helper()
	address := freeAddress(t)
	up = start(t, dir, append([]string{"up", "--data", filepath.Join(dir, "data"), "--nats-listen", address, "--http-listen", "127.0.0.1:0"}, args...)...)
	up.await(t, "Weir is up.")
	return up, "nats://" + address
}

func TestUp_runsAFlowOnce(t *testing.T) {
	t.Parallel()
	p := start(t, writeFiles(t, pythonFiles()), "up", "--nats-listen", "127.0.0.1:0", "--http-listen", "off", "--run", "my-flow", "--once")
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, want := range []string{"pool development", "(pool created)", "Pending", "Running", "│ Hello you", "Completed", `Result: {"greeted":"you","times":1}`} {
		if !strings.Contains(p.output(), want) {
			t.Errorf("%q is missing in\n%s", want, p.output())
		}
	}
	if _, err := os.Stat(filepath.Join(p.cmd.Dir, ".weir", ".gitignore")); err != nil {
		t.Errorf("the data is not kept out of git: %v", err)
	}
}

func TestUp_onceFailsWithItsRun(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"weir.yaml": "deployments:\n  - name: bad\n    command: sh -c 'echo on my way; exit 3'\n    work_pool: {name: p}\n"})
	p := start(t, dir, "up", "--nats-listen", "127.0.0.1:0", "--http-listen", "off", "--run", "bad", "--once")
	if code := p.exit(t); code != exitFailed {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, want := range []string{"│ on my way", "Failed", "exit code 3", "weir flow-run inspect p-1"} {
		if !strings.Contains(p.output(), want) {
			t.Errorf("%q is missing in\n%s", want, p.output())
		}
	}
}

func TestUp_staysAndTakesRequests(t *testing.T) {
	t.Parallel()
	up, url := startUp(t, writeFiles(t, pythonFiles()))
	up.await(t, "weir deployment run my-flow --watch")
	up.await(t, "export NATS_URL="+url)

	watch := start(t, up.cmd.Dir, "deployment", "run", "my-flow", "-p", "name=Ann", "--watch", "--server", url, "-p", "times=3")
	if code := watch.exit(t); code != exitOK || !strings.Contains(watch.output(), `Result: {"greeted":"Ann","times":3}`) {
		t.Errorf("run and watch: exit code %d\n%s", code, watch.output())
	}
	failing := start(t, up.cmd.Dir, "-s", url, "deployment", "run", "my-flow", "-p", "name=nobody", "-w")
	if code := failing.exit(t); code != exitFailed || !strings.Contains(failing.output(), "Failed") {
		t.Errorf("a run that fails: exit code %d\n%s", code, failing.output())
	}
	got := weir(t, "-s", url, "deployment", "run", "my-flow", "-p", "nmae=x")
	if got.code != exitUsage || !strings.Contains(got.stderr, "name") {
		t.Errorf("a parameter that the function lacks: exit code %d, %s", got.code, got.stderr)
	}
	type shown struct {
		State  schemas.State      `json:"state"`
		Result json.RawMessage    `json:"result"`
		Events []schemas.RunEvent `json:"events"`
	}
	inspect := decodeJSON[shown](t, weir(t, "-s", url, "run", "inspect", "development-1", "-j").ok(t))
	if inspect.State != schemas.Completed || len(inspect.Events) < 3 || len(inspect.Result) == 0 {
		t.Errorf("got %+v", inspect)
	}
	if out := weir(t, "-s", url, "run", "logs", "development-1").ok(t); out != "Hello Ann\n" {
		t.Errorf("logs: got %q", out)
	}
	if got := weir(t, "-s", url, "run", "watch", "development-2"); got.code != exitFailed || !strings.Contains(got.stdout, "Failed") {
		t.Errorf("watch of a run that has failed: exit code %d\n%s", got.code, got.stdout)
	}
	up.signal(t, syscall.SIGINT)
	if code := up.exit(t); code != exitOK {
		t.Errorf("after Ctrl-C: exit code %d\n%s", code, up.output())
	}
}

func TestUp_servesPoolsThatAreCreatedLater(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"weir.yaml": "deployments:\n  - name: hello\n    command: echo Hello\n    work_pool: {name: late}\n"})
	up, url := startUp(t, t.TempDir())
	for range 2 { // the second time it is made anew under its name
		weir(t, "-s", url, "work-pool", "create", "late", "--type", "process").ok(t)
		mustRun(t, dir, "-s", url, "deploy")
		mustRun(t, dir, "-s", url, "deployment", "run", "hello", "--watch")
		weir(t, "-s", url, "work-pool", "delete", "late", "--force").ok(t)
	}
	up.await(t, "worker takes runs from a new pool")
	up.signal(t, syscall.SIGINT)
	if code := up.exit(t); code != exitOK {
		t.Errorf("after Ctrl-C: exit code %d\n%s", code, up.output())
	}
}

func TestUp_withoutAProjectSaysWhatToDo(t *testing.T) {
	t.Parallel()
	up, _ := startUp(t, t.TempDir())
	up.await(t, "Write a weir.yaml")
	up.signal(t, syscall.SIGTERM)
	if code := up.exit(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, up.output())
	}
}

func TestUp_refusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	_, url := startUp(t, t.TempDir())
	taken := strings.TrimPrefix(url, "nats://")
	bad := writeFiles(t, map[string]string{"weir.yaml": "deployments:\n  - name: x\n    entrypont: a.py:f\n"})
	file := writeFiles(t, map[string]string{"file": ""})
	for _, tt := range []struct {
		name, dir string
		args      []string
		code      int
		says      string
	}{
		{"taken port", t.TempDir(), []string{"--nats-listen", taken}, exitNoConnection, taken},
		{"bad file", bad, nil, exitUsage, "weir.yaml:3:5"},
		{"no such file", t.TempDir(), []string{"-f", "nix.yaml"}, exitUsage, "nix.yaml"},
		{"data that is a file", file, []string{"--data", "file"}, exitNoConnection, "--data"},
		{"once without run", t.TempDir(), []string{"--once"}, exitUsage, "--run"},
		{"open to the world", t.TempDir(), []string{"--nats-listen", "0.0.0.0:0"}, exitRefused, "--allow-remote"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"up", "--http-listen", "off"}, tt.args...)
			if !strings.Contains(strings.Join(args, " "), "--nats-listen") {
				args = append(args, "--nats-listen", "127.0.0.1:0")
			}
			p := start(t, tt.dir, args...)
			if code := p.exit(t); code != tt.code || !strings.Contains(p.output(), tt.says) {
				t.Errorf("exit code %d, want %d; want %q in\n%s", code, tt.code, tt.says, p.output())
			}
		})
	}
}

func TestWorker_waitsForNATSThenTakesRuns(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	url := "nats://" + address
	worker := start(t, t.TempDir(), "worker", "start", "--pool", "p", "--name", "w1", "-s", url, "--limit", "2", "--state-dir", t.TempDir())
	worker.await(t, "NATS cannot be reached yet")

	data := t.TempDir()
	first := start(t, t.TempDir(), "server", "start", "--data", data, "--nats-listen", address, "--http-listen", "off")
	first.await(t, "Weir's server is ready.")
	if code := worker.exit(t); code != exitNotFound || !strings.Contains(worker.output(), "weir work-pool create p") {
		t.Fatalf("a pool that nobody made: exit code %d\n%s", code, worker.output())
	}
	weir(t, "-s", url, "work-pool", "create", "p", "--type", "process").ok(t)
	first.signal(t, syscall.SIGTERM)
	if code := first.exit(t); code != exitOK {
		t.Errorf("server: exit code %d\n%s", code, first.output())
	}

	worker = start(t, t.TempDir(), "worker", "start", "--pool", "p", "--name", "w1", "-s", url, "--limit", "2", "--state-dir", t.TempDir())
	worker.await(t, "NATS cannot be reached yet")
	second := start(t, t.TempDir(), "server", "start", "--data", data, "--nats-listen", address, "--http-listen", "off")
	second.await(t, "Weir's server is ready.")
	worker.await(t, "Worker w1 takes runs from pool p (process), queues default, 2 slots, lease 30s")
	rows := decodeJSON[[]schemas.Worker](t, weir(t, "-s", url, "worker", "ls", "--pool", "p", "-j").ok(t))
	if len(rows) != 1 || rows[0].Name != "w1" || rows[0].Status != schemas.WorkerOnline || rows[0].Slots != 2 {
		t.Errorf("worker ls: got %+v", rows)
	}
	worker.signal(t, syscall.SIGTERM)
	if code := worker.exit(t); code != exitOK {
		t.Errorf("worker: exit code %d\n%s", code, worker.output())
	}
}

func TestWorkerLs_showsAKilledWorkerOffline(t *testing.T) {
	t.Parallel()
	url := newNATS(t)
	weir(t, "-s", url, "work-pool", "create", "p", "--type", "process").ok(t)
	worker := start(t, t.TempDir(), "-s", url, "worker", "start", "--pool", "p", "--state-dir", t.TempDir())
	worker.await(t, "Ready.")
	status := func() schemas.WorkerStatus {
		t.Helper()
		rows := decodeJSON[[]schemas.Worker](t, weir(t, "-s", url, "worker", "ls", "--pool", "p", "-j").ok(t))
		if len(rows) != 1 {
			t.Fatalf("got %+v, want one worker", rows)
		}
		return rows[0].Status
	}
	if got := status(); got != schemas.WorkerOnline {
		t.Errorf("got %s, want online", got)
	}
	worker.signal(t, syscall.SIGKILL)
	worker.exit(t)
	limit, again := time.After(15*time.Second), time.NewTicker(200*time.Millisecond)
	defer again.Stop()
	for status() != schemas.WorkerOffline {
		select {
		case <-limit:
			t.Fatal("the worker is not offline 15 s after it was killed")
		case <-again.C:
		}
	}
}

// The first signal waits for what runs, the second stops it.
func TestWorkerDrain_endsAWorkerWhenItsRunsHaveEnded(t *testing.T) {
	t.Parallel()
	dir, file := ledger(t, "1")
	address := freeAddress(t)
	url := "nats://" + address
	serverOn(t, dir, address)
	mustRun(t, dir, "--server", url, "deploy")
	worker := startWorkerOn(t, url, "a")
	mustRun(t, dir, "--server", url, "deployment", "run", "job")
	started(t, connectTo(t, url), "dev-1")
	got := decodeJSON[drained](t, weir(t, "-s", url, "worker", "drain", "a", "--pool", "dev", "-j").ok(t))
	if diff := cmp.Diff(drained{Worker: "a", Pool: "dev", Draining: streams.Draining{Status: schemas.WorkerDraining, Running: 1}}, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if rows := decodeJSON[[]schemas.Worker](t, weir(t, "-s", url, "worker", "ls", "-j").ok(t)); len(rows) != 1 || rows[0].Status != schemas.WorkerDraining {
		t.Errorf("worker ls: got %+v, want it draining at once", rows)
	}
	if code := worker.exit(t); code != exitOK {
		t.Errorf("drained worker: exit code %d:\n%s", code, worker.output())
	}
	if lines := entries(t, file); lines["end dev-1 1"] != 1 {
		t.Errorf("ledger: got %v, want that the run has ended", lines)
	}
	if got := weir(t, "-s", url, "worker", "drain", "a", "--pool", "dev"); got.code != exitNotFound || !strings.Contains(got.stderr, "not online") {
		t.Errorf("drained again: exit code %d, want %d: %s", got.code, exitNotFound, got.stderr)
	}
}

// A queue that is deleted under a worker takes nothing else away from it.
func TestWorkQueueDelete_leavesWorkersTheOtherQueues(t *testing.T) {
	t.Parallel()
	dir, _ := ledger(t, "0")
	address := freeAddress(t)
	url := "nats://" + address
	serverOn(t, dir, address)
	mustRun(t, dir, "--server", url, "deploy")
	worker := startWorkerOn(t, url, "a")
	for _, queue := range []string{"one", "two"} {
		mustRun(t, dir, "--server", url, "work-queue", "create", queue, "--pool", "dev")
		mustRun(t, dir, "--server", url, "deployment", "run", "job", "-q", queue, "--watch")
		mustRun(t, dir, "--server", url, "work-queue", "delete", queue, "--pool", "dev", "--force")
		mustRun(t, dir, "--server", url, "deployment", "run", "job", "--watch")
	}
	worker.signal(t, syscall.SIGTERM)
	if code := worker.exit(t); code != exitOK {
		t.Errorf("worker: exit code %d:\n%s", code, worker.output())
	}
}

func TestWorker_drainsThenStops(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"weir.yaml": `pools:
  - name: p
    type: process
deployments:
  - name: gate
    command: sh -c 'echo started; while [ ! -e gate ]; do sleep 0.05; done'
    work_pool: {name: p}
  - name: forever
    command: sh -c 'echo started; sleep 600'
    grace: 1s
    work_pool: {name: p}
`})
	url := newNATS(t)
	weir(t, "-s", url, "deploy", "-f", filepath.Join(dir, "weir.yaml")).ok(t)
	begin := func(deployment string) (worker, watch *program) {
		worker = start(t, dir, "-s", url, "worker", "start", "--pool", "p", "--name", "w", "--state-dir", filepath.Join(dir, "state"))
		worker.await(t, "Ready.")
		watch = start(t, dir, "-s", url, "deployment", "run", deployment, "--watch")
		watch.await(t, "│ started")
		worker.signal(t, syscall.SIGTERM)
		worker.await(t, "draining: waiting for 1 run;")
		return worker, watch
	}
	worker, watch := begin("gate")
	if err := os.WriteFile(filepath.Join(dir, "gate"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if code := watch.exit(t); code != exitOK {
		t.Errorf("a run that drains: exit code %d\n%s", code, watch.output())
	}
	if code := worker.exit(t); code != exitOK {
		t.Errorf("drained worker: exit code %d\n%s", code, worker.output())
	}

	worker, watch = begin("forever")
	worker.signal(t, syscall.SIGTERM)
	worker.await(t, "stopping what runs")
	if code := worker.exit(t); code != exitOK {
		t.Errorf("stopped worker: exit code %d\n%s", code, worker.output())
	}
	watch.await(t, "worker_stopped")
	watch.signal(t, syscall.SIGINT)
	if code := watch.exit(t); code != exitInterrupted {
		t.Errorf("a watch that is left: exit code %d, want %d", code, exitInterrupted)
	}
}

func TestWatch_saysThatNoWorkerIsThere(t *testing.T) {
	t.Parallel()
	url, _ := newProject(t)
	watch := start(t, t.TempDir(), "-s", url, "deployment", "run", "etl", "--watch")
	watch.await(t, "No worker of pool dev that takes from queue default is online: the run waits. Start one with: weir worker start --pool dev")
	weir(t, "-s", url, "work-pool", "pause", "dev").ok(t)
	watch.await(t, "Work pool dev is paused")
	watch.signal(t, syscall.SIGINT)
	if code := watch.exit(t); code != exitInterrupted || !strings.Contains(watch.output(), "The run goes on.") {
		t.Errorf("a watch that is left: exit code %d, want %d\n%s", code, exitInterrupted, watch.output())
	}
}

func TestDeadLetters_showTheRequestAsItCame(t *testing.T) {
	t.Parallel()
	_, url := startUp(t, writeFiles(t, pythonFiles()))
	conn := connectTo(t, url)
	run, err := conn.Submit(t.Context(), streams.Request{Pool: "development", Deployment: "my-flow", Body: []byte("{not JSON")})
	if err != nil {
		t.Fatal(err)
	}
	if got := weir(t, "-s", url, "run", "watch", run.Run); got.code != exitFailed || !strings.Contains(got.stdout, "rejected") {
		t.Errorf("watch: exit code %d\n%s", got.code, got.stdout)
	}
	letters := decodeJSON[[]streams.DeadLetter](t, weir(t, "-s", url, "dead-letter", "ls", "-j").ok(t))
	if len(letters) != 1 || letters[0].Run != run.Run || letters[0].Body != "{not JSON" || letters[0].Reason != schemas.ReasonRejected {
		t.Fatalf("got %+v, want the request", letters)
	}
	if out := weir(t, "-s", url, "dead", "inspect", fmt.Sprint(letters[0].ID)).ok(t); !strings.Contains(out, "{not JSON") || !strings.Contains(out, "rejected") {
		t.Errorf("dead-letter inspect: %s", out)
	}
	if out := weir(t, "-s", url, "dead", "ls").ok(t); !strings.Contains(out, run.Run) && !strings.Contains(out, "rejected") {
		t.Errorf("dead-letter ls: %s", out)
	}
}

func TestDeploy_showsTheDifferenceFirst(t *testing.T) {
	t.Parallel()
	url := newNATS(t)
	dir := writeFiles(t, pythonFiles())
	file := filepath.Join(dir, "prefect.yaml")
	if got := weir(t, "-s", url, "deploy", "-f", file); got.code != exitUsage || !strings.Contains(got.stderr, "weir work-pool create development --type process") {
		t.Errorf("a pool that nobody made: exit code %d\n%s", got.code, got.stderr)
	}
	weir(t, "-s", url, "work-pool", "create", "development", "-t", "process").ok(t)
	if out := weir(t, "-s", url, "deploy", "--dry-run", "-f", file).ok(t); !strings.Contains(out, "+ deployment my-flow") || !strings.Contains(out, "dry run") {
		t.Errorf("dry run: %s", out)
	}
	if rows := weir(t, "-s", url, "deployment", "ls", "-j").ok(t); rows != "[]\n" {
		t.Errorf("after the dry run: got %s, want nothing", rows)
	}
	if out := weir(t, "-s", url, "deploy", "-f", file).ok(t); !strings.Contains(out, "+ deployment my-flow") {
		t.Errorf("deploy: %s", out)
	}
	type diff struct {
		Deployments []struct {
			Name   string `json:"name"`
			Action string `json:"action"`
		} `json:"deployments"`
		Applied bool `json:"applied"`
	}
	got := decodeJSON[diff](t, weir(t, "-s", url, "deploy", "-j", "-f", file).ok(t))
	if len(got.Deployments) != 1 || got.Deployments[0].Action != "unchanged" || !got.Applied {
		t.Errorf("deployed again: got %+v", got)
	}
	if got := weir(t, "-s", url, "deploy", "-f", file, "my-flwo"); got.code != exitNotFound || !strings.Contains(got.stderr, `"my-flow"`) {
		t.Errorf("a name that the file lacks: exit code %d\n%s", got.code, got.stderr)
	}
	weir(t, "-s", url, "deployment", "delete", "my-flow", "--force").ok(t)
}

// The other command line: what it publishes runs, and what it watches tells the same.
func TestNATSCommand_startsAndWatchesRuns(t *testing.T) {
	t.Parallel()
	nats := natsBinary(t)
	up, url := startUp(t, writeFiles(t, pythonFiles()))
	events := startProgram(t, up.cmd.Dir, nats, "-s", url, "sub", "weir.event.run.development.my-flow.>")
	events.await(t, "Subscribing")
	out, err := exec.CommandContext(t.Context(), nats, "-s", url, "req", "weir.run.development.default.my-flow", `{"parameters": {"name": "Bob"}}`).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "WEIR_POOL_development") {
		t.Fatalf("nats req: %v\n%s", err, out)
	}
	events.await(t, "weir.event.run.development.my-flow.development-1.completed")
	type row struct {
		Run    string          `json:"run"`
		State  schemas.State   `json:"state"`
		Result json.RawMessage `json:"result"`
	}
	rows := decodeJSON[[]row](t, weir(t, "-s", url, "flow-run", "ls", "-j").ok(t))
	for i := range rows {
		var compact bytes.Buffer
		if err := json.Compact(&compact, rows[i].Result); err != nil {
			t.Fatal(err)
		}
		rows[i].Result = compact.Bytes()
	}
	want := []row{{"development-1", schemas.Completed, json.RawMessage(`{"greeted":"Bob","times":1}`)}}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("flow-run ls (-want +got):\n%s", diff)
	}
	out, err = exec.CommandContext(t.Context(), nats, "-s", url, "req", "weir.run.development.nix.my-flow", "").CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err == nil && !strings.Contains(string(out), "No responders") || err != nil && !ok {
		t.Errorf("a queue that does not exist: %v, %v\n%s", exit, err, out)
	}
}

// Whenever it is told to end, also while it is just starting, that is what it was told.
func TestUp_endsWellAtAnyMoment(t *testing.T) {
	t.Parallel()
	for delay := range 8 {
		dir := t.TempDir()
		up := start(t, dir, "up", "--nats-listen", "127.0.0.1:0", "--http-listen", "off")
		for { // its first trace: by then it hears signals
			if _, err := os.Stat(filepath.Join(dir, ".weir")); err == nil {
				break
			}
		}
		time.Sleep(time.Duration(delay) * 20 * time.Millisecond) // a moment like any other
		up.signal(t, syscall.SIGINT)
		if code := up.exit(t); code != exitOK {
			t.Errorf("told after %d ms: exit code %d\n%s", 20*delay, code, up.output())
		}
	}
}

func TestCommand_isInterruptedWhileItConnects(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := start(t, t.TempDir(), "--timeout", "1m", "-s", "nats://"+silent.Addr().String(), "worker", "ls")
	if _, err := silent.Accept(); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGINT)
	if code := p.exit(t); code != exitInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, exitInterrupted, p.output())
	}
}
