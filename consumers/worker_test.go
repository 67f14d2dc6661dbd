package consumers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// bench is a server with the pool dev and the deployment hello.
type bench struct {
	*streams.Conn
	server  *server.Server
	infra   *infrastructure
	kind    runners.Type  // of its pool; none: infra's
	through *streams.Conn // the next worker's connection; nil: one of its own to server
	homes   string        // of the workers' state folders, by name
}

func newBench(t *testing.T, ackWait time.Duration, script func(runners.Spec, *scripted)) *bench {
	t.Helper()
	return newBenchOn(t, streamstest.Server(t), 1, ackWait, script)
}

// newBenchOn makes one on a server, or one of a cluster, with so many replicas of everything.
func newBenchOn(t *testing.T, s *server.Server, replicas int, ackWait time.Duration, script func(runners.Spec, *scripted)) *bench {
	t.Helper()
	b := &bench{Conn: streamstest.Dial(t, s), server: s, infra: newInfrastructure(script), homes: t.TempDir()}
	if err := b.Setup(t.Context(), replicas); err != nil {
		t.Fatal(err)
	}
	if _, err := b.CreatePool(t.Context(), schemas.Pool{Name: "dev", Type: "process", Replicas: replicas, AckWait: schemas.Duration(ackWait)}); err != nil {
		t.Fatal(err)
	}
	b.deploy(t, schemas.Deployment{Name: "hello", Command: schemas.Command{"true"}})
	return b
}

func (b *bench) deploy(t *testing.T, d schemas.Deployment) {
	t.Helper()
	d.Pool, d.Queue = "dev", "default"
	if _, err := b.PutDeployment(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// worker starts one with a connection of its own. kill cuts that connection as kill -9 would; drain lets it finish.
func (b *bench) worker(t *testing.T, name string, slots int) (drainIt, kill func()) {
	t.Helper()
	w := b.start(t, consumers.Config{Name: name, Slots: slots})
	return w.drain, w.kill
}

// started is a worker that a test has started.
type started struct {
	*consumers.Worker
	nc                *nats.Conn
	drain, stop, kill func()
	done              chan struct{} // closed when it has ended
}

// newWorker makes one with a connection of its own. Its state folder is that of its name, unless it has one.
func (b *bench) newWorker(t *testing.T, c consumers.Config) (*consumers.Worker, *nats.Conn) {
	t.Helper()
	conn := b.through
	if b.through = nil; conn == nil {
		nc, err := nats.Connect("", nats.InProcessServer(b.server), nats.ReconnectWait(300*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if conn, err = streams.Open(nc, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	if c.Dir == "" {
		c.Dir = filepath.Join(b.homes, c.Name)
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	kind := b.kind
	if kind.Name == "" {
		kind = b.infra.poolType()
	}
	c.Pool, c.Types, c.Logger = "dev", []runners.Type{kind}, slog.New(slog.NewTextHandler(t.Output(), nil))
	w, err := consumers.New(conn, c)
	if err != nil {
		t.Fatal(err)
	}
	return w, conn.NC
}

func (b *bench) start(t *testing.T, c consumers.Config) *started {
	t.Helper()
	w, nc := b.newWorker(t, c)
	draining, drain := context.WithCancel(context.Background())
	stopping, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan struct{})
	var result error
	go func() {
		defer close(ended)
		result = w.Run(draining, stopping, func(consumers.Ready) { close(ready) })
	}()
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("worker %s: %v", c.Name, result)
	}
	killed := false
	t.Cleanup(func() {
		drain()
		stop()
		b.infra.endAll()
		select {
		case <-ended:
			if result != nil && !killed {
				t.Errorf("worker %s: %v", c.Name, result)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("worker %s did not stop within 30 s", c.Name)
		}
		nc.Close()
	})
	return &started{Worker: w, nc: nc, drain: drain, stop: stop, kill: func() { killed = true; b.infra.kill(c.Name); nc.Close() }, done: ended}
}

func (i *infrastructure) endAll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.execs {
		e.end(runners.Result{})
	}
}

func (b *bench) request(t *testing.T, body string) string {
	t.Helper()
	r, err := b.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "hello", Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	return r.Run
}

// events waits for the run's final state and returns all its events.
func (b *bench) events(t *testing.T, run string) []schemas.RunEvent {
	t.Helper()
	out := b.kept(t, run)
	state := schemas.Scheduled
	for _, e := range out {
		if !state.CanFollow(e.State) {
			t.Errorf("run %s: %s after %s is no allowed step", run, e.State, state)
		}
		state = e.State
	}
	return out
}

// kept waits for the run's final state and returns those of its events that are still kept.
func (b *bench) kept(t *testing.T, run string) []schemas.RunEvent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out []schemas.RunEvent
	if err := b.WatchRun(ctx, run, func(e streams.Recorded) error { out = append(out, e.RunEvent); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 || !out[len(out)-1].State.Final() {
		t.Fatalf("run %s: got %d events and no final state within 30 s", run, len(out))
	}
	return out
}

// endWhenHeldBy ends the execution once the worker's first event shows that it holds it.
func (b *bench) endWhenHeldBy(t *testing.T, worker, run string, e *scripted) {
	_ = b.WatchRun(t.Context(), run, func(ev streams.Recorded) error { // cut short, the run does not end, and its test fails
		if ev.Worker == worker {
			e.end(runners.Result{})
		}
		return nil
	})
}

func states(events []schemas.RunEvent) (out []string) {
	for _, e := range events {
		s := fmt.Sprintf("%s %d", e.State, e.Attempt)
		if e.Reason != "" {
			s += " " + string(e.Reason)
		}
		out = append(out, s)
	}
	return out
}

func ends(r runners.Result) func(runners.Spec, *scripted) {
	return func(_ runners.Spec, e *scripted) { e.end(r) }
}

func TestRun_passesItsStatesInOrder(t *testing.T) {
	for _, tc := range []struct {
		name   string
		result runners.Result
		want   []string
	}{
		{"exit 0", runners.Result{Value: json.RawMessage(`{"rows":3}`)}, []string{"pending 1", "running 1", "completed 1"}},
		{"exit 3", runners.Result{ExitCode: 3}, []string{"pending 1", "running 1", "failed 1 exit_code"}},
		{"signal", runners.Result{ExitCode: 139, Signal: "SIGSEGV"}, []string{"pending 1", "running 1", "failed 1 signal"}},
		{"oom", runners.Result{ExitCode: 137, Signal: "SIGKILL", Reason: schemas.ReasonOOMKilled}, []string{"pending 1", "running 1", "failed 1 oom_killed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 30*time.Second, ends(tc.result))
			b.worker(t, "w1", 1)
			got := b.events(t, b.request(t, ""))
			if diff := cmp.Diff(tc.want, states(got)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			last := got[len(got)-1]
			if last.ExitCode == nil || *last.ExitCode != tc.result.ExitCode || string(last.Result) != string(tc.result.Value) || last.RunningMS == nil {
				t.Errorf("final event: got %+v, want exit code, result and durations of %+v", last, tc.result)
			}
			b.empty(t)
		})
	}
}

func TestRun_mergesParametersAndRefusesWhatTheSchemaRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	b.deploy(t, schemas.Deployment{
		Name: "hello", Command: schemas.Command{"true"}, Parameters: map[string]json.RawMessage{"name": json.RawMessage(`"a"`), "n": json.RawMessage("1")},
		ParameterSchema: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"},"n":{"type":"integer"}},"additionalProperties":false}`),
	})
	b.worker(t, "w1", 1)
	b.events(t, b.request(t, `{"parameters":{"n":2}}`))
	e := <-b.infra.began
	if got, want := string(e.spec.Parameters), `{"n":2,"name":"a"}`; got != want {
		t.Errorf("parameters: got %s, want %s", got, want)
	}
	got := b.events(t, b.request(t, `{"parameters":{"n":"two"}}`))
	if diff := cmp.Diff([]string{"failed 0 rejected"}, states(got)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestRun_whatIsNotValidIsBuriedAndTheWorkerGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	b.worker(t, "w1", 2)
	publish := func(deployment, body string, header ...string) string {
		m := nats.NewMsg(streams.RunSubject("dev", "default", deployment))
		m.Data = []byte(body)
		for i := 0; i+1 < len(header); i += 2 {
			m.Header.Set(header[i], header[i+1])
		}
		ack, err := b.JS.PublishMsg(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return streams.RunID(ack.Stream, ack.Sequence)
	}
	for _, tc := range []struct{ name, deployment, body, want string }{
		{"unparsable", "hello", `{"parameters"`, "JSON"},
		{"wrong type", "hello", `{"parameters": 7}`, "parameters"},
		{"unknown field", "hello", `{"paramters": {}}`, "parameters"},
		{"unknown deployment", "helo", ``, "hello"},
		{"unknown variable", "hello", `{"job_variables": {"cpus": 1}}`, "cpu"},
		{"wrong variable", "hello", `{"job_variables": {"cpu": "many"}}`, "cpu"},
		{"over the limit", "hello", `{"tags":["` + strings.Repeat("x", schemas.MaxRequest) + `"]}`, "limit"},
	} {
		run := publish(tc.deployment, tc.body)
		got := b.events(t, run)
		if diff := cmp.Diff([]string{"failed 0 rejected"}, states(got)); diff != "" {
			t.Errorf("%s: states (-want +got):\n%s", tc.name, diff)
		}
		if !strings.Contains(got[0].Message, tc.want) {
			t.Errorf("%s: message %q does not name %q", tc.name, got[0].Message, tc.want)
		}
		dead, err := b.DeadLetters(t.Context(), "dev", 1)
		if err != nil || len(dead) != 1 || dead[0].Body != tc.body || dead[0].Message != got[0].Message {
			t.Errorf("%s: newest dead letter: got %+v, %v, want the request", tc.name, dead, err)
		}
	}
	publish("né", "")                                      // no token: there is no event to write, only the dead letter
	publish("hello", "", streams.HeaderRunID, "no token!") // the same
	publish("hello", "", streams.HeaderRunID, "dev-99")    // kept for the request with that sequence
	b.events(t, b.request(t, ""))
	b.empty(t)
	if dead, err := b.DeadLetters(t.Context(), "", 100); err != nil || len(dead) != 10 {
		t.Errorf("dead letters: got %d, %v, want 10", len(dead), err)
	}
	if got := b.infra.started(); len(got) != 1 {
		t.Errorf("started: got %v, want the valid request only", got)
	}
}

func TestRun_namedTwiceIsStartedOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	b.worker(t, "w1", 2)
	for range 3 {
		if _, err := b.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "hello", RunID: "invoice-2026"}); err != nil {
			t.Fatal(err)
		}
	}
	b.events(t, "invoice-2026")
	b.empty(t)
	if diff := cmp.Diff([]string{"invoice-2026.1"}, b.infra.started()); diff != "" {
		t.Errorf("started (-want +got):\n%s", diff)
	}
}

func TestRun_manyWorkersStartEachRunOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	for i := range 4 {
		b.worker(t, fmt.Sprintf("w%d", i), 8)
	}
	const n = 400
	var last string
	for range n {
		last = b.request(t, "")
	}
	b.events(t, last)
	b.empty(t)
	seen := map[string]int{}
	for _, name := range b.infra.started() {
		seen[name]++
	}
	if len(seen) != n || len(b.infra.started()) != n {
		t.Errorf("started: got %d starts of %d runs, want %d of each", len(b.infra.started()), len(seen), n)
	}
}

func TestRun_permanentStartFailureIsFailed(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	b.infra.fail(runners.Permanent(schemas.ReasonStartFailed, errors.New("command nope does not exist")))
	b.worker(t, "w1", 1)
	got := b.events(t, b.request(t, ""))
	if diff := cmp.Diff([]string{"pending 1", "failed 1 start_failed"}, states(got)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestRun_otherStartFailureIsTriedAgainAndNotForEver(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	b.infra.fail(errors.New("no room"))
	b.worker(t, "w1", 1)
	got := b.events(t, b.request(t, ""))
	want := []string{
		"pending 1", "retrying 1 start_failed", "pending 2", "retrying 2 start_failed", "pending 3", "crashed 3 start_failed",
	}
	if diff := cmp.Diff(want, states(got)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	b.empty(t)
}

func TestRun_outlivesItsWorkerWhereTheInfrastructureDoes(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2*time.Second, nil)
	_, kill := b.worker(t, "w1", 1)
	run := b.request(t, "")
	e := <-b.infra.began
	b.runs(t, run)
	kill()
	b.worker(t, "w2", 1)
	go b.endWhenHeldBy(t, "w2", run, e)
	got := b.events(t, run)
	if diff := cmp.Diff([]string{"pending 1", "running 1", "running 1 held", "completed 1"}, states(got)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if n := len(b.infra.started()); n != 1 {
		t.Errorf("started %d executions, want 1", n)
	}
}

func TestRun_whoseExecutionIsGoneIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2*time.Second, func(s runners.Spec, e *scripted) {
		if s.Attempt == 2 {
			e.end(runners.Result{})
		}
	})
	_, kill := b.worker(t, "w1", 1)
	run := b.request(t, "")
	<-b.infra.began
	b.runs(t, run)
	kill()
	b.infra.lose(run + ".1")
	b.worker(t, "w2", 1)
	got := b.events(t, run)
	want := []string{"pending 1", "running 1", "retrying 1 worker_lost", "pending 2", "running 2", "completed 2"}
	if diff := cmp.Diff(want, states(got)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	b.empty(t)
}

func TestRun_thatLivesIsHeldThoughItsDeploymentIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2*time.Second, nil)
	_, kill := b.worker(t, "w1", 1)
	run := b.request(t, "")
	e := <-b.infra.began
	b.runs(t, run)
	kill()
	if err := b.DeleteDeployment(t.Context(), "hello"); err != nil {
		t.Fatal(err)
	}
	b.worker(t, "w2", 1)
	go b.endWhenHeldBy(t, "w2", run, e)
	if diff := cmp.Diff([]string{"pending 1", "running 1", "running 1 held", "completed 1"}, states(b.events(t, run))); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestRun_tooLargeForNATSIsRejectedOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	large := json.RawMessage(`"` + strings.Repeat("x", 600<<10) + `"`)
	b.deploy(t, schemas.Deployment{Name: "hello", Command: schemas.Command{"true"}, Parameters: map[string]json.RawMessage{"a": large}})
	b.worker(t, "w1", 1)
	got := b.events(t, b.request(t, `{"parameters": {"b": "`+strings.Repeat("y", 500<<10)+`"}}`))
	if diff := cmp.Diff([]string{"failed 0 rejected"}, states(got)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	m := nats.NewMsg(streams.RunSubject("dev", "default", "hello")) // with headers added, it does not fit any more
	m.Data = []byte(strings.Repeat("z", 1<<20-100))
	if _, err := b.JS.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	b.events(t, "dev-2")
	b.empty(t)
}

func TestWorker_takesFromAQueueThatIsAddedLater(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	b.worker(t, "w1", 1)
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	pool.WorkQueues = []schemas.WorkQueue{{Name: "high", Priority: 1}}
	if _, err := b.UpdatePool(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	r, err := b.Submit(t.Context(), streams.Request{Pool: "dev", Queue: "high", Deployment: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	b.events(t, r.Run)
}

func TestRun_isHeldLongerThanItsAckWait(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Second, nil)
	b.worker(t, "w1", 1)
	b.worker(t, "w2", 1)
	run := b.request(t, "")
	e := <-b.infra.began
	time.AfterFunc(3500*time.Millisecond, func() { e.end(runners.Result{}) })
	got := b.events(t, run)
	if diff := cmp.Diff([]string{"pending 1", "running 1", "completed 1"}, states(got)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if n := len(b.infra.started()); n != 1 {
		t.Errorf("started %d executions, want 1", n)
	}
}

func TestRun_timesOut(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	b.worker(t, "w1", 1)
	got := b.events(t, b.request(t, `{"timeout": 0.2}`))
	if diff := cmp.Diff([]string{"pending 1", "running 1", "failed 1 timed_out"}, states(got)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	select {
	case <-(<-b.infra.began).stopped:
	default:
		t.Error("the execution was not stopped")
	}
}

func TestRun_expiredIsNotStarted(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	run := b.request(t, `{"expires_at": "2020-01-01T00:00:00Z"}`)
	b.worker(t, "w1", 1)
	if diff := cmp.Diff([]string{"failed 0 expired"}, states(b.events(t, run))); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if got := b.infra.started(); len(got) != 0 {
		t.Errorf("started: got %v, want nothing", got)
	}
}

func TestWorker_drainsAndLeavesTheRestToOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	drain, _ := b.worker(t, "w1", 1)
	first, second := b.request(t, ""), b.request(t, "")
	e := <-b.infra.began
	drain()
	e.end(runners.Result{})
	b.events(t, first)
	b.worker(t, "w2", 1)
	(<-b.infra.began).end(runners.Result{})
	if got := b.events(t, second); got[0].Worker != "w2" {
		t.Errorf("second run: got worker %s, want w2", got[0].Worker)
	}
}

func TestWorker_startsNothingWhileThePoolIsPaused(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	pool.Paused = true
	if _, err := b.UpdatePool(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	b.worker(t, "w1", 1)
	run := b.request(t, "")
	select {
	case <-b.infra.began:
		t.Fatal("a run was started in a paused pool")
	case <-time.After(300 * time.Millisecond):
	}
	pool.Paused = false
	if _, err := b.UpdatePool(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	b.events(t, run)
}

func TestRun_neverMoreAtOnceThanThePoolsLimit(t *testing.T) {
	t.Parallel()
	var live, most atomic.Int32
	b := newBench(t, 30*time.Second, func(_ runners.Spec, e *scripted) {
		if n := live.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.AfterFunc(20*time.Millisecond, func() {
			live.Add(-1)
			e.end(runners.Result{})
		})
	})
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	pool.ConcurrencyLimit = 2
	if _, err := b.UpdatePool(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	b.worker(t, "w1", 4)
	b.worker(t, "w2", 4)
	var runs []string
	for range 20 {
		runs = append(runs, b.request(t, ""))
	}
	for _, run := range runs {
		b.events(t, run)
	}
	if got := most.Load(); got != 2 {
		t.Errorf("at most %d runs at once, want 2", got)
	}
}

func TestRun_thatHasEndedIsHeldUntilItsEndIsRecorded(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Second, nil)
	b.worker(t, "w1", 1)
	b.worker(t, "w2", 1)
	run := b.request(t, "")
	e := <-b.infra.began
	b.runs(t, run)
	// The event log has no room for three ack waits.
	stream, err := b.JS.Stream(t.Context(), streams.EventStream)
	if err != nil {
		t.Fatal(err)
	}
	open := stream.CachedInfo().Config
	full := open
	full.MaxBytes, full.Discard = 1, jetstream.DiscardNew
	if _, err := b.JS.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	b.infra.lose(run + ".1") // whoever took the run over now would find nothing and start it again
	e.end(runners.Result{})
	select {
	case <-b.infra.began:
		t.Fatal("the run was started again while its end waited to be recorded")
	case <-time.After(3 * time.Second):
	}
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	if st, err := b.QueueStatuses(t.Context(), pool); err != nil || st[0].Running != 1 || st[0].Redelivered != 0 {
		t.Errorf("queue status: got %+v, %v, want the run held and not delivered again", st, err)
	}
	if _, err := b.JS.UpdateStream(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pending 1", "running 1", "completed 1"}, states(b.events(t, run))); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestWorker_isListedWhenItIsReady(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	b.worker(t, "w1", 3) // returns when it is ready
	got, err := b.Workers(t.Context(), "dev")
	if err != nil || len(got) != 1 || got[0].Name != "w1" || got[0].Slots != 3 || got[0].Status != schemas.WorkerOnline {
		t.Errorf("workers: got %+v, %v, want w1 online with 3 slots", got, err)
	}
}
