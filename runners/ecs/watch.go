package ecs

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// pace is how often tasks are looked at.
type pace struct {
	first   time.Duration // between looks at a task in whose life something has just happened
	longest time.Duration // between looks at one that has been as it is for long
	gap     time.Duration // between two calls for one cluster, at least, while it has few tasks
	missing time.Duration // for how long ECS has to say that there is no such task until that is believed
	unseen  time.Duration // the same of one that it has just started: answers may come from before
	events  time.Duration // between looks while events tell what happens: a stopped task is forgotten an hour later
}

// watchPace gives the end of a job within a twentieth of the time that it took, and within 10 s.
var watchPace = pace{
	first: time.Second, longest: 10 * time.Second, gap: time.Second, missing: time.Minute, unseen: 5 * time.Minute, events: 50 * time.Minute,
}

// interval is the time until the next look at a task whose phase began so long ago. most is the job's own word, or 0.
func (p *pace) interval(age, most time.Duration) time.Duration {
	longest := p.longest
	if most > 0 {
		longest = min(most, p.events) // or its end would be forgotten before the next look
	}
	return max(min(age/20, longest), p.first)
}

// fewTasks is how many tasks of a cluster are looked at with one call every gap. More tasks make more calls, by so many each.
const fewTasks = 1500

// between is the time from one call to the next for a cluster with n tasks.
func (p *pace) between(n int) time.Duration {
	if n <= fewTasks {
		return p.gap
	}
	return p.gap * fewTasks / time.Duration(n)
}

// describedAtOnce is how many tasks ECS describes in one call.
const describedAtOnce = 100

// looksAtOnce is how many calls of one cluster are under way at once: an answer may take longer than the time to the next.
const looksAtOnce = 4

// watcher looks at all tasks of one cluster that this runner holds. It has one goroutine for all of them, while there are any.
type watcher struct {
	runner  *runner
	cluster string // as the job names it; not empty
	wake    chan struct{}

	mu      sync.Mutex
	on      bool                  // the goroutine is there; under mu
	tasks   map[string]*execution // by ARN; under mu
	queue   dueQueue              // those that are not being looked at now; under mu
	failing bool                  // ECS refuses to tell, and somebody was told so; under mu
	trusted bool                  // events tell what happens; under mu
}

// dueQueue orders executions by the time of their next look.
type dueQueue []*execution

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements [heap.Interface].
func (q *dueQueue) Push(x any) {
	e := x.(*execution)
	e.place = len(*q)
	*q = append(*q, e)
}

// Pop implements [heap.Interface].
func (q *dueQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.place = -1
	return e
}

// add has a task looked at from now on, first at that time.
func (w *watcher) add(e *execution, first time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tasks[e.arn] != nil {
		return
	}
	w.tasks[e.arn] = e
	e.due = first
	heap.Push(&w.queue, e)
	w.start()
}

// start starts the goroutine, or wakes it. The caller has mu.
func (w *watcher) start() {
	if !w.on {
		w.on = true
		w.runner.spawn(w.run)
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// drop ends the looks at a task.
func (w *watcher) drop(e *execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tasks[e.arn] != e {
		return
	}
	delete(w.tasks, e.arn)
	if e.place >= 0 {
		heap.Remove(&w.queue, e.place)
	}
}

// hurry makes the next look at a task come soon: something is about to happen to it.
func (w *watcher) hurry(e *execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.hurried = time.Now()
	if w.tasks[e.arn] != e || e.place < 0 { // it is being looked at, and the next look is planned after that
		return
	}
	if soon := time.Now().Add(w.runner.pace.first); soon.Before(e.due) {
		e.due = soon
		heap.Fix(&w.queue, e.place)
		w.start()
	}
}

// find is the task of that ARN, if it is held.
func (w *watcher) find(arn string) *execution {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tasks[arn]
}

// run looks at tasks when they are due, as long as there are any.
func (w *watcher) run(ctx context.Context) {
	var looks sync.WaitGroup
	defer looks.Wait()
	slots := make(chan struct{}, looksAtOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var next time.Time // no call before that
	for {
		wait, n := w.wait(next)
		if n == 0 {
			return
		}
		timer.Reset(wait)
		select {
		case <-w.wake:
			continue
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		batch := w.take(time.Now())
		if len(batch) == 0 {
			<-slots
			continue
		}
		next = time.Now().Add(w.runner.pace.between(n))
		looks.Go(func() {
			defer func() { <-slots }()
			w.look(ctx, batch)
		})
	}
}

// wait is the time until the next look, and for how many tasks. 0 tasks: the goroutine is not needed any more, and counts as ended.
func (w *watcher) wait(next time.Time) (time.Duration, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tasks) == 0 {
		w.on = false
		return 0, 0
	}
	if len(w.queue) == 0 { // all are being looked at, which wakes this when it is done
		return time.Hour, len(w.tasks)
	}
	due := w.queue[0].due
	if next.After(due) {
		due = next
	}
	return time.Until(due), len(w.tasks)
}

// take gives the tasks of the next call: those that are due, and those that will be soon, which then need no call of their own.
func (w *watcher) take(now time.Time) []*execution {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || w.queue[0].due.After(now) {
		return nil
	}
	var batch []*execution
	for soon := now.Add(w.runner.pace.longest / 2); len(w.queue) > 0 && len(batch) < describedAtOnce && !w.queue[0].due.After(soon); {
		batch = append(batch, heap.Pop(&w.queue).(*execution))
	}
	return batch
}

// again plans the next look at tasks that have been looked at.
func (w *watcher) again(batch []*execution, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, e := range batch {
		if w.tasks[e.arn] != e {
			continue // it has ended, or was let go
		}
		e.due = e.next(now, w.trusted)
		if err != nil {
			e.due = now.Add(w.runner.pace.longest)
		}
		heap.Push(&w.queue, e)
	}
	w.start()
}

// look asks ECS about some tasks, and tells them.
func (w *watcher) look(ctx context.Context, batch []*execution) {
	arns := make([]string, len(batch))
	for i, e := range batch {
		arns[i] = e.arn
	}
	asked := time.Now()
	tasks, err := w.runner.describe(ctx, w.cluster, arns, false)
	if ctx.Err() != nil {
		return
	}
	gone := isClusterGone(err) && w.runner.identity.own(ctx, arns[0]) == nil // credentials may have come to be another account's
	w.report(err)
	told := make(map[string]*task, len(tasks))
	for _, t := range tasks {
		told[t.ARN] = t
	}
	for _, e := range batch {
		switch t := told[e.arn]; {
		case t != nil:
			if e.see(t) {
				w.untold(t)
			}
			e.limit()
		case err == nil || gone:
			e.missing(ctx, asked)
		}
	}
	w.again(batch, err)
}

// report says once that ECS refuses to tell of a cluster's tasks, and once that it does again. The runs are kept: nothing is known
// against them.
func (w *watcher) report(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil && !w.failing:
		w.runner.log.Warn("ECS does not tell of the tasks of a cluster; their runs are kept, and it is asked again", "cluster", w.cluster, "tasks", len(w.tasks), "err", err)
	case err == nil && w.failing:
		w.runner.log.Info("ECS tells of the tasks of the cluster again", "cluster", w.cluster, "tasks", len(w.tasks))
	}
	w.failing = err != nil
}

// lateEvent is how much later than a change its event may come.
const lateEvent = time.Minute

// untold notes that a look has found what no event had told. If that is long past, events are not trusted any more: their rule may have
// been taken away.
func (w *watcher) untold(t *task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.trusted && time.Since(t.phase()) > lateEvent {
		w.trusted = false
		w.hurryAll()
		w.runner.log.Warn("the queue of events does not tell what happens to the tasks of a cluster any more; they are looked at in turn. "+
			"See whether its EventBridge rule is still there", "cluster", w.cluster)
	}
}

// trust notes that events tell what happens to the tasks.
func (w *watcher) trust() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trusted = true
}

// distrust has all tasks looked at in turn again: events cannot be read now.
func (w *watcher) distrust() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.trusted {
		return
	}
	w.trusted = false
	w.hurryAll()
}

// hurryAll has all tasks looked at now. The caller has mu.
func (w *watcher) hurryAll() {
	now := time.Now()
	for _, e := range w.queue {
		e.due = now
	}
	if len(w.tasks) > 0 {
		w.start()
	}
}

// describe asks for tasks of a cluster. One that ECS does not know is not among the answers. There may be answers beside an error.
func (r *runner) describe(ctx context.Context, cluster string, arns []string, tags bool) ([]*task, error) {
	in := &ecs.DescribeTasksInput{Cluster: aws.String(clusterName(cluster)), Tasks: arns}
	if tags {
		in.Include = []types.TaskField{types.TaskFieldTags}
	}
	out, err := ask(ctx, r.aws, readTasks, r.aws.ecs.DescribeTasks, in)
	if err != nil {
		return nil, r.aws.worded("describe the tasks of cluster "+clusterName(cluster), clusterName(cluster), err)
	}
	tasks := make([]*task, len(out.Tasks))
	for i := range out.Tasks {
		tasks[i] = taskOf(&out.Tasks[i])
	}
	for _, f := range out.Failures {
		if reason := aws.ToString(f.Reason); reason != "MISSING" {
			return tasks, fmt.Errorf("describe task %s: %s %s", aws.ToString(f.Arn), reason, aws.ToString(f.Detail))
		}
	}
	return tasks, nil
}

// isClusterGone tells whether err says that there is no such cluster: then there are no such tasks either.
func isClusterGone(err error) bool {
	_, gone := errors.AsType[*types.ClusterNotFoundException](err)
	return gone
}
