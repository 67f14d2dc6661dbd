package ecs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/goleak"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/runners/runnertest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "16") // tests wait, for an engine and for AWS's pace, more than they compute
	code := m.Run()
	if err := shared.Down(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// fargatePace is about how long Fargate takes.
var fargatePace = ecstest.Pace{
	Provisioning: 12 * time.Second, Pending: 2 * time.Second, Activating: 15 * time.Second, Deactivating: time.Second, Deprovisioning: 15 * time.Second,
}

// bench is an AWS account on paper and the workers that use it. Nothing of it needs a socket, so that its time can be a bubble's.
type bench struct {
	*ecstest.Endpoint
	t   testing.TB
	dir string
	log *journal
}

// journal keeps what runners log.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

// count is how many lines have text in them.
func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for line := range strings.Lines(j.b.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// bubble runs a test in time of its own, against an account whose tasks live by plan.
func bubble(t *testing.T, plan func(ecstest.Task) ecstest.Plan, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, plan)
		b.Tune(func(k *ecstest.Knobs) { k.Pace = fargatePace })
		test(t, b)
	})
}

func newBench(t testing.TB, plan func(ecstest.Task) ecstest.Plan) *bench {
	t.Helper()
	e, err := ecstest.New(ecstest.Paper(plan))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	e.AddLogGroup("/weir/p")
	return &bench{Endpoint: e, t: t, dir: t.TempDir(), log: &journal{}}
}

// clients are what a runner speaks to the account with.
func (b *bench) clients() *clients {
	return clientsOf(b.Config(), newThrottle(1), slog.New(slog.NewTextHandler(b.log, nil)))
}

// worker opens a runner, as a worker of that name does that starts, or starts again. The test's end closes it.
func (b *bench) worker(name string) *runner {
	b.t.Helper()
	return b.workerWith(name, runners.Config{}, b.clients(), "")
}

func (b *bench) workerWith(name string, config runners.Config, c *clients, queue string) *runner {
	b.t.Helper()
	config.System, config.Worker, config.Pool, config.Dir = "sys", name, "p", b.dir
	r, err := open(context.Background(), config, c, queue)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { b.close(r) })
	return r
}

// close closes a runner, once.
func (b *bench) close(r *runner) {
	b.t.Helper()
	if isClosed(r.closed) {
		return
	}
	if err := r.Close(); err != nil {
		b.t.Errorf("close: %v", err)
	}
}

// jobWith is the job configuration of the tests, with further settings.
func jobWith(t testing.TB, more map[string]any) json.RawMessage {
	t.Helper()
	job := map[string]any{
		"image": "busybox:1", "command": []string{"true"}, "execution_role_arn": "arn:aws:iam::123456789012:role/exec", "configure_cloudwatch_logs": true,
		"network_configuration": map[string]any{"subnets": []string{"subnet-a"}},
	}
	for name, value := range more {
		job[name] = value
	}
	b, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spec is one run's, by the name of its execution.
func (b *bench) spec(name string, out runners.Output, more map[string]any) runners.Spec {
	b.t.Helper()
	if out == nil {
		out = runnertest.NewRecorder()
	}
	run, _, _ := strings.Cut(name, ".")
	return runners.Spec{
		Name: name, Run: run, Attempt: 1, Pool: "p", Queue: "default", Deployment: "d", Worker: "w", Parameters: json.RawMessage("{}"),
		Job: jobWith(b.t, more), Output: out,
	}
}

func (b *bench) start(r *runner, spec runners.Spec) *execution {
	b.t.Helper()
	e, err := r.Start(b.t.Context(), spec)
	if err != nil {
		b.t.Fatalf("start %s: %v", spec.Name, err)
	}
	return e.(*execution)
}

func (b *bench) find(r *runner, sought runners.Sought) *execution {
	b.t.Helper()
	if sought.Output == nil {
		sought.Output = runnertest.NewRecorder()
	}
	e, err := r.Find(b.t.Context(), sought)
	if err != nil {
		b.t.Fatalf("find %s: %v", sought.Name, err)
	}
	return e.(*execution)
}

func (b *bench) wait(e runners.Execution) runners.Result {
	b.t.Helper()
	res, err := e.Wait(b.t.Context())
	if err != nil {
		b.t.Fatalf("wait: %v", err)
	}
	return res
}

// one is the only task there is.
func (b *bench) one() ecstest.Task {
	b.t.Helper()
	tasks := b.Tasks()
	if len(tasks) != 1 {
		b.t.Fatalf("got %d tasks, want 1: %+v", len(tasks), tasks)
	}
	return tasks[0]
}

// forever is the plan of a task that runs until it is stopped.
func forever(ecstest.Task) ecstest.Plan { return ecstest.Plan{Runs: ecstest.Forever} }

// lives is the plan of a task that ends by itself.
func lives(d time.Duration, code int, output ...string) func(ecstest.Task) ecstest.Plan {
	return func(ecstest.Task) ecstest.Plan { return ecstest.Plan{Runs: d, Exit: code, Output: output} }
}

func lines(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("line %d", i+1)
	}
	return list
}

var errTest = errors.New("the test's own reason")

// adminKey is the access key of the workers.
const adminKey = "AKIAADMINISTRATOR"

// changing is credentials that change while a worker runs.
type changing struct {
	mu  sync.Mutex
	key string
}

func (c *changing) set(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = key
}

// Retrieve implements [aws.CredentialsProvider].
func (c *changing) Retrieve(context.Context) (aws.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return aws.Credentials{AccessKeyID: c.key, SecretAccessKey: "secret"}, nil
}

// into has clients use them.
func (c *changing) into(b *bench, to *clients) {
	cfg := b.Config()
	cfg.Credentials = c
	theirs := clientsOf(cfg, to.throttle, to.log)
	to.ecs, to.logs, to.sqs = theirs.ecs, theirs.logs, theirs.sqs
}
