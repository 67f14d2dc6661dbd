package docker

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// facts are what an engine says of a job that has ended, and what this worker knows of it.
type facts struct {
	code    int
	oom     bool // the kernel killed a process of it for want of memory
	stopped bool // Weir asked for the end
	engine  bool // the engine was stopping or away as the job ended
	started time.Time
	ended   time.Time
}

// conclude says how a job ended. Docker tells of a signal as shells do, by 128 and its number, and so cannot tell it from a
// program that ends with such a code by itself.
func conclude(f facts) runners.Result {
	r := runners.Result{ExitCode: f.code, Signal: runners.SignalOf(f.code), Started: f.started, Ended: f.ended}
	if r.Ended.Before(r.Started) { // the clocks of two machines, or a job that ended as it started
		r.Ended = r.Started
	}
	switch {
	case f.oom && f.code != 0:
		r.Reason, r.Message = schemas.ReasonOOMKilled, "the kernel killed the job, or a process of it, for want of memory"
	case f.engine && !f.stopped && (r.Signal == "SIGTERM" || r.Signal == "SIGKILL" || f.code == engineCode):
		r.Reason = schemas.ReasonEngineUnreachable
		r.Message = fmt.Sprintf("the engine was stopped or killed, and ended the job (exit code %d)", f.code)
	}
	return r
}

// engineCode is what an engine puts in the place of an exit code that it could not learn.
const engineCode = 255

// oomTime is how long the kernel's word that memory ran out may come after the end of what it has killed.
const oomTime = 300 * time.Millisecond

// learn waits for the job's end and gathers what can be known of it.
func (e *execution) learn(ctx context.Context) (runners.Result, error) {
	select {
	case <-e.died:
	case <-e.lost:
		return runners.Result{}, e.lostFor
	case <-ctx.Done():
		if !isClosed(e.died) {
			return runners.Result{}, errClosed
		}
	}
	if e.exitCode() == 0 { // what else there is to know changes nothing
		return e.withValue(ctx, conclude(facts{started: e.since, ended: e.death.at}))
	}
	c, err := e.inspect(ctx)
	if err != nil && !errors.Is(err, errRemoved) {
		return runners.Result{}, err
	}
	e.mu.Lock()
	f := facts{code: e.death.code, oom: e.oom, stopped: e.stopped, engine: e.death.outage, started: e.since, ended: e.death.at}
	e.mu.Unlock()
	if c != nil && c.State != nil {
		f.oom = f.oom || c.State.OOMKilled
		if s := runners.SignalOf(f.code); s == "SIGKILL" && !f.oom && c.HostConfig != nil && c.HostConfig.Memory > 0 && !f.stopped {
			f.oom = e.awaitOOM(ctx)
		}
	}
	if err != nil && runners.SignalOf(f.code) == "SIGKILL" && !f.stopped && !f.oom { // docker rm -f kills it first
		return runners.Result{}, fmt.Errorf("%w: container %.12s was removed by somebody else", runners.ErrGone, e.id)
	}
	if s := runners.SignalOf(f.code); !f.stopped && !f.oom && !f.engine && (s == "SIGTERM" || s == "SIGKILL") {
		f.engine = e.runner.engine.stopping(ctx)
	}
	return conclude(f), nil
}

// closed tells whether ctx has ended with the runner, and not because the engine was given up.
func closed(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errAway)
}

// exitCode is the job's, once it has died.
func (e *execution) exitCode() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.death.code
}

// errRemoved says that a container that has ended is not there any more, or on its way out, although nobody was done with it.
var errRemoved = errors.New("the container was removed")

// inspect asks for the container. errRemoved: it is not there; nil: nor is the engine.
func (e *execution) inspect(ctx context.Context) (*container.InspectResponse, error) {
	for {
		call, cancel := context.WithTimeout(ctx, callTime)
		c, err := e.runner.engine.api.ContainerInspect(call, e.id, client.ContainerInspectOptions{})
		cancel()
		switch {
		case err == nil && c.Container.State != nil && (c.Container.State.Status == container.StateRemoving || c.Container.State.Dead):
			return nil, errRemoved
		case err == nil:
			return &c.Container, nil
		case errdefs.IsNotFound(err):
			return nil, errRemoved
		case closed(ctx):
			return nil, errClosed
		}
		e.mu.Lock()
		e.death.outage = e.death.outage || unreachable(err)
		e.mu.Unlock()
		if err := e.runner.engine.await(ctx, true); errors.Is(err, errAway) {
			return nil, nil // what the event said has to do
		}
		if !pause(ctx, firstWait) {
			return nil, errClosed
		}
	}
}

func (e *execution) awaitOOM(ctx context.Context) bool {
	for deadline := time.Now().Add(oomTime); time.Now().Before(deadline) && pause(ctx, oomTime/10); {
		e.mu.Lock()
		oom := e.oom
		e.mu.Unlock()
		if oom {
			return true
		}
	}
	return false
}

// withValue adds what the job left in its result file, if it did.
func (e *execution) withValue(ctx context.Context, res runners.Result) (runners.Result, error) {
	if e.result == "" {
		return res, nil
	}
	for {
		value, err := e.readResult(ctx)
		switch {
		case err == nil:
			return take(res, value), nil
		case errdefs.IsNotFound(err):
			if _, err := e.inspect(ctx); errors.Is(err, errRemoved) {
				res.Reason, res.Message = schemas.ReasonResultInvalid, "the container was removed by somebody else before the job's result was read"
			}
			return res, nil
		case closed(ctx):
			return runners.Result{}, errClosed
		case !unreachable(err) || errors.Is(e.runner.engine.await(ctx, true), errAway):
			res.Reason, res.Message = schemas.ReasonResultInvalid, "the result could not be read from the container: "+said(orCause(ctx, err))
			return res, nil
		case !pause(ctx, firstWait):
			return runners.Result{}, errClosed
		}
	}
}

// readResult reads the job's result file, or so much of it that it is seen to be too large.
func (e *execution) readResult(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	archive, err := e.runner.engine.api.CopyFromContainer(ctx, e.id, client.CopyFromContainerOptions{SourcePath: e.result})
	if err != nil {
		return nil, err
	}
	defer archive.Content.Close()
	t := tar.NewReader(archive.Content)
	h, err := t.Next()
	if err != nil {
		return nil, err
	}
	if h.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("%w: %s is no file", errdefs.ErrInvalidArgument, e.result)
	}
	return io.ReadAll(io.LimitReader(t, runners.MaxResult+1))
}

// take puts a result file's content into res.
func take(res runners.Result, value []byte) runners.Result {
	switch {
	case len(value) == 0:
	case len(value) > runners.MaxResult:
		res.Reason = schemas.ReasonResultTooLarge
		res.Message = fmt.Sprintf("the result has more than %d bytes: write it to a file or object store and return its name", runners.MaxResult)
	case !json.Valid(value):
		res.Reason, res.Message = schemas.ReasonResultInvalid, "the result file does not hold valid JSON"
	default:
		res.Value = value
	}
	return res
}
