package ecs

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

// shared is the engine of all tests whose tasks are containers.
var shared = dockertest.New("ecs")

// onDocker makes an account whose tasks are containers, which see the folder binds. The environment leads there.
func onDocker(t *testing.T, binds ...string) *ecstest.Endpoint {
	t.Helper()
	shared.Up(t)
	host := ecstest.Docker{Host: shared.Host(), Secrets: map[string]string{}}
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

// onEngine is one run's, in containers of the engine.
func onEngine(name string, job json.RawMessage, out runners.Output) runners.Spec {
	if out == nil {
		out = runnertest.NewRecorder()
	}
	run, _, _ := strings.Cut(name, ".")
	return runners.Spec{
		Name: name, Run: run, Attempt: 1, Pool: "pool", Queue: "default", Deployment: "d", Worker: "worker", Parameters: json.RawMessage(`{"n": 20}`),
		Job: job, Output: out,
	}
}

func TestDocker_reasonsFromFacts(t *testing.T) {
	e := onDocker(t)
	r := openIn(t, t.TempDir())
	t.Cleanup(func() { _ = r.Close() })
	sidecar := func(name, script string) map[string]any {
		return map[string]any{"name": name, "image": dockertest.Busybox, "command": []string{"sh", "-c", script}}
	}
	for name, test := range map[string]struct {
		script string
		more   map[string]any
		act    func(arn string) // once the job has said that it is ready; nil: it is not waited for
		want   runners.Result   // without its message
		never  bool             // it never ran
		says   string
	}{
		"oom": {
			script: "exec dd if=/dev/zero of=/dev/null bs=700M count=1", more: map[string]any{"cpu": 256, "memory": 512, "init": false},
			want: runners.Result{ExitCode: 137, Signal: "SIGKILL", Reason: schemas.ReasonOOMKilled}, says: "OutOfMemoryError: Container killed due to memory usage",
		},
		"spot": {
			script: "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done", act: e.Interrupt, more: map[string]any{"capacity": []string{"FARGATE_SPOT"}},
			want: runners.Result{Reason: schemas.ReasonSpotInterrupted}, says: "Your Spot Task was interrupted.",
		},
		"sidecar": {
			script: "trap 'exit 143' TERM; echo ready; while :; do sleep 0.1; done", more: map[string]any{
				"container_name": "main", "task_definition": map[string]any{"containerDefinitions": []any{map[string]any{"name": "main"}, sidecar("proxy", "sleep 1; exit 9")}},
			},
			want: runners.Result{ExitCode: 143, Signal: "SIGTERM", Reason: schemas.ReasonEssentialExited}, says: "container proxy: exit code 9",
		},
		"job with a sidecar": {
			script: "exit 5", more: map[string]any{
				"container_name": "main", "task_definition": map[string]any{"containerDefinitions": []any{map[string]any{"name": "main"}, sidecar("proxy", "trap exit TERM; while :; do sleep 0.1; done")}},
			},
			want: runners.Result{ExitCode: 5},
		},
		"image": {more: map[string]any{"image": "weir-test/none:1"}, never: true, want: runners.Result{Reason: schemas.ReasonImageNotFound}, says: "weir-test/none:1"},
		"secret": {
			more:  map[string]any{"env": map[string]any{"S": map[string]any{"from_aws": "arn:aws:secretsmanager:us-east-1:123456789012:secret:none"}}},
			never: true, want: runners.Result{Reason: schemas.ReasonStartFailed}, says: "secret:none",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := runnertest.NewRecorder()
			x, err := r.Start(patient(t), onEngine(strings.ReplaceAll(name, " ", "-")+".1", shellJob(t, test.script, test.more), out))
			if err != nil && !test.never {
				t.Fatal(err)
			}
			if test.act != nil {
				out.Await(t, 1)
				<-x.(runners.Provisioned).Begun()
				test.act(x.ID())
			}
			var got runners.Result
			if err == nil {
				got, err = x.Wait(patient(t))
			}
			if test.never {
				if reason, permanent := runners.IsPermanent(err); !permanent || reason != test.want.Reason || !strings.Contains(err.Error(), test.says) {
					t.Errorf("wait = %v (%s), want a permanent error, %s, that says %s", err, reason, test.want.Reason, test.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got.Message, test.says) {
				t.Errorf("got message %q, want it to say %q", got.Message, test.says)
			}
			got.Message, got.Started, got.Ended = "", time.Time{}, time.Time{}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

// An entrypoint of Python runs in an image that has nothing of Weir's in it, and its result comes back.
func TestDocker_entrypoint(t *testing.T) {
	code := t.TempDir()
	const flow = "def double(n):\n    print('doubling', n)\n    return {'twice': 2 * n}\n"
	if err := os.WriteFile(filepath.Join(code, "flow.py"), []byte(flow), 0o600); err != nil {
		t.Fatal(err)
	}
	onDocker(t, code)
	r := openIn(t, t.TempDir())
	defer r.Close()
	out := runnertest.NewRecorder()
	spec := onEngine("run.1", jobWith(t, map[string]any{"image": dockertest.Python, "command": nil, "working_dir": code}), out)
	spec.Entrypoint = "flow.py:double"
	x, err := r.Start(patient(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	res, err := x.Wait(patient(t))
	if err != nil || res.ExitCode != 0 || string(res.Value) != `{"twice": 40}` {
		t.Errorf("got %+v with value %s, %v, want twice 40", res, res.Value, err)
	}
	if diff := cmp.Diff([]string{"doubling 20"}, out.Lines("")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// A hard day: calls are throttled, answers are lost, tasks are seen late, logs come late and in pages that are empty. Every run has one
// task, its own exit code and all its lines.
func TestDocker_throughEverythingAtOnce(t *testing.T) {
	const runs = 20
	e := onDocker(t)
	queue := e.AddQueue("events", 5*time.Second)
	e.Tune(func(k *ecstest.Knobs) {
		k.Limits = map[string]ecstest.Bucket{"ecs:RunTask": {Burst: 2, Rate: 4}, "ecs:*": {Burst: 4, Rate: 8}, "logs:*": {Burst: 2, Rate: 5}}
		k.Visible, k.Ingestion, k.EmptyPages = time.Second, 500*time.Millisecond, true
		k.Events = ecstest.Events{Queue: "events", Late: 200 * time.Millisecond, Jitter: time.Second, Twice: true}
		k.NoCapacity = map[string]ecstest.Refusal{"FARGATE_SPOT": ecstest.InAnswer}
	})
	e.LoseAnswers("ecs:RunTask", 5)
	e.LoseAnswers("ecs:DescribeTasks", 3)
	t.Setenv(queueVariable, queue)
	r := openIn(t, t.TempDir())
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() {
			out := runnertest.NewRecorder()
			job := shellJob(t, fmt.Sprintf("seq %d; exit %d", 100*i, i), map[string]any{"capacity": []string{"FARGATE_SPOT", "FARGATE"}})
			x, err := r.Start(ctx, onEngine(fmt.Sprintf("run%d.1", i), job, out))
			if err != nil {
				t.Errorf("start %d: %v", i, err)
				return
			}
			res, err := x.Wait(ctx)
			if err != nil || res.ExitCode != i || res.NoCode {
				t.Errorf("run %d: got %+v, %v", i, res, err)
			}
			if got := len(out.Lines("")); got != 100*i {
				t.Errorf("run %d: got %d lines, want %d", i, got, 100*i)
			}
		})
	}
	all.Wait()
	tasks := e.Tasks()
	started := map[string]int{}
	for _, task := range tasks {
		started[task.Tags[tagExecution]]++
	}
	if len(tasks) != runs || len(started) != runs {
		t.Errorf("got %d tasks of %d executions, want one of each of %d", len(tasks), len(started), runs)
	}
	if got := e.Calls("ecs:RegisterTaskDefinition"); got != 1 {
		t.Errorf("got %d registrations, want 1", got)
	}
	t.Logf("calls: %v", e.Counts())
}
