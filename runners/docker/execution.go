package docker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// execution is a container as the worker has it that holds its run.
type execution struct {
	runner *runner
	name   string // the execution's
	id     string // the container's
	image  string // the image's ID
	keep   keep
	polite string // the signal for Stop; empty: what the image wants
	result string // where the job may have left its result
	found  bool   // another worker, or this one before it was restarted, has started it
	since  time.Time

	died chan struct{} // closed when the job is known to have ended
	lost chan struct{} // closed when nothing more will be heard of it
	done chan struct{} // closed when how it ended is known and its receiver has all output

	mu      sync.Mutex
	mute    context.CancelCauseFunc // ends what is asked of the engine about it; set by follow
	death   death                   // how it ended, as far as events tell; set before died is closed
	oom     bool                    // the kernel has killed a process of it for want of memory
	stopped bool                    // somebody asked for the end
	lostFor error                   // why nothing more will be heard; set before lost is closed
	ended   runners.Result
	err     error // why its end is not known; set before done is closed
}

// death is what is known at once of a job's end.
type death struct {
	code   int
	at     time.Time
	outage bool // it was found dead, and nobody had listened or the engine been away: then the engine may have ended it
}

var (
	_ runners.Execution = (*execution)(nil)
	_ runners.Imaged    = (*execution)(nil)
	_ runners.Drained   = (*execution)(nil)
)

// ID implements [runners.Execution]: the container's ID.
func (e *execution) ID() string { return e.id }

// Image implements [runners.Imaged].
func (e *execution) Image() string { return e.image }

// Over implements [runners.Drained].
func (e *execution) Over() <-chan struct{} { return e.died }

// Started implements [runners.Dated].
func (e *execution) Started() time.Time { return e.since }

// Wait implements [runners.Execution].
func (e *execution) Wait(ctx context.Context) (runners.Result, error) {
	select {
	case <-e.done:
		return e.ended, e.err
	case <-ctx.Done():
		return runners.Result{}, context.Cause(ctx)
	}
}

// StopBy implements [runners.Signalled].
func (e *execution) StopBy(signal string) { e.polite = signal }

// Stop implements [runners.Execution]: the signal of StopBy, else the image's stop signal, or SIGTERM, and SIGKILL for the whole container after grace. It
// returns once the engine says that the container does not run. While the engine is away it waits, until that is given up.
func (e *execution) Stop(ctx context.Context, grace time.Duration) error {
	e.mu.Lock()
	e.stopped = true
	e.mu.Unlock()
	if grace > 0 {
		if err := e.signal(ctx, e.polite); err != nil {
			return fmt.Errorf("stop %s: %w", e.name, err)
		}
		select {
		case <-e.died:
			return nil
		case <-e.lost:
			return e.lostFor
		case <-e.done: // the runner was closed
			return e.err
		case <-ctx.Done():
			return fmt.Errorf("stop %s: %w", e.name, context.Cause(ctx))
		case <-time.After(grace):
		}
	}
	if err := e.signal(ctx, "SIGKILL"); err != nil {
		return fmt.Errorf("kill %s: %w", e.name, err)
	}
	select {
	case <-e.died:
		return nil
	case <-e.lost:
		return e.lostFor
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("kill %s: %w", e.name, context.Cause(ctx))
	}
}

// signal sends a signal to the job; empty: the one that its image wants to be stopped with. A job that has ended is not an error, and
// one that is given up gets none any more.
func (e *execution) signal(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := make(chan error, 1)
	e.runner.spawn(func(context.Context) { sent <- e.send(ctx, name) })
	select {
	case err := <-sent:
		return err
	case <-e.lost:
	case <-e.done: // or the runner was closed
	}
	return nil
}

func (e *execution) send(ctx context.Context, name string) error {
	for {
		err := e.trySignal(ctx, name)
		if !unreachable(err) {
			return err
		}
		if err := e.runner.engine.await(ctx, false); err != nil {
			return err
		}
	}
}

func (e *execution) trySignal(ctx context.Context, name string) error {
	if isClosed(e.died) {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	api := e.runner.engine.api
	if name == "" {
		c, err := api.ContainerInspect(call, e.id, client.ContainerInspectOptions{})
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		name = "SIGTERM"
		if err == nil && c.Container.Config != nil && c.Container.Config.StopSignal != "" {
			name = c.Container.Config.StopSignal
		}
	}
	_, err := api.ContainerKill(call, e.id, client.ContainerKillOptions{Signal: name})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // it does not exist, or does not run: what has become of it is told
		e.runner.look(ctx, e)
		return nil
	}
	return err
}

// follow takes the output and learns how the job ended, and makes the end known.
func (e *execution) follow(ctx context.Context, out runners.Output) {
	type end struct {
		runners.Result
		err error
	}
	asking, mute := context.WithCancelCause(ctx)
	defer mute(nil)
	e.mu.Lock()
	e.mute = mute
	e.mu.Unlock()
	learned := make(chan end, 1)
	e.runner.spawn(func(context.Context) {
		res, err := e.learn(asking)
		if isClosed(e.lost) {
			mute(nil) // there is nothing to read any more
		}
		learned <- end{res, err}
	})
	var err error
	if out != nil {
		r := &reader{e: e, out: out}
		if err = r.run(asking); errors.Is(err, errAway) {
			err = r.missing(ctx, err)
		}
	}
	how := <-learned
	if how.err == nil && err != nil {
		how.err = err
	}
	e.ended, e.err = how.Result, how.err
	close(e.done)
}

// die notes that the job has ended. Only the first time counts.
func (e *execution) die(d death) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !isClosed(e.died) {
		e.death = d
		close(e.died)
	}
}

// lose ends an execution of which nothing more will be heard.
func (e *execution) lose(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !isClosed(e.died) && !isClosed(e.lost) {
		e.lostFor = err
		close(e.lost)
	}
}

// giveUp ends an execution whose engine has been away for too long, for the reason err. One whose end is known ends as it did, without
// what else the engine has not told.
func (e *execution) giveUp(err error) {
	e.lose(runners.Because(schemas.ReasonEngineUnreachable, fmt.Errorf("%w: %w", runners.ErrGone, err)))
	e.mu.Lock()
	defer e.mu.Unlock()
	if isClosed(e.died) && e.mute != nil {
		e.mute(err)
	}
}

// ranOut notes that the kernel has killed a process of the job for want of memory.
func (e *execution) ranOut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.oom = true
}

// deathTime is how long an engine that says that a job's output is at its end may take to say that the job is.
const deathTime = time.Second

// awaitDeath waits for the news that the job has ended, and asks when it does not come. false: the job goes on, or it is not known.
func (e *execution) awaitDeath(ctx context.Context) bool {
	select {
	case <-e.died:
		return true
	case <-e.lost:
		return false
	case <-ctx.Done():
		return false
	case <-time.After(deathTime):
	}
	e.runner.look(ctx, e)
	return isClosed(e.died)
}

var errClosed = errors.New("the worker has let its containers go")

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
