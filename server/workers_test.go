package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// farm is a NATS with a cloud beside it.
type farm struct {
	*streams.Conn
	*cloud
	url string
}

func newFarm(t *testing.T) *farm {
	t.Helper()
	cfg := config(t.TempDir())
	cfg.HTTPListen = "off"
	s := start(t, cfg)
	conn, err := streams.Connect(t.Context(), streams.Config{Server: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if err := conn.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: cloudBucket}); err != nil {
		t.Fatal(err)
	}
	c, err := openCloud(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &farm{conn, c, s.URL()}
}

// pool makes a pool with a deployment of the same name.
func (f *farm) pool(t *testing.T, p schemas.Pool) {
	t.Helper()
	if _, err := f.CreatePool(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutDeployment(t.Context(), schemas.Deployment{Name: p.Name, Pool: p.Name, Queue: "default", Command: schemas.Command{"true"}}); err != nil {
		t.Fatal(err)
	}
}

func (f *farm) request(t *testing.T, pool string) string {
	t.Helper()
	r, err := f.Submit(t.Context(), streams.Request{Pool: pool, Deployment: pool})
	if err != nil {
		t.Fatal(err)
	}
	return r.Run
}

// until waits for an event of the run, and returns those up to it.
func (f *farm) until(t *testing.T, run, what string, wanted func(schemas.RunEvent) bool) (events []schemas.RunEvent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen := errors.New("seen")
	err := f.WatchRun(ctx, run, func(e streams.Recorded) error {
		if events = append(events, e.RunEvent); wanted(e.RunEvent) {
			return seen
		}
		return nil
	})
	if !errors.Is(err, seen) {
		t.Fatalf("run %s is not %s: %v, %+v", run, what, err, events)
	}
	return events
}

func inState(s schemas.State) func(schemas.RunEvent) bool {
	return func(e schemas.RunEvent) bool { return e.State == s }
}

// end ends a run's first task, and demands that it was started once and that nobody has stopped it.
func (f *farm) end(t *testing.T, run string) {
	t.Helper()
	err := f.change(t.Context(), run+".1", func(r *record) {
		if r.Starts != 1 || r.Stopped {
			t.Errorf("got %+v, want one start and no stop", *r)
		}
		r.Ended = true
	})
	if err != nil {
		t.Fatal(err)
	}
	events := f.until(t, run, "completed", inState(schemas.Completed))
	for _, e := range events {
		if e.Attempt != 1 || e.Crashes+e.Excused != 0 {
			t.Errorf("got %s in attempt %d, want one attempt", e.State, e.Attempt)
		}
	}
}

// workers waits until the pool has those workers and no others.
func (f *farm) workers(t *testing.T, pool string, want ...string) []schemas.Worker {
	t.Helper()
	for limit := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) { // it tells nobody
		workers, err := f.Workers(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, w := range workers {
			names = append(names, w.Name)
		}
		if slices.Equal(names, want) {
			return workers
		}
		if time.Now().After(limit) {
			t.Fatalf("pool %s has workers %v, want %v", pool, names, want)
		}
	}
}

// logged is a log that tests read.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// names are the names that the workers of one machine have.
type names struct {
	mu    sync.Mutex
	dir   string
	taken map[string]bool
}

func (n *names) claim(p schemas.Pool, push bool, nth int) (server.Home, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := fmt.Sprintf("%s-%d", map[bool]string{true: "server", false: "up"}[push], nth)
	if n.taken[p.Name+"/"+name] {
		return server.Home{}, server.ErrNameTaken
	}
	dir := n.dir + "/" + p.Name + "/" + name
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return server.Home{}, err
	}
	n.taken[p.Name+"/"+name] = true
	return server.Home{Name: name, Dir: dir, Close: func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.taken, p.Name+"/"+name)
	}}, nil
}

// serve makes the workers of one server. stop ends them.
func (f *farm) serve(t *testing.T, n *names, more func(*server.WorkersConfig)) (log *logged, stop func()) {
	t.Helper()
	log = &logged{}
	c := server.WorkersConfig{
		Conn: f.Conn, Claim: n.claim, Types: []runners.Type{cloudType(f.url)}, Logger: slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), nil)),
		Connect: func(ctx context.Context, name string) (*streams.Conn, error) {
			return streams.Connect(ctx, streams.Config{Server: f.url, Name: name})
		},
	}
	if more != nil {
		more(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := server.NewWorkers(c)
	if _, err := w.Start(ctx, ctx); err != nil {
		t.Fatal(err)
	}
	var following sync.WaitGroup
	following.Go(func() { w.Follow(ctx, ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		following.Wait()
		w.Wait()
	})
	t.Cleanup(stop)
	return log, stop
}

func newNames(t *testing.T) *names { return &names{dir: t.TempDir(), taken: map[string]bool{}} }

func TestWorkers_executeTheRunsOfPushPools(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.pool(t, schemas.Pool{Name: "first", Type: "cloud:push", ConcurrencyLimit: 3})
	f.pool(t, schemas.Pool{Name: "other", Type: "process"})
	log, _ := f.serve(t, newNames(t), nil)
	if w := f.workers(t, "first", "server-1")[0]; w.Slots != 3 || w.Type != "cloud:push" {
		t.Errorf("got %+v, want as many slots as the pool's limit", w)
	}
	f.pool(t, schemas.Pool{Name: "later", Type: "cloud:push"})
	if w := f.workers(t, "later", "server-1")[0]; w.Slots != consumers.MaxSlots {
		t.Errorf("got %d slots, want %d", w.Slots, consumers.MaxSlots)
	}
	for _, pool := range []string{"first", "later"} {
		run := f.request(t, pool)
		f.until(t, run, "running", inState(schemas.Running))
		f.end(t, run)
	}
	f.workers(t, "other")
	// A limit that changes holds from then on, and costs no run anything.
	run := f.request(t, "first")
	f.until(t, run, "running", inState(schemas.Running))
	p, err := f.Pool(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	p.ConcurrencyLimit = 7
	if _, err := f.UpdatePool(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	f.until(t, run, "held again", func(e schemas.RunEvent) bool { return e.Reason == schemas.ReasonHeld })
	if w := f.workers(t, "first", "server-1")[0]; w.Slots != 7 {
		t.Errorf("got %d slots after the change of the limit, want 7", w.Slots)
	}
	f.end(t, run)
	if err := f.DeletePool(t.Context(), "later"); err != nil {
		t.Fatal(err)
	}
	f.workers(t, "later")
	f.pool(t, schemas.Pool{Name: "later", Type: "cloud:push"})
	f.workers(t, "later", "server-1")
	if n := log.count("level=ERROR"); n > 0 {
		t.Errorf("%d errors are logged", n)
	}
}

// Other workers leave push pools alone.
func TestWorkers_aloneServePushPools(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.pool(t, schemas.Pool{Name: "prod", Type: "cloud:push"})
	w, err := consumers.New(f.Conn, consumers.Config{Name: "w1", Pool: "prod", Types: []runners.Type{cloudType(f.url)}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Run(t.Context(), t.Context(), func(consumers.Ready) {})
	if !errors.Is(err, streams.ErrRefused) || !strings.Contains(err.Error(), "weir server start") {
		t.Errorf("got %v, want it refused with what to do", err)
	}
}

// A server that is stopped lets its runs go, and another holds them at once.
func TestWorkers_letTheirRunsGoWhenTheServerStops(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.pool(t, schemas.Pool{Name: "prod", Type: "cloud:push", AckWait: schemas.Duration(time.Minute)})
	n := newNames(t)
	_, stop := f.serve(t, n, nil)
	f.workers(t, "prod", "server-1")
	run := f.request(t, "prod")
	f.until(t, run, "running", inState(schemas.Running))
	f.serve(t, n, nil)
	f.workers(t, "prod", "server-1", "server-2")
	let := time.Now()
	stop()
	f.until(t, run, "held by the other", func(e schemas.RunEvent) bool { return e.Worker == "server-2" })
	if took := time.Since(let); took > 5*time.Second {
		t.Errorf("the other server held the run after %s", took)
	}
	f.workers(t, "prod", "server-2")
	f.end(t, run)
}

// A cloud that cannot be reached keeps no server from starting. It is said once, and tried again.
func TestWorkers_tryAgainWhileACloudCannotBeReached(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	if err := f.JS.DeleteKeyValue(t.Context(), cloudBucket); err != nil {
		t.Fatal(err)
	}
	f.pool(t, schemas.Pool{Name: "prod", Type: "cloud:push"})
	began := time.Now()
	log, _ := f.serve(t, newNames(t), nil)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the start took %s", took)
	}
	run := f.request(t, "prod")
	const said = "runs of a push pool are not executed"
	for limit := time.Now().Add(patience); log.count(said) == 0; <-time.After(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("nobody has said so")
		}
	}
	<-time.After(4 * time.Second) // it is tried again after one and two more seconds
	if n := log.count(said); n != 1 {
		t.Errorf("it was said %d times, want once", n)
	}
	if _, err := f.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: cloudBucket}); err != nil {
		t.Fatal(err)
	}
	f.until(t, run, "running", inState(schemas.Running))
	f.end(t, run)
}

// childPush, when set, makes the test binary a server beside that NATS: its address, and a folder for the names of its machine.
const childPush = "WEIR_SERVER_TEST_PUSH"

// pushChild serves push pools until its standard input ends.
func pushChild(arg string) int {
	url, dir, _ := strings.Cut(arg, " ")
	conn, err := streams.Connect(context.Background(), streams.Config{Server: url})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	n := &names{dir: dir, taken: map[string]bool{}}
	w := server.NewWorkers(server.WorkersConfig{
		Conn: conn, Types: []runners.Type{cloudType(url)}, Claim: n.claim, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Connect: func(ctx context.Context, name string) (*streams.Conn, error) {
			return streams.Connect(ctx, streams.Config{Server: url, Name: name})
		},
	})
	go w.Follow(context.Background(), context.Background())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// Two servers share a push pool. One is killed with a run in its hands: the other holds it within half a minute, and nothing is started
// again.
func TestWorkers_holdWhatAKilledServerHeld(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	kind := cloudType(f.url)
	f.pool(t, schemas.Pool{Name: "prod", Type: kind.Name, AckWait: schemas.Duration(kind.AckWait)})
	n := newNames(t)
	children := map[string]*exec.Cmd{}
	for i := 1; i <= 2; i++ { // each machine has names of its own: the second finds that the first name is taken
		c := exec.Command(os.Args[0], "-test.run=^$")
		c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s/%d", childPush, f.url, n.dir, i))
		c.Stderr = t.Output()
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close()
			_ = c.Wait()
		})
		children[fmt.Sprintf("server-%d", i)] = c
		f.workers(t, "prod", []string{"server-1", "server-2"}[:i]...)
	}
	run := f.request(t, "prod")
	events := f.until(t, run, "running", inState(schemas.Running))
	holder := events[len(events)-1].Worker
	if err := children[holder].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	f.until(t, run, "held by the other", func(e schemas.RunEvent) bool { return e.Worker != holder })
	took := time.Since(killed)
	t.Logf("the other server held the run %s after the kill", took.Round(time.Millisecond))
	if took > 30*time.Second {
		t.Errorf("the other server held the run after %s, want within 30s", took)
	}
	f.end(t, run)
	if tasks, err := f.kv.Keys(t.Context()); err != nil || !slices.Equal(tasks, []string{run + ".1"}) {
		t.Errorf("got tasks %v, %v, want one", tasks, err)
	}
}
