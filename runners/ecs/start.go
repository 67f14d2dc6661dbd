package ecs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// errTaken says that the worker's right to the run is not confirmed: another may have it.
var errTaken = errors.New("the right to the run was not confirmed when the task was to be started, so that it was not")

// errStartTimedOut is why a start ended whose time was over.
var errStartTimedOut = errors.New("the task was not running within its start timeout")

// The waits between tries while there is no room, each drawn evenly from 0 to a bound that doubles.
const (
	firstRoomWait = 5 * time.Second
	lastRoomWait  = time.Minute
)

// Start implements [runners.Runner]. It returns once the task has room: its image may still be on its way, which [execution.Begun] tells.
// While ECS is busy, away or has no room it waits, as long as the job's start timeout lets it.
func (r *runner) Start(ctx context.Context, spec runners.Spec) (runners.Execution, error) {
	job, err := parseJob(spec.Job)
	if err != nil {
		return nil, runners.Permanent(schemas.ReasonStartFailed, err)
	}
	if err := r.aws.inRegion(job); err != nil {
		return nil, err
	}
	if e := r.holds(spec.Name); e != nil {
		return e, nil
	}
	ctx, cancel := r.bound(ctx)
	defer cancel()
	if d := job.startTimeout(); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, fmt.Errorf("%w of %s", errStartTimedOut, d))
		defer cancel()
	}
	e, err := r.place(ctx, &spec, job)
	if err == nil {
		return e, nil
	}
	if errors.Is(err, errStartTimedOut) {
		return nil, runners.Permanent(schemas.ReasonStartTimedOut, fmt.Errorf("start %s: %w", spec.Name, err))
	}
	return nil, fmt.Errorf("start %s: %w", spec.Name, err)
}

// place starts the task where there is room for it, trying one kind of capacity after the other, again and again. It waits for credentials
// as well: a worker whose login has run out must not fail all that waits in its pool.
func (r *runner) place(ctx context.Context, spec *runners.Spec, job *Job) (*execution, error) {
	places := job.placements()
	bound := firstRoomWait
	told := ""
	for try := 1; ; {
		e, err := r.placeOnce(ctx, spec, job, places[(try-1)%len(places)], try)
		if err == nil || ctx.Err() != nil {
			return e, err
		}
		_, final := runners.IsPermanent(err)
		_, unready := errors.AsType[*unreadyError](err)
		if final || runners.ReasonOf(err, "") != schemas.ReasonCapacity && !unready {
			return nil, err
		}
		if said := err.Error(); said != told {
			told = said
			tell(spec, runners.Progress{Reason: runners.ReasonOf(err, ""), Message: said + "; it is tried again"})
		}
		if !unready { // only a try that ECS has answered is over
			if try++; (try-1)%len(places) > 0 {
				continue // the next kind may have room
			}
		}
		if stop := sleep(ctx, rand.N(bound)); stop != nil { //nolint:gosec // it only spreads tries
			return nil, fmt.Errorf("%w, after: %w", stop, unmarked{err})
		}
		bound = min(2*bound, lastRoomWait)
	}
}

// placeOnce is one try. Before one that is not the first it looks whether the task runs: whoever has the same run in hand may have found room
// meanwhile, with a number of his own.
func (r *runner) placeOnce(ctx context.Context, spec *runners.Spec, job *Job, at placement, try int) (*execution, error) {
	if try > 1 {
		if e, err := r.lookUp(ctx, spec, job); e != nil || err != nil {
			return e, err
		}
	}
	return r.tryStart(ctx, spec, job, at, try)
}

// unmarked is an error's words, without its reason: the start ended for another one.
type unmarked struct{ err error }

func (u unmarked) Error() string { return u.err.Error() }

// tryStart starts the task at one place, and returns once it has room there.
func (r *runner) tryStart(ctx context.Context, spec *runners.Spec, job *Job, at placement, try int) (*execution, error) {
	d, t, err := r.run(ctx, spec, job, at, try)
	if err != nil {
		return nil, err
	}
	e := r.begin(t, spec, job, d)
	return r.await(ctx, e)
}

// run has ECS run the task. A definition that was taken away meanwhile is made again.
func (r *runner) run(ctx context.Context, spec *runners.Spec, job *Job, at placement, try int) (*definition, *task, error) {
	for again := 0; ; again++ {
		d, err := r.registrar.resolve(ctx, spec, job)
		if err != nil {
			return nil, nil, err
		}
		network, err := r.networks.of(ctx, job, d)
		if err != nil {
			return nil, nil, err
		}
		o := order{system: r.config.System, spec: spec, job: job, definition: d, network: network, place: at, try: try, tags: settingTags(job, d)}
		in, err := o.request()
		if err != nil {
			return nil, nil, err
		}
		t, err := r.runTask(ctx, spec, job, at, in)
		if isInactive(err) && again == 0 {
			if err := r.registrar.forget(ctx, d.arn); err != nil {
				return nil, nil, err
			}
			continue
		}
		return d, t, err
	}
}

// settingTags are what the one who finds the task has to know: see [settings].
func settingTags(job *Job, d *definition) []types.Tag {
	tags := map[string]string{tagContainer: d.container}
	if !job.streams() {
		tags[tagSilent] = "true"
	}
	for name, d := range map[string]time.Duration{tagStartTimeout: job.startTimeout(), tagPoll: job.watchInterval()} {
		if d > 0 {
			tags[name] = strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
		}
	}
	return tagList(tags)
}

// settings are the job's.
func (j *Job) settings(d *definition) settings {
	return settings{container: d.container, silent: !j.streams(), startTimeout: j.startTimeout(), poll: j.watchInterval()}
}

// runTask has ECS run a task, once: the same request with the same token is the same task, however often it is sent. So it is sent until
// ECS has answered. Each time, the worker's right to the run is asked for first.
func (r *runner) runTask(ctx context.Context, spec *runners.Spec, job *Job, at placement, in *ecs.RunTaskInput) (*task, error) {
	held := func(ctx context.Context, in *ecs.RunTaskInput, options ...func(*ecs.Options)) (*ecs.RunTaskOutput, error) {
		if spec.Held != nil && !spec.Held() {
			return nil, errTaken
		}
		return r.aws.ecs.RunTask(ctx, in, options...)
	}
	action := fmt.Sprintf("start the task on %s in cluster %s", clip(at.name), clip(job.cluster()))
	unknown := false
	for {
		out, err := ask(ctx, r.aws, runTask, held, in)
		if err == nil {
			if len(out.Tasks) == 0 {
				return nil, notPlaced(job, at, out.Failures)
			}
			return taskOf(&out.Tasks[0]), nil
		}
		arns, taken := conflicting(err)
		if len(arns) > 0 {
			return r.started(ctx, aws.ToString(in.Cluster), arns[0]) // by another worker, which asked in its own name
		}
		unknown = unknown || taken // it is there, and ECS does not say which one it is
		if unknown = unknown || errors.Is(err, errUnknown); !unknown {
			return nil, r.aws.failed(action, job, err)
		}
		if ctx.Err() != nil || errors.Is(err, errTaken) {
			return r.resolveUnknown(ctx, spec, job, err)
		}
		// ECS refuses now what it may have done before. Where it has not, that is an answer.
		r.log.Warn("it is not known whether ECS has started a task; it is looked for", "execution", spec.Name, "err", err)
		t, known, stop := r.lookForOne(ctx, spec, job)
		switch {
		case t != nil:
			return t, nil
		case stop != nil:
			return r.resolveUnknown(ctx, spec, job, stop)
		case known:
			return nil, r.aws.failed(action, job, err)
		}
	}
}

// unseenWaits are the times between looks for a task that may just have been started.
var unseenWaits = []time.Duration{time.Second, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 28 * time.Second}

// lookForOne looks for a task that may just have been started under the name of spec. known tells whether ECS says, at the end, that there
// is none. One that ended without having run may be that of a try before, so it counts only when no other shows up. An error says that ctx
// has ended.
func (r *runner) lookForOne(ctx context.Context, spec *runners.Spec, job *Job) (last *task, known bool, err error) {
	for _, wait := range unseenWaits {
		if err := sleep(ctx, wait); err != nil {
			return nil, false, err
		}
		tasks, err := r.startedAs(ctx, job.cluster(), spec.Name)
		if err != nil && ctx.Err() == nil {
			r.log.Warn("it is not known whether ECS has started a task; it is looked for again", "execution", spec.Name, "err", err)
		}
		known = err == nil
		if last = foremost(tasks); last != nil && (!last.ended() || last.ran(last.Tags[tagContainer])) {
			break
		}
	}
	return last, known, nil
}

// resolveUnknown looks for a task that may have been started, when it may not be asked for again: it has to be stopped, or left to
// whoever has the run now. why is what ended the start.
func (r *runner) resolveUnknown(ctx context.Context, spec *runners.Spec, job *Job, why error) (*task, error) {
	if errors.Is(why, runners.ErrLetGo) || errors.Is(why, errClosed) {
		return nil, why // the next worker looks for it
	}
	whole, cancel := r.bound(context.WithoutCancel(ctx))
	defer cancel()
	switch t, _, err := r.lookForOne(whole, spec, job); {
	case err != nil:
		return nil, err
	case t != nil:
		return t, nil
	}
	return nil, why
}

// started describes a task that ECS says it has started. Answers may come from before that.
func (r *runner) started(ctx context.Context, cluster, arn string) (*task, error) {
	for began := time.Now(); ; {
		tasks, err := r.describe(ctx, cluster, []string{arn}, true)
		if err != nil {
			return nil, err
		}
		if len(tasks) > 0 {
			return tasks[0], nil
		}
		if time.Since(began) > r.pace.unseen {
			return nil, errLost(arn)
		}
		if err := sleep(ctx, r.pace.first); err != nil {
			return nil, err
		}
	}
}

// lookUp finds what was started under the name of spec and may still run.
func (r *runner) lookUp(ctx context.Context, spec *runners.Spec, job *Job) (*execution, error) {
	tasks, err := r.startedAs(ctx, job.cluster(), spec.Name)
	if err != nil {
		return nil, err
	}
	t := foremost(tasks)
	if t == nil || t.ended() && !t.ran(t.Tags[tagContainer]) {
		return nil, nil
	}
	d, err := r.registrar.resolve(ctx, spec, job)
	if err != nil {
		return nil, err
	}
	return r.await(ctx, r.begin(t, spec, job, d))
}

// begin holds a task that was started, and says so.
func (r *runner) begin(t *task, spec *runners.Spec, job *Job, d *definition) *execution {
	e := newExecution(r, spec.Name, job.cluster(), t, job.settings(d))
	e.roomed, e.reads = make(chan struct{}), true
	if held := r.hold(e); held != e {
		return held
	}
	e.see(t)
	e.mu.Lock()
	e.seen = false // other answers may still come from before it was started
	e.mu.Unlock()
	out := spec.Output
	if e.silent {
		out = nil
	}
	e.read(out, d.log(), 0)
	if !isClosed(e.over) {
		e.watcher.add(e, time.Now().Add(r.pace.first))
	}
	tell(spec, runners.Progress{ID: e.arn, Details: e.Details()})
	return e
}

// await returns e once it has room. What never ran is an error, with its reason. When ctx ends, the task is stopped.
func (r *runner) await(ctx context.Context, e *execution) (*execution, error) {
	e.mu.Lock()
	roomed := e.roomed
	e.mu.Unlock()
	if roomed != nil {
		select {
		case <-roomed:
		case <-ctx.Done():
			return r.undo(ctx, e)
		}
	}
	if isClosed(e.over) && !isClosed(e.begun) {
		r.release(e)
		return nil, e.err
	}
	return e, nil
}

// undoTime is how long a start that is called off waits for its task to stop: as long as containers may take on Fargate, twice. What ECS has
// not stopped by then is left to whoever has the run next: a worker has to be able to end.
const undoTime = 5 * time.Minute

// undo ends what a start has begun, unless the worker only goes and leaves it to the next one. A job that runs by now is no start any more.
func (r *runner) undo(ctx context.Context, e *execution) (*execution, error) {
	why := context.Cause(ctx)
	if errors.Is(why, runners.ErrLetGo) || errors.Is(why, errClosed) {
		r.release(e)
		return nil, why
	}
	if isClosed(e.begun) {
		return e, nil
	}
	words := stoppedRun + e.name + ": " + why.Error()
	if errors.Is(why, errStartTimedOut) {
		words = e.tooLate(e.known().Status)
		why = fmt.Errorf("%w: it was %s; task %s", why, e.known().Status, e.arn)
	}
	whole, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), undoTime, fmt.Errorf("%w: ECS did not stop task %s within %s", runners.ErrLetGo, e.arn, undoTime))
	defer cancel()
	err := e.stop(whole, words)
	r.release(e)
	switch {
	case whole.Err() != nil:
		return nil, context.Cause(whole)
	case err != nil && !errors.Is(err, runners.ErrGone):
		return nil, err
	}
	return nil, why
}

// tell says how far a start has come.
func tell(spec *runners.Spec, p runners.Progress) {
	if spec.Tell != nil {
		spec.Tell(p)
	}
}
