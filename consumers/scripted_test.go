package consumers_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/runners"
)

// infrastructure is where scripted runners start their executions: it outlives them, as a Docker engine does.
type infrastructure struct {
	mu      sync.Mutex
	execs   map[string]*scripted // under mu
	starts  []string             // names in the order they were started; under mu
	script  func(runners.Spec, *scripted)
	err     error // what Start answers; under mu
	began   chan *scripted
	place   string                     // where its executions are, if workers of other places don't find them; under mu
	runners map[string]*scriptedRunner // each worker's newest; under mu
}

func newInfrastructure(script func(runners.Spec, *scripted)) *infrastructure {
	return &infrastructure{execs: map[string]*scripted{}, runners: map[string]*scriptedRunner{}, script: script, began: make(chan *scripted, 10_000)}
}

// poolType is a kind of pool whose jobs run on i.
func (i *infrastructure) poolType() runners.Type {
	return runners.Type{
		Name:          "process",
		EndsWithLease: true,
		Template:      json.RawMessage(`{"variables": {"type": "object", "properties": {"command": {"type": "string"}, "cpu": {"type": "integer"}}}, "job_configuration": {"command": "{{ command }}", "cpu": "{{ cpu }}"}}`),
		New: func(_ context.Context, c runners.Config) (runners.Runner, error) {
			r := &scriptedRunner{infrastructure: i, worker: c.Worker}
			i.mu.Lock()
			defer i.mu.Unlock()
			i.runners[c.Worker] = r
			return r, nil
		},
	}
}

func (r *scriptedRunner) Place(json.RawMessage) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.place
}

// Reaches is the place of its own only.
func (r *scriptedRunner) Reaches(place string) bool { return place == r.Place(nil) }

// move makes the infrastructure another one's: it was put in the place of the one before, or its machine has got another name.
func (i *infrastructure) move(place string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.place = place
}

// scriptedRunner is one worker's access to the infrastructure.
type scriptedRunner struct {
	*infrastructure
	worker string
	dead   atomic.Bool // its worker was killed: it stops nothing any more
}

// scriptedExecution is an execution as one worker has it.
type scriptedExecution struct {
	*scripted
	runner *scriptedRunner
}

func (e scriptedExecution) Stop(ctx context.Context, grace time.Duration) error {
	if e.runner.dead.Load() {
		return errors.New("the worker is dead")
	}
	return e.scripted.Stop(ctx, grace)
}

func (r *scriptedRunner) Start(ctx context.Context, spec runners.Spec) (runners.Execution, error) {
	e, err := r.infrastructure.start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return scriptedExecution{e, r}, nil
}

func (r *scriptedRunner) Find(_ context.Context, sought runners.Sought) (runners.Execution, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.execs[sought.Name]; e != nil {
		return scriptedExecution{e, r}, nil
	}
	return nil, runners.ErrGone
}

var (
	_ runners.Lister    = (*scriptedRunner)(nil)
	_ runners.Forgetter = (*scriptedRunner)(nil)
)

func (r *scriptedRunner) List(context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for name, e := range r.execs {
		if e.spec.Worker == r.worker {
			names = append(names, name)
		}
	}
	return names, nil
}

func (r *scriptedRunner) Forget(name string) { r.lose(name) }

func (i *infrastructure) start(_ context.Context, spec runners.Spec) (*scripted, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return nil, i.err
	}
	if e := i.execs[spec.Name]; e != nil {
		return e, nil
	}
	e := &scripted{spec: spec, ended: make(chan struct{}), stopped: make(chan struct{}), started: time.Now()}
	i.execs[spec.Name] = e
	i.starts = append(i.starts, spec.Name)
	if i.script != nil {
		i.script(spec, e)
	}
	i.began <- e
	return e, nil
}

func (i *infrastructure) Close() error { return nil }

func (i *infrastructure) started() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string(nil), i.starts...)
}

// lose makes the infrastructure forget an execution, as a machine that was switched off does.
func (i *infrastructure) lose(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.execs, name)
}

func (i *infrastructure) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

// scripted is an execution that ends when the test says so.
type scripted struct {
	spec    runners.Spec
	once    sync.Once
	stop    sync.Once
	ended   chan struct{}
	stopped chan struct{}
	result  runners.Result
	started time.Time
	polite  string
}

func (e *scripted) end(r runners.Result) {
	e.once.Do(func() {
		e.result = r
		close(e.ended)
	})
}

func (e *scripted) ID() string { return "scripted-" + e.spec.Name }

// Image is what the first attempt happened to run, and any that is told to run the same.
func (e *scripted) Image() string {
	if e.spec.Image != "" {
		return e.spec.Image
	}
	return "image-of-" + e.spec.Name
}

func (e *scripted) StopBy(signal string) { e.polite = signal }

func (e *scripted) Started() time.Time { return e.started }

func (e *scripted) Wait(ctx context.Context) (runners.Result, error) {
	select {
	case <-e.ended:
		return e.result, nil
	case <-ctx.Done():
		return runners.Result{}, ctx.Err()
	}
}

func (e *scripted) Stop(context.Context, time.Duration) error {
	e.stop.Do(func() { close(e.stopped) })
	e.end(runners.Result{ExitCode: 143, Signal: "SIGTERM"})
	return nil
}

// kill is the death of the worker that has that name now: it stops nothing any more.
func (i *infrastructure) kill(worker string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if r := i.runners[worker]; r != nil {
		r.dead.Store(true)
	}
}
