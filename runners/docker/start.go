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

// errTaken says that another worker has decided that the attempt does not start any more.
var errTaken = errors.New("another worker has taken the run over before its container had started")

// errNoImage says that the image, which was on the engine, is not there any more.
var errNoImage = errors.New("the image was removed")

// errStartTimedOut is why a start ended whose time was over.
var errStartTimedOut = errors.New("the container was not running within start_timeout")

// Start implements [runners.Runner]. While the engine is away it waits, for [goneAfter] at most.
func (r *runner) Start(ctx context.Context, spec runners.Spec) (runners.Execution, error) {
	job, err := parseJob(spec.Job)
	if err != nil {
		return nil, runners.Permanent(schemas.ReasonStartFailed, err)
	}
	if e := r.holds(spec.Name); e != nil {
		return e, nil
	}
	if d := job.startTimeout(); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, fmt.Errorf("%w of %s", errStartTimedOut, d))
		defer cancel()
	}
	e, err := r.start(ctx, &spec, job)
	switch {
	case errors.Is(err, errStartTimedOut):
		return nil, runners.Permanent(schemas.ReasonStartTimedOut, fmt.Errorf("start %s: %w", spec.Name, err))
	case errors.Is(err, errAway):
		return nil, runners.Because(schemas.ReasonEngineUnreachable, fmt.Errorf("start %s: %w", spec.Name, err))
	case err != nil:
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return e, nil
}

// start tries until the engine has said what becomes of the container.
func (r *runner) start(ctx context.Context, spec *runners.Spec, job *Job) (runners.Execution, error) {
	for {
		e, err := r.tryStart(ctx, spec, job)
		if err == nil {
			return e, nil
		}
		if !unreachable(err) || marked(err) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			return nil, err
		}
		// What the engine did before it was gone is found by its name.
		if err := r.engine.await(ctx, true); errors.Is(err, errAway) {
			return nil, err
		}
		if !pause(ctx, firstWait) {
			return r.settle(ctx, spec)
		}
	}
}

// settle finds out what an engine did that was gone before it had answered, when nothing is to be started any more: a container that runs
// is for the asker to end, and where there is none there will be none.
func (r *runner) settle(ctx context.Context, spec *runners.Spec) (runners.Execution, error) {
	if errors.Is(context.Cause(ctx), runners.ErrLetGo) {
		return nil, runners.ErrLetGo // the next one finds it
	}
	whole := context.WithoutCancel(ctx)
	for {
		if err := r.engine.await(whole, true); err != nil {
			return nil, err
		}
		e, err := r.Find(whole, runners.Sought{Name: spec.Name, Output: spec.Output})
		switch {
		case err == nil:
			return e, nil
		case errors.Is(err, runners.ErrGone) && !marked(err):
			return nil, context.Cause(ctx)
		case !unreachable(err):
			return nil, err
		}
		pause(whole, firstWait)
	}
}

// marked tells whether err has its reason already, or is no matter of the engine.
func marked(err error) bool {
	return runners.ReasonOf(err, "") != "" || errors.Is(err, errTaken)
}

// tryStart makes and starts the container once. Whatever fails, no container is left that was made and did not start, and ctx
// ends nothing half-way: a request that an engine has begun is waited for.
func (r *runner) tryStart(ctx context.Context, spec *runners.Spec, job *Job) (*execution, error) {
	if err := r.locate(ctx); err != nil { // the run's events tell where its container is
		return nil, orCause(ctx, err)
	}
	l, err := r.launch(spec, job)
	if err != nil {
		return nil, err
	}
	whole := context.WithoutCancel(ctx)
	id, err := r.createFromImage(ctx, spec, job, l)
	if found, ok := errors.AsType[*foundError](err); ok {
		return r.take(found.container, spec.Output), nil
	} else if err != nil {
		return nil, err
	}
	e := newExecution(r, spec.Name, id)
	e.image, e.keep, e.result = l.image, job.keep(), l.result
	if err := r.ready(whole, id, job, l); err != nil {
		why := r.failure(whole, id, err, createError)
		r.discard(whole, id)
		return nil, why
	}
	if ctx.Err() != nil {
		r.discard(whole, id)
		return nil, context.Cause(ctx)
	}
	r.hold(e)
	e.since = time.Now()
	if err := r.startContainer(whole, id); err != nil {
		r.release(e)
		why := r.failure(whole, id, err, startError)
		if !unreachable(err) {
			r.discard(whole, id)
		}
		return nil, why
	}
	// It runs, although ctx may be over by now: another worker may have found it, so it is for the asker to end.
	r.spawn(func(ctx context.Context) { e.follow(ctx, outputOf(job, spec.Output)) })
	return e, nil
}

// imageTries is how often an image is looked for and brought whose container cannot be made because it has been removed meanwhile, as
// by docker image prune.
const imageTries = 3

// createFromImage makes the container of the image that the job's name stands for now, and notes that in l.
func (r *runner) createFromImage(ctx context.Context, spec *runners.Spec, job *Job, l *launch) (id string, err error) {
	for range imageTries {
		if l.image, err = r.ensureImage(ctx, job, spec.Image); err != nil {
			return "", orCause(ctx, err)
		}
		options, err := request(job, l)
		if err != nil {
			return "", runners.Permanent(schemas.ReasonStartFailed, err)
		}
		if id, err = r.create(ctx, spec, options); !errors.Is(err, errNoImage) {
			return id, err
		}
	}
	return "", runners.Because(schemas.ReasonStartFailed, fmt.Errorf("image %s was removed from the engine before its container was made, %d times on end", job.Image, imageTries))
}

func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// outputOf is where a job's output goes; nil: nowhere.
func outputOf(j *Job, out runners.Output) runners.Output {
	if j.StreamOutput != nil && !*j.StreamOutput {
		return nil
	}
	return out
}

func newExecution(r *runner, name, id string) *execution {
	return &execution{runner: r, name: name, id: id, died: make(chan struct{}), lost: make(chan struct{}), done: make(chan struct{})}
}

// create makes the container. One of that name that has run is a [*foundError]; one that has not is whose start was cut short:
// it is removed, so that whoever may still want to start it fails.
func (r *runner) create(ctx context.Context, spec *runners.Spec, options client.ContainerCreateOptions) (string, error) {
	whole := context.WithoutCancel(ctx)
	for wait := firstWait; ; wait = min(2*wait, longestWait) { // an engine takes its time to remove a container
		call, cancel := context.WithTimeout(whole, callTime)
		made, err := r.engine.api.ContainerCreate(call, options)
		cancel()
		if err == nil {
			for _, w := range made.Warnings {
				r.log.Warn("the engine has something to say of a container", "execution", spec.Name, "warning", w)
			}
			return made.ID, nil
		}
		if errdefs.IsNotFound(err) && r.lacks(ctx, options.Config.Image) {
			return "", errNoImage
		}
		if !errdefs.IsConflict(err) {
			return "", createError(err)
		}
		c, err := r.inspect(whole, options.Name)
		switch {
		case errdefs.IsNotFound(err): // it is gone by now
		case err != nil:
			return "", err
		case !r.ours(c.Config.Labels):
			return "", runners.Permanent(schemas.ReasonStartFailed, fmt.Errorf("the name %s is taken by a container that is not Weir's", options.Name))
		case c.Config.Labels[labelTombstone] != "":
			return "", errTaken
		case started(c):
			return "", &foundError{c}
		case c.State.Status == container.StateCreated:
			if err := r.removeUnstarted(whole, c.ID); err != nil {
				return "", err
			}
		}
		if !pause(ctx, wait) {
			return "", context.Cause(ctx)
		}
	}
}

// ready does what a container needs before it starts.
func (r *runner) ready(ctx context.Context, id string, job *Job, l *launch) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for _, name := range job.Networks[min(1, len(job.Networks)):] {
		if _, err := r.engine.api.NetworkConnect(ctx, name, client.NetworkConnectOptions{Container: id}); err != nil {
			return err
		}
	}
	if len(l.files) == 0 {
		return nil
	}
	_, err := r.engine.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: archiveOf(l.files)})
	return err
}

func (r *runner) startContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := r.engine.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return err
}

// discard removes a container that never ran. What the engine cannot do now is a leftover.
func (r *runner) discard(ctx context.Context, id string) {
	if err := r.removeContainer(ctx, id); err != nil {
		r.log.Warn("a container that did not start is left behind; it is removed later", "container", id, "err", err)
	}
}
