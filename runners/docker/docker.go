// Package docker runs jobs as containers of a Docker Engine, through its API and nothing else: any image, nothing of Weir's in it.
//
// A container outlives its worker. It is named by system, pool, run and attempt, and an engine gives a name once, so an attempt
// has one container, whoever starts it and however often; labels tell what is Weir's, and which Weir's. Whoever holds the run
// finds the container by that name and reads its output from its start, leaving out what is stored.
//
// One stream of events tells of all ends; nothing is asked for in turn. An engine that is away is waited for: see [engine.await].
//
// A worker that was stopped between its claim and the start of the container may go on at any time, when the run has long become
// another's. So whoever looks for an execution and finds none that has started makes sure that none will: it removes the
// container that was only created, and takes its name. See [runner.Find].
package docker

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
)

//go:embed template.json
var template []byte

// Type is the docker pool. The engine is found as the docker CLI finds it, in the worker's environment.
var Type = runners.Type{
	Name:     "docker",
	Summary:  "a container of the worker's Docker Engine",
	Template: template, OwnFiles: true,
	New: func(ctx context.Context, config runners.Config) (runners.Runner, error) {
		log := config.Logger
		if log == nil {
			log = slog.New(slog.DiscardHandler)
		}
		e, err := connect(log)
		if err != nil {
			return nil, err
		}
		return newRunner(ctx, e, config)
	},
	Check: check,
}

// runner is a worker's hold on its containers.
type runner struct {
	config runners.Config
	engine *engine
	log    *slog.Logger
	spawn  func(func(context.Context)) // runs a function in the background until the runner is closed
	end    context.CancelFunc          // ends those
	wg     sync.WaitGroup              // and waits for them

	removals sync.WaitGroup // containers that are being removed

	mu        sync.Mutex
	place     string                // see [placeOf]; under mu
	moved     bool                  // the engine that answers now may be another one than that of place; under mu
	held      map[string]*execution // by the execution's name; under mu
	ids       map[string]*execution // the same by the container's ID, where events go; under mu
	forgotten map[string]bool       // names of those whose containers are being removed; under mu
}

var (
	_ runners.Runner    = (*runner)(nil)
	_ runners.Forgetter = (*runner)(nil)
	_ runners.Lister    = (*runner)(nil)
	_ runners.Placed    = (*runner)(nil)
)

// newRunner waits until the engine answers: a worker that cannot start anything claims nothing.
func newRunner(ctx context.Context, e *engine, config runners.Config) (*runner, error) {
	r := &runner{
		config: config, engine: e, log: e.log, moved: true,
		held: map[string]*execution{}, ids: map[string]*execution{}, forgotten: map[string]bool{},
	}
	for err := errAway; err != nil; {
		if err := e.await(ctx, false); err != nil {
			return nil, fmt.Errorf("wait for the engine at %s: %w", e.api.DaemonHost(), err)
		}
		if err = r.locate(ctx); err != nil && !unreachable(err) {
			return nil, err
		}
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	r.end = end
	r.spawn = func(f func(context.Context)) { r.wg.Go(func() { f(life) }) }
	listening := make(chan struct{})
	r.spawn(func(ctx context.Context) { r.listen(ctx, listening) })
	select {
	case <-listening:
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), r.abandon())
	}
	r.spawn(r.sweep)
	return r, nil
}

// Place implements [runners.Placed].
func (r *runner) Place(json.RawMessage) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.place
}

// Reaches implements [runners.Placed].
func (r *runner) Reaches(place string) bool { return place == r.Place(nil) }

// move notes that the engine went away: what comes back under its address may be another one.
func (r *runner) move() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved = true
}

// locate asks the engine which one it is, if that is not known.
func (r *runner) locate(ctx context.Context) error {
	r.mu.Lock()
	known := !r.moved
	r.mu.Unlock()
	if known {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	info, err := r.engine.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return fmt.Errorf("ask the engine at %s which one it is: %w", r.engine.api.DaemonHost(), err)
	}
	place := placeOf(&info.Info)
	r.mu.Lock()
	before := r.place
	r.place, r.moved = place, false
	r.mu.Unlock()
	if before != "" && before != place {
		r.log.Warn("the Docker engine is another one now; what ran on the one before is not found on it", "place", place, "before", before)
	}
	return nil
}

// placeOf tells one engine from all others: by its ID, the name of its machine and the folder that has its containers. The ID alone
// does not, though it is called unique: machines made from one image have it in that image, and engines of one machine share a file
// of it (until Docker 25).
func placeOf(i *system.Info) string { return i.ID + "@" + i.Name + ":" + i.DockerRootDir }

// closeTime is how long a runner that is closed goes on removing what is done with.
const closeTime = 15 * time.Second

// Close implements [runners.Runner]. Containers go on.
func (r *runner) Close() error {
	removed := make(chan struct{})
	go func() {
		r.removals.Wait()
		close(removed)
	}()
	select {
	case <-removed:
	case <-time.After(closeTime):
		r.log.Warn("containers of ended runs are left to the next worker: the engine does not remove them in time")
	}
	return r.abandon()
}

// abandon ends everything at once.
func (r *runner) abandon() error {
	r.end()
	r.wg.Wait()
	return r.engine.api.Close()
}

// hold makes the events of a container reach e.
func (r *runner) hold(e *execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[e.name], r.ids[e.id] = e, e
	delete(r.forgotten, e.name)
}

// release forgets e.
func (r *runner) release(e *execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, e.id)
	if r.held[e.name] == e {
		delete(r.held, e.name)
	}
}

// holds returns the execution of that name that this runner holds, or nil.
func (r *runner) holds(name string) *execution {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[name]
}
