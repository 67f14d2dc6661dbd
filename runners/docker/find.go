package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// foundError says that an execution's container has run before.
type foundError struct{ container *container.InspectResponse }

func (*foundError) Error() string { return "the container has been started before" }

// started tells whether a container runs, or has.
func started(c *container.InspectResponse) bool {
	return c.State != nil && c.State.Status != container.StateCreated && c.State.Status != container.StateRemoving
}

// Find implements [runners.Runner]. Who asks has the right to the run, or believes so, and takes [runners.ErrGone] for the end of
// the attempt. So when there is no container that has started, there will be none: one that was only created is removed, and its
// start, which may be on its way from a worker that stood still, fails; and where there is none, a tombstone takes its name, so
// that its making fails. Both are the engine's own decision, which comes before or after the other worker's request: before, and
// that fails; after, and a started container is found here, since an engine does not remove one that runs unless it is forced to.
func (r *runner) Find(ctx context.Context, sought runners.Sought) (runners.Execution, error) {
	name, out := sought.Name, sought.Output
	if e := r.holds(name); e != nil {
		return e, nil
	}
	if r.isForgotten(name) {
		return nil, runners.ErrGone
	}
	for wait := firstWait; ; wait = min(2*wait, longestWait) { // an engine takes its time to remove a container
		c, err := r.inspect(ctx, r.containerName(name))
		switch {
		case errdefs.IsNotFound(err):
			switch err := r.bury(ctx, name); {
			case err == nil:
				return nil, runners.ErrGone
			case !errdefs.IsConflict(err): // but where somebody was faster: see who
				return nil, r.notFound(ctx, name, err)
			}
		case err != nil:
			return nil, r.notFound(ctx, name, err)
		case !r.ours(c.Config.Labels):
			return nil, fmt.Errorf("find %s: the name %s is taken by a container that is not Weir's", name, r.containerName(name))
		case c.Config.Labels[labelTombstone] != "":
			return nil, runners.ErrGone
		case started(c):
			return r.take(c, out), nil
		case c.State.Status == container.StateCreated:
			if err := r.removeUnstarted(ctx, c.ID); err != nil {
				return nil, r.notFound(ctx, name, err)
			}
		}
		if !pause(ctx, wait) {
			return nil, fmt.Errorf("find %s: %w", name, context.Cause(ctx))
		}
	}
}

// notFound says what it means that the engine could not be asked: an engine that was away for too long is gone with all it ran.
func (r *runner) notFound(ctx context.Context, name string, err error) error {
	if unreachable(err) && r.engine.ping(ctx) != nil && r.engine.away() >= r.engine.gone {
		return runners.Because(schemas.ReasonEngineUnreachable, fmt.Errorf("find %s: %w: %w", name, runners.ErrGone, err))
	}
	return fmt.Errorf("find %s: %w", name, err)
}

// take holds a container that another worker has started, or this one before it was restarted.
func (r *runner) take(c *container.InspectResponse, out runners.Output) *execution {
	e := newExecution(r, c.Config.Labels[labelExecution], c.ID)
	e.found, e.image, e.keep, e.result = true, c.Image, parseKeep(c.Config.Labels[labelKeep]), resultFile(c.Config.Env)
	e.since, _ = time.Parse(time.RFC3339Nano, c.State.StartedAt)
	if c.Config.Labels[labelSilent] != "" {
		out = nil
	}
	r.hold(e)
	if ended(c) {
		e.die(deathOf(c, true)) // nobody listened
	} else {
		r.spawn(func(ctx context.Context) { r.look(ctx, e) }) // it may have ended before its events could reach e
	}
	r.spawn(func(ctx context.Context) { e.follow(ctx, out) })
	return e
}

// ended tells whether a container that has started does not run any more.
func ended(c *container.InspectResponse) bool {
	return c.State != nil && (c.State.Status == container.StateExited || c.State.Status == container.StateDead)
}

func deathOf(c *container.InspectResponse, outage bool) death {
	at, err := time.Parse(time.RFC3339Nano, c.State.FinishedAt)
	if err != nil || at.Year() < 2000 {
		at = time.Now()
	}
	return death{code: c.State.ExitCode, at: at, outage: outage}
}

// look asks the engine how a container stands whose end was not told.
func (r *runner) look(ctx context.Context, e *execution) {
	c, err := r.inspect(ctx, e.id)
	switch {
	case errdefs.IsNotFound(err):
		e.lose(fmt.Errorf("%w: container %.12s was removed", runners.ErrGone, e.id))
	case err == nil && ended(c):
		e.die(deathOf(c, false))
	}
}

func (r *runner) inspect(ctx context.Context, idOrName string) (*container.InspectResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	c, err := r.engine.api.ContainerInspect(ctx, idOrName, client.ContainerInspectOptions{})
	if err != nil {
		return nil, err
	}
	if c.Container.Config == nil || c.Container.State == nil {
		return nil, errors.New("the engine says nothing of the container's state")
	}
	return &c.Container, nil
}

// List implements [runners.Lister]: the containers of the pool on this engine, whoever started them.
func (r *runner) List(ctx context.Context) ([]string, error) {
	all, err := r.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var names []string
	for _, c := range all {
		name := c.Labels[labelExecution]
		if c.Labels[labelTombstone] == "" && !kept(c.Names) && c.State != container.StateCreated && !r.isForgotten(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func (r *runner) isForgotten(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.forgotten[name]
}
