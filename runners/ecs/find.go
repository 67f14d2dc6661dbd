package ecs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// findTime bounds the search for an execution: the run's request waits for it, and is given to another worker when that takes too long.
const findTime = 7 * time.Second

// findWaits are the times between looks for a task that ECS does not show. Who looks does so an ack wait after whoever started it was
// heard of last, which is far longer than ECS needs as a rule.
var findWaits = []time.Duration{0, 2 * time.Second, 4 * time.Second}

// foundTime is how long the looks have to span that prove that there is nothing, where ECS is too busy for more of them.
const foundTime = 2 * time.Second

// Find implements [runners.Runner]. Who asks has the right to the run, or believes so, and takes [runners.ErrGone] for the end of the
// attempt. ECS cannot be told that a task must not be started any more. So a worker asks for its right to the run at the last moment
// before it starts one, stops one whose run has gone on, and what is left of one that was killed right then is stopped by whoever lists
// the pool's tasks next: see [runner.Forget].
func (r *runner) Find(ctx context.Context, sought runners.Sought) (runners.Execution, error) {
	if e := r.holds(sought.Name); e != nil {
		return e, nil
	}
	if r.isForgotten(sought.Name) {
		return nil, runners.ErrGone
	}
	ctx, cancel := context.WithTimeoutCause(ctx, findTime, errors.New("ECS did not answer in time"))
	defer cancel()
	ctx, end := r.bound(ctx)
	defer end()
	e, err := r.find(ctx, sought)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", sought.Name, err)
	}
	return e, nil
}

func (r *runner) find(ctx context.Context, sought runners.Sought) (*execution, error) {
	if elsewhere, err := r.elsewhere(ctx, sought.Place); err != nil {
		return nil, err
	} else if elsewhere {
		return nil, errElsewhere(sought.Place)
	}
	_, _, cluster := splitPlace(sought.Place)
	if cluster == "" {
		cluster = clusterOf(sought.ID)
	}
	var first, last time.Time // of the looks that were answered
	for _, wait := range findWaits {
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
		asked := time.Now()
		t, err := r.search(ctx, cluster, sought)
		switch {
		case err == nil && t != nil:
			return r.take(cluster, t, sought), nil
		case ctx.Err() != nil && last.Sub(first) >= foundTime && !isTask(sought.ID):
			return nil, runners.ErrGone
		case isClusterGone(err):
			if isTask(sought.ID) {
				if err := r.identity.own(ctx, sought.ID); err != nil {
					return nil, err
				}
			}
			return nil, runners.Because(schemas.ReasonExecutionLost, &lostError{"there is no cluster " + clusterName(cluster) + " any more"})
		case err != nil:
			return nil, err
		}
		if last = asked; first.IsZero() {
			first = asked
		}
	}
	if !isTask(sought.ID) {
		return nil, runners.ErrGone
	}
	// It was there. An answer that says otherwise for so long is believed, but what it is wrong about must not run beside the next attempt.
	switch err := r.stopTask(ctx, cluster, sought.ID, stoppedOvertook+sought.Name); {
	case isTaskGone(err):
		return nil, errLost(sought.ID)
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("ECS did not describe task %s and yet knew it: it is being stopped", sought.ID)
}

// search looks once. A task that is recorded and may run is the one; otherwise another may have been started after it.
func (r *runner) search(ctx context.Context, cluster string, sought runners.Sought) (*task, error) {
	var tasks []*task
	var err error
	if isTask(sought.ID) {
		if tasks, err = r.finder.find(ctx, cluster, sought.Name, sought.ID); err != nil {
			return nil, err
		}
		if t := foremost(tasks); t != nil && (!t.ended() || t.ran(t.Tags[tagContainer])) {
			return t, nil
		}
	}
	others, err := r.finder.find(ctx, cluster, sought.Name, "")
	if err != nil {
		return nil, err
	}
	return foremost(append(tasks, others...)), nil
}

// foremost chooses among the tasks of one execution the one that counts: one that runs, or did; of those that never had room the last.
func foremost(tasks []*task) *task {
	if len(tasks) == 0 {
		return nil
	}
	return slices.MaxFunc(tasks, func(a, b *task) int {
		if alive, other := !a.ended(), !b.ended(); alive != other {
			return sign(alive)
		}
		if ran, other := a.ran(a.Tags[tagContainer]), b.ran(b.Tags[tagContainer]); ran != other {
			return sign(ran)
		}
		return a.CreatedAt.Compare(b.CreatedAt)
	})
}

func sign(first bool) int {
	if first {
		return 1
	}
	return -1
}

// startedAs returns the tasks that were started under an execution's name, running and stopped.
func (r *runner) startedAs(ctx context.Context, cluster, name string) ([]*task, error) {
	by := startedBy(r.config.System, r.config.Pool, name)
	var arns []string
	for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		found, _, err := r.list(ctx, &ecs.ListTasksInput{Cluster: aws.String(clusterName(cluster)), StartedBy: aws.String(by), DesiredStatus: status}, allPages)
		if err != nil {
			return nil, err
		}
		arns = append(arns, found...)
	}
	slices.Sort(arns)
	var tasks []*task
	for some := range slices.Chunk(slices.Compact(arns), describedAtOnce) {
		found, err := r.describe(ctx, cluster, some, true)
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			if t.StartedBy == by {
				tasks = append(tasks, t)
			}
		}
	}
	return tasks, nil
}

// list returns the ARNs of the tasks that in asks for, of as many pages as are wanted, and whether those are all. AWS's text says that startedBy must be the only filter, and ECS takes the status
// with it all the same. Should it not any more, running tasks are asked for by startedBy, since they are what it shows of itself, and of
// stopped ones all: it has those of an hour.
func (r *runner) list(ctx context.Context, in *ecs.ListTasksInput, pages int) (arns []string, all bool, err error) {
	for page := 0; ; {
		if r.onlyFilter.Load() && in.StartedBy != nil {
			if in.DesiredStatus == types.DesiredStatusStopped {
				in.StartedBy = nil
			} else {
				in.DesiredStatus = ""
			}
		}
		out, err := ask(ctx, r.aws, readTasks, r.aws.ecs.ListTasks, in)
		if _, refused := errors.AsType[*types.InvalidParameterException](err); refused && in.StartedBy != nil && in.DesiredStatus != "" && !r.onlyFilter.Load() {
			r.onlyFilter.Store(true)
			continue
		}
		if err != nil {
			return nil, false, r.aws.worded("list the tasks of cluster "+aws.ToString(in.Cluster), aws.ToString(in.Cluster), err)
		}
		arns = append(arns, out.TaskArns...)
		in.NextToken = out.NextToken
		if page++; in.NextToken == nil || page == pages {
			return arns, in.NextToken == nil, nil
		}
	}
}

// take holds a task that another worker has started, or this one before it was restarted.
func (r *runner) take(cluster string, t *task, sought runners.Sought) *execution {
	known := settingsOf(t.Tags)
	if known.container == "" && len(t.Containers) == 1 { // somebody took the tags away
		known.container = t.Containers[0].Name
	}
	e := newExecution(r, sought.Name, cluster, t, known)
	e.reads = true
	if held := r.hold(e); held != e {
		return held
	}
	e.see(t)
	if !isClosed(e.over) {
		e.watcher.add(e, time.Now().Add(r.pace.first))
	}
	r.spawn(func(ctx context.Context) { e.recall(ctx, sought.Output) })
	return e
}

// recall finds out where the output of a task is that was found, and what of it is stored.
func (e *execution) recall(ctx context.Context, out runners.Output) {
	r := e.runner
	d, err := r.definitionOf(ctx, e)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.log.Warn("a task's output is not read: nobody says where it is", "execution", e.name, "task", e.arn, "err", err)
		e.read(nil, nil, 0)
		return
	}
	if e.silent {
		out = nil
	}
	at := d.log()
	if at == nil || out == nil {
		e.read(out, at, 0)
		return
	}
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		position, err := out.Last(ctx)
		if err == nil {
			e.read(out, at, position)
			return
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// definitionOf looks up the definition of a task that was found. It may take as long as the task lives, and a little longer: its end is
// told even if ECS does not know the definition any more, or the worker may not look at it.
func (r *runner) definitionOf(ctx context.Context, e *execution) (*definition, error) {
	began, told := time.Now(), false
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		d, err := r.registrar.described(ctx, &Job{}, e.known().Definition)
		if err == nil {
			own := *d
			own.container = e.container
			return &own, nil
		}
		if isClosed(e.over) && time.Since(began) > r.reader.pace.give {
			return nil, err
		}
		if ctx.Err() == nil && !told {
			told = true
			r.log.Warn("it is not known where a task's output is; it is asked again", "execution", e.name, "err", err)
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// listed is a task that was found by its tags.
type listed struct {
	cluster, arn string
	ended        bool
	at           time.Time // when it was found
}

// listTime bounds a list: a worker that starts, or ends, waits for it, and what it does not know then is delivered again.
const listTime = time.Minute

// List implements [runners.Lister]: the pool's tasks in all clusters that this worker was told of or has used, in this life or before,
// or in the default one if it knows of none.
func (r *runner) List(ctx context.Context) ([]string, error) {
	var names []string
	var failed error
	ctx, cancel := context.WithTimeoutCause(ctx, listTime, errors.New("ECS did not answer in time"))
	defer cancel()
	for _, cluster := range r.clusters() {
		tasks, _, err := r.pool(ctx, cluster)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		switch {
		case isDenied(err): // its runs, if there are any, are delivered again
			r.log.Info("the tasks of a cluster may not be listed", "cluster", cluster, "err", err)
		case err != nil && !isClusterGone(err):
			failed = errors.Join(failed, err) // the other clusters can be told of all the same
		}
		for _, t := range tasks {
			name := t.Tags[tagExecution]
			if r.isForgotten(name) {
				continue
			}
			names = append(names, name)
			r.mu.Lock()
			if known, ok := r.listed[name]; r.held[name] == nil && (!ok || known.ended) {
				r.listed[name] = listed{cluster: cluster, arn: t.ARN, ended: t.ended(), at: time.Now()}
			}
			r.mu.Unlock()
		}
	}
	if len(names) == 0 && failed != nil {
		return nil, failed
	} else if failed != nil {
		r.log.Warn("what runs in some clusters is not known", "err", failed)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// allPages are as many as there are.
const allPages = -1

// fewPages are how many pages, of a hundred tasks, are turned of those that have stopped: ECS shows them for an hour, and after a busy one
// they are tens of thousands.
const fewPages = 10

// pool returns the tasks of this system and pool in a cluster: all that run, of those that have stopped as many as come soon, and whether
// those are all. Others' are told by what they were started by, without their tags.
func (r *runner) pool(ctx context.Context, cluster string) (mine []*task, all bool, err error) {
	prefix := startedByPool(r.config.System, r.config.Pool)
	for status, pages := range map[types.DesiredStatus]int{types.DesiredStatusRunning: allPages, types.DesiredStatusStopped: r.stoppedPages} {
		arns, whole, err := r.list(ctx, &ecs.ListTasksInput{Cluster: aws.String(clusterName(cluster)), DesiredStatus: status}, pages)
		if err != nil {
			return nil, false, err
		}
		if status == types.DesiredStatusStopped {
			all = whole
		}
		for some := range slices.Chunk(arns, describedAtOnce) {
			tasks, err := r.describe(ctx, cluster, some, true)
			if err != nil {
				return nil, false, err
			}
			for _, t := range tasks {
				if strings.HasPrefix(t.StartedBy, prefix) && t.Tags[tagSystem] == r.config.System && t.Tags[tagPool] == r.config.Pool && t.Tags[tagExecution] != "" {
					mine = append(mine, t)
				}
			}
		}
	}
	return mine, all, nil
}

// Survey implements [runners.Surveyor]: the clusters of those places are listed as well.
func (r *runner) Survey(places []string) {
	for _, place := range places {
		if _, _, cluster := splitPlace(place); cluster != "" && r.Reaches(place) {
			r.watcher(cluster)
		}
	}
}

// Forget implements [runners.Forgetter]. ECS itself forgets a task that has ended. One that goes on although its run has gone on without
// it, as after a worker that stood still and was killed right after it had started it, is stopped: two attempts must not be at work.
func (r *runner) Forget(name string) {
	r.mu.Lock()
	e, l := r.held[name], r.listed[name]
	r.forgotten[name] = time.Now()
	delete(r.held, name)
	delete(r.listed, name)
	r.mu.Unlock()
	var end func(context.Context) error
	switch {
	case e != nil && !isClosed(e.over):
		end = func(ctx context.Context) error { return e.stop(ctx, stoppedOvertook+name) }
	case e == nil && l.arn != "" && !l.ended:
		end = func(ctx context.Context) error { return r.stopTask(ctx, l.cluster, l.arn, stoppedOvertook+name) }
	default:
		return
	}
	r.log.Warn("a run has gone on without a task of it, which is stopped", "execution", name)
	r.stops.Add(1)
	r.spawn(func(ctx context.Context) {
		defer r.stops.Done()
		if err := end(ctx); err != nil && !isTaskGone(err) && !errors.Is(err, runners.ErrGone) {
			r.log.Error("a task could not be stopped whose run has gone on without it: stop it by hand", "execution", name, "task", l.arn, "err", err)
		}
	})
}

func (r *runner) isForgotten(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.forgotten[name]
	return ok
}

// clustersFile keeps the names of the clusters that this worker has used, one a line, for its next life.
const clustersFile = "ecs-clusters"

// clusters are those whose tasks can be this pool's, as far as this worker knows.
func (r *runner) clusters() []string {
	var names []string
	r.mu.Lock()
	for name := range r.watchers {
		names = append(names, name)
	}
	r.mu.Unlock()
	if b, err := os.ReadFile(filepath.Join(r.config.Dir, clustersFile)); err == nil {
		names = append(names, strings.Fields(string(b))...)
	}
	if len(names) == 0 {
		names = []string{defaultCluster}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// remember keeps a cluster's name for this worker's next life.
func (r *runner) remember(cluster string) {
	if r.config.Dir == "" {
		return
	}
	path := filepath.Join(r.config.Dir, clustersFile)
	if b, err := os.ReadFile(path); err == nil && slices.Contains(strings.Fields(string(b)), cluster) {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(cluster + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		r.log.Warn("the name of a cluster is not kept; after a restart nobody lists what runs there", "cluster", cluster, "err", err)
	}
}
