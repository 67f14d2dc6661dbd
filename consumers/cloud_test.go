package consumers_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/weir-run/weir/runners"
)

// cloud is infrastructure whose tasks outlive workers, take their time until they run, and are known by IDs of its own.
type cloud struct {
	script func(ctx context.Context, s runners.Spec, t *task) error // what Start does once there is a task; nil: nothing
	began  chan *task

	mu     sync.Mutex
	tasks  map[string]*task // under mu
	starts []string         // names in the order they were started; under mu
	sought []runners.Sought // under mu
}

// task is an execution of a cloud.
type task struct {
	spec    runners.Spec
	begun   chan struct{}
	over    chan struct{} // closed when it is known to have ended
	ended   chan struct{} // closed when it is known how
	stopped chan struct{} // closed when it is told to stop
	once    struct{ begin, finish, end, stop, look sync.Once }
	looked  func()         // called when its details are first asked for; nil: nothing is
	unseen  bool           // its begin is not heard of before its end
	result  runners.Result // once it has ended
	err     error          // once it has ended
}

// newCloud puts a cloud under the bench's pool.
func (b *bench) newCloud(t *testing.T, script func(ctx context.Context, s runners.Spec, t *task) error) *cloud {
	c := &cloud{script: script, began: make(chan *task, 1000), tasks: map[string]*task{}}
	b.kind = runners.Type{
		Name: "process", Template: b.infra.poolType().Template, // the name of the bench's pool
		New: func(context.Context, runners.Config) (runners.Runner, error) { return c, nil },
	}
	t.Cleanup(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, task := range c.tasks {
			task.end(runners.Result{}, nil)
		}
	})
	return c
}

var (
	_ runners.Placed      = (*cloud)(nil)
	_ runners.Provisioned = (*task)(nil)
	_ runners.Described   = (*task)(nil)
	_ runners.Drained     = (*task)(nil)
)

func (c *cloud) Place(json.RawMessage) string { return "region/today" }
func (c *cloud) Reaches(string) bool          { return true }
func (c *cloud) Close() error                 { return nil }

func (c *cloud) Start(ctx context.Context, s runners.Spec) (runners.Execution, error) {
	c.mu.Lock()
	e := c.tasks[s.Name]
	found := e != nil
	if !found {
		e = &task{spec: s, begun: make(chan struct{}), over: make(chan struct{}), ended: make(chan struct{}), stopped: make(chan struct{})}
		c.tasks[s.Name] = e
		c.starts = append(c.starts, s.Name)
	}
	c.mu.Unlock()
	if found {
		return e, nil
	}
	c.began <- e
	if c.script != nil {
		if err := c.script(ctx, s, e); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (c *cloud) Find(_ context.Context, s runners.Sought) (runners.Execution, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sought = append(c.sought, s)
	if e := c.tasks[s.Name]; e != nil {
		return e, nil
	}
	return nil, runners.ErrGone
}

// lose makes the cloud forget a task.
func (c *cloud) lose(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tasks, name)
}

func (c *cloud) started() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.starts...)
}

// next is the task that is started next.
func (c *cloud) next(t *testing.T) *task {
	t.Helper()
	select {
	case e := <-c.began:
		return e
	case <-time.After(patience):
		t.Fatalf("no task is started within %s", patience)
		return nil
	}
}

func (e *task) begin() { e.once.begin.Do(func() { close(e.begun) }) }

// finish is the job's end, whose output is still on its way.
func (e *task) finish() { e.once.finish.Do(func() { close(e.over) }) }

func (e *task) end(r runners.Result, err error) {
	e.once.end.Do(func() {
		e.finish()
		e.result, e.err = r, err
		close(e.ended)
	})
}

func (e *task) Over() <-chan struct{} { return e.over }

func (e *task) ID() string { return "task-of-" + e.spec.Name }

var never = make(chan struct{})

func (e *task) Begun() <-chan struct{} {
	if e.unseen {
		select {
		case <-e.ended:
			return e.ended
		default:
			return never // whoever waits for it hears of the end first, as one may to whom both come at once
		}
	}
	return e.begun
}

func (e *task) Details() json.RawMessage {
	if e.looked != nil {
		e.once.look.Do(e.looked)
	}
	return json.RawMessage(`{"task":"` + e.ID() + `"}`)
}

func (e *task) Wait(ctx context.Context) (runners.Result, error) {
	select {
	case <-e.ended:
		return e.result, e.err
	case <-ctx.Done():
		return runners.Result{}, ctx.Err()
	}
}

// Stop ends it as a cloud does: one that never ran has no exit code.
func (e *task) Stop(context.Context, time.Duration) error {
	e.once.stop.Do(func() { close(e.stopped) })
	select {
	case <-e.begun:
		e.end(runners.Result{ExitCode: 143, Signal: "SIGTERM"}, nil)
	default:
		e.end(runners.Result{}, runners.Because("stopped_by_user", context.Canceled))
	}
	return nil
}
