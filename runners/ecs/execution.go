package ecs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// settings are what an execution needs of its job when it runs. Whoever finds the task reads them from its tags.
type settings struct {
	container    string        // the job's
	silent       bool          // the output is not stored
	startTimeout time.Duration // from the task's creation until it has to run; 0: no limit
	poll         time.Duration // between two looks at most; 0: as the pace says
}

// settingsOf reads them from a task's tags.
func settingsOf(tags map[string]string) settings {
	return settings{container: tags[tagContainer], silent: tags[tagSilent] == "true", startTimeout: seconds(tags[tagStartTimeout]), poll: seconds(tags[tagPoll])}
}

func seconds(s string) time.Duration {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

// execution is a task as the worker has it that holds its run. It has no goroutine, timer or buffer: its cluster's watcher looks at it,
// and the runner's reader takes its output.
type execution struct {
	runner  *runner
	watcher *watcher
	name    string // the execution's
	arn     string // the task's
	settings

	begun chan struct{} // closed when the job runs, or has run
	over  chan struct{} // closed when the task has stopped, or nothing more will be heard of it
	done  chan struct{} // closed when how it ended is known and its receiver has all output

	due     time.Time // of the next look; under watcher.mu
	hurried time.Time // when it was asked for soon; under watcher.mu
	place   int       // in the watcher's queue, -1: not there; under watcher.mu

	mu       sync.Mutex
	task     *task         // as it is known; under mu
	roomed   chan struct{} // closed when it has room, or is over; nil: nobody waits for that; under mu
	deadline time.Time     // until when it has to run; zero: no limit; under mu
	late     bool          // it was not, and is being stopped for it; under mu
	since    time.Time     // when it was first held; under mu
	seen     bool          // ECS has told of it since it was started; under mu
	alive    time.Time     // when it was last told that its containers had not ended, by this machine's clock; under mu
	lacking  time.Time     // since when ECS says that there is no such task; zero: it does not; under mu
	reads    bool          // it has output, and is not over before that is read; under mu
	output   *stream       // nil: there is none, or it is not known yet from where on it is to be read; under mu
	logs     *logTarget    // where its output is; nil: nowhere, or it is not known yet; under mu
	ended    runners.Result
	err      error // why how it ended is not known, or that it never ran; set with ended before over is closed
}

var (
	_ runners.Execution   = (*execution)(nil)
	_ runners.Dated       = (*execution)(nil)
	_ runners.Provisioned = (*execution)(nil)
	_ runners.Described   = (*execution)(nil)
	_ runners.Drained     = (*execution)(nil)
)

func newExecution(r *runner, name string, cluster string, t *task, s settings) *execution {
	e := &execution{
		runner: r, watcher: r.watcher(cluster), name: name, arn: t.ARN, settings: s, place: -1, since: time.Now(),
		begun: make(chan struct{}), over: make(chan struct{}), done: make(chan struct{}),
	}
	if e.container == "" && len(t.Containers) == 1 {
		e.container = t.Containers[0].Name
	}
	if s.startTimeout > 0 {
		from := t.CreatedAt
		if from.IsZero() {
			from = e.since
		}
		e.deadline = from.Add(s.startTimeout)
	}
	return e
}

// ID implements [runners.Execution]: the task's ARN.
func (e *execution) ID() string { return e.arn }

// Begun implements [runners.Provisioned].
func (e *execution) Begun() <-chan struct{} { return e.begun }

// Over implements [runners.Drained].
func (e *execution) Over() <-chan struct{} { return e.over }

// Started implements [runners.Dated]: by ECS's clock.
func (e *execution) Started() time.Time { return e.known().StartedAt }

// Details implements [runners.Described].
func (e *execution) Details() json.RawMessage {
	e.mu.Lock()
	t, logs := e.task, e.logs
	e.mu.Unlock()
	return details(e.runner.aws.region, t, e.container, logs)
}

// known is what is known of the task.
func (e *execution) known() *task {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.task
}

// Wait implements [runners.Execution].
func (e *execution) Wait(ctx context.Context) (runners.Result, error) {
	select {
	case <-e.done:
		return e.ended, e.err
	case <-e.runner.closed:
		return runners.Result{}, errClosed
	case <-ctx.Done():
		return runners.Result{}, context.Cause(ctx)
	}
}

// Stop implements [runners.Execution]. ECS sends the containers SIGTERM, or the signal that the image wants, and SIGKILL after the time
// that the task definition says for each (stopTimeout: 30 s unless it says otherwise, on Fargate 120 s at most). Neither the signal nor
// that time can be changed for one task, so grace has no effect, and a second call only asks once more. It returns when ECS says that
// its containers have ended.
func (e *execution) Stop(ctx context.Context, _ time.Duration) error {
	return e.stop(ctx, stoppedRun+e.name)
}

// stop ends the task with these words, of which ECS takes 255 characters.
func (e *execution) stop(ctx context.Context, why string) error {
	ctx, cancel := e.runner.bound(ctx)
	defer cancel()
	if err := e.askStop(ctx, why); err != nil {
		return fmt.Errorf("stop %s: %w", e.name, err)
	}
	e.watcher.hurry(e)
	select {
	case <-e.over:
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", e.name, context.Cause(ctx))
	}
	if errors.Is(e.err, runners.ErrGone) {
		return e.err
	}
	return nil
}

// stopPause is the time until a stop that ECS refuses is asked for again, as when credentials have run out.
const stopPause = 5 * time.Second

// askStop has ECS stop the task, and returns when it has said that it will, or the task is over.
func (e *execution) askStop(ctx context.Context, why string) error {
	for {
		if isClosed(e.over) {
			return nil
		}
		err := e.runner.stopTask(ctx, e.watcher.cluster, e.arn, why)
		if err == nil || isTaskGone(err) {
			return nil // what has become of it is told by the next look
		}
		if ctx.Err() != nil {
			return err
		}
		e.runner.log.Warn("ECS does not stop a task; it is asked again", "execution", e.name, "task", e.arn, "err", err)
		select {
		case <-e.over:
		case <-ctx.Done():
			return err
		case <-time.After(stopPause):
		}
	}
}

// stopTask has ECS stop a task.
func (r *runner) stopTask(ctx context.Context, cluster, arn, why string) error {
	const most = 255 // characters that ECS takes
	_, err := ask(ctx, r.aws, stopTask, r.aws.ecs.StopTask, &ecs.StopTaskInput{
		Cluster: aws.String(clusterName(cluster)), Task: aws.String(arn), Reason: aws.String(why[:min(len(why), most)]),
	})
	if err != nil {
		return r.aws.worded("stop the task", clusterName(cluster), err)
	}
	return nil
}

// isTaskGone tells whether err says that there is no such task (any more).
func isTaskGone(err error) bool {
	_, invalid := errors.AsType[*types.InvalidParameterException](err) // "The referenced task was not found."
	return invalid || isClusterGone(err)
}

// see takes news of the task, and tells whether they were any.
func (e *execution) see(t *task) (news bool) {
	e.mu.Lock()
	known := e.task
	if isClosed(e.over) || known != nil && t.before(known) {
		e.seen, e.lacking = true, time.Time{}
		e.mu.Unlock()
		return false
	}
	news = known == nil || t.Status != known.Status
	e.task, e.seen, e.lacking = e.runner.shared(t), true, time.Time{}
	if t.end().IsZero() {
		e.alive = time.Now()
	}
	if t.ran(e.container) && !isClosed(e.begun) {
		close(e.begun)
	}
	if e.roomed != nil && !t.waits(e.container) && !t.ended() {
		close(e.roomed)
		e.roomed = nil
	}
	e.join()
	e.mu.Unlock()
	if t.ended() {
		e.end(conclude(t, e.container))
	}
	return news
}

// end notes how the execution has ended. What it has written is read to its end before anybody is told.
func (e *execution) end(res runners.Result, err error) {
	e.runner.note(e.arn) // before it is dropped, so that no event finds neither
	e.watcher.drop(e)
	e.mu.Lock()
	if isClosed(e.over) {
		e.mu.Unlock()
		return
	}
	e.ended, e.err = res, err
	close(e.over)
	if e.roomed != nil { // last: who waits for room asks then whether it is over
		close(e.roomed)
		e.roomed = nil
	}
	if err != nil && !errors.Is(err, runners.ErrGone) { // it never ran, and wrote nothing
		e.reads, e.output = false, nil
	}
	e.join()
	reads := e.reads
	e.mu.Unlock()
	if !reads {
		close(e.done)
	}
}

// read has the output read that is there, from that position on. It is called once, where e.reads is set; at is nil where there is none,
// and out where it is not stored: then a result is looked for at its end.
func (e *execution) read(out runners.Output, at *logTarget, position int64) {
	var output *stream
	if at != nil {
		output = e.runner.reader.stream(e, out, at, position)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.logs = at
	if !e.reads {
		return // it has ended without having run
	}
	if e.output = output; output != nil {
		e.join()
		return
	}
	e.reads = false
	if isClosed(e.over) {
		close(e.done)
	}
}

// join has the reader take the output as soon as there is any: a container's log stream is made before it runs. The caller has mu.
func (e *execution) join() {
	switch {
	case e.output == nil:
	case isClosed(e.over):
		end := e.task.end()
		if e.alive.After(end) { // ECS's clock is behind this one
			end = e.alive
		}
		e.runner.reader.finish(e.output, end)
	case isClosed(e.begun) && e.output.out != nil:
		e.runner.reader.join(e.output)
	}
}

// delivered notes that the output is complete, with what it held of the run's result.
func (e *execution) delivered(result *resultReader) {
	if e.err == nil {
		value, err := result.value()
		e.ended.Value = value
		if err != nil && e.ended.Reason == "" && e.ended.ExitCode == 0 {
			e.ended.Reason, e.ended.Message = runners.ReasonOf(err, schemas.ReasonResultInvalid), err.Error()
		}
	}
	close(e.done)
}

// missing notes that ECS, asked at that time, does not know the task. Answers may come from before it was started, so one does not count.
// What is believed to be gone is told to stop all the same: what ECS is wrong about must not run beside the next attempt.
func (e *execution) missing(ctx context.Context, asked time.Time) {
	p := e.runner.pace
	e.mu.Lock()
	if e.lacking.IsZero() {
		e.lacking = asked
	}
	patience, since := p.missing, e.lacking
	if !e.seen {
		patience, since = p.unseen, e.since
	}
	e.mu.Unlock()
	if asked.Sub(since) < patience {
		return
	}
	if err := e.runner.stopTask(ctx, e.watcher.cluster, e.arn, stoppedOvertook+e.name); isTaskGone(err) {
		e.end(runners.Result{}, errLost(e.arn))
	}
}

// errLost is that ECS does not know a task any more.
func errLost(arn string) error {
	return runners.Because(schemas.ReasonExecutionLost, &lostError{"ECS does not know task " + arn + " any more; it forgets a task an hour after its end"})
}

// lostError is [runners.ErrGone] in ECS's words alone: whoever is told puts before it that the execution is gone.
type lostError struct{ text string }

func (e *lostError) Error() string { return e.text }

func (e *lostError) Is(target error) bool { return target == runners.ErrGone }

// next is when to look at it next. With events they tell first.
func (e *execution) next(now time.Time, events bool) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.runner.pace
	phase := e.task.phase()
	if e.hurried.After(phase) {
		phase = e.hurried
	}
	wait := p.interval(now.Sub(phase), e.poll)
	switch {
	case !e.lacking.IsZero():
		wait = p.interval(now.Sub(e.lacking), 0)
	case events && e.seen && now.Sub(e.hurried) > lateEvent:
		wait = p.events
	}
	due := now.Add(wait)
	if !e.deadline.IsZero() && !isClosed(e.begun) && !e.late && e.deadline.Before(due) {
		due = e.deadline
	}
	return due
}

// limit stops a task that had to run by now and does not.
func (e *execution) limit() {
	e.mu.Lock()
	late := !e.late && !e.deadline.IsZero() && !isClosed(e.begun) && !isClosed(e.over) && !time.Now().Before(e.deadline)
	e.late = e.late || late
	status := e.task.Status
	e.mu.Unlock()
	if late {
		e.runner.spawn(func(ctx context.Context) { _ = e.stop(ctx, e.tooLate(status)) })
	}
}

// tooLate are the words for a task that did not run in time.
func (e *execution) tooLate(status string) string {
	return fmt.Sprintf("%s%s, its start timeout: it was %s", stoppedTooLate, e.startTimeout, status)
}

// errClosed says that the worker goes, and its tasks go on.
var errClosed = errors.New("the worker or server has let its tasks go")

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
