package ecs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// finder looks for tasks on behalf of many who ask at the same time: when a worker is lost, all its runs are looked for at once, and ECS
// answers some twenty calls a second.
type finder struct {
	runner *runner

	mu        sync.Mutex
	questions map[string][]*question // by cluster; under mu
}

// question is one execution that is looked for.
type question struct {
	name   string
	arn    string // the task's, if it is known; else it is looked for by its name
	answer chan answer
}

type answer struct {
	tasks []*task
	err   error
}

// gatherTime is how long the first question waits for others, to be asked with them.
const gatherTime = 50 * time.Millisecond

// fewNames are looked for one by one; for more, all tasks of the pool are listed once.
const fewNames = 10

// find returns the task of that ARN; without one, the tasks that were started under that name.
func (f *finder) find(ctx context.Context, cluster, name, arn string) ([]*task, error) {
	q := &question{name: name, arn: arn, answer: make(chan answer, 1)}
	f.mu.Lock()
	first := len(f.questions[cluster]) == 0
	f.questions[cluster] = append(f.questions[cluster], q)
	f.mu.Unlock()
	if first {
		f.runner.spawn(func(ctx context.Context) { f.gather(ctx, cluster) })
	}
	select {
	case a := <-q.answer:
		return a.tasks, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// gather answers the questions that have come until now.
func (f *finder) gather(ctx context.Context, cluster string) {
	_ = sleep(ctx, gatherTime)
	ctx, cancel := context.WithTimeout(ctx, findTime) // nobody waits for longer
	defer cancel()
	f.mu.Lock()
	questions := f.questions[cluster]
	delete(f.questions, cluster)
	f.mu.Unlock()
	var known, named []*question
	for _, q := range questions {
		if q.arn != "" {
			known = append(known, q)
		} else {
			named = append(named, q)
		}
	}
	var asking sync.WaitGroup
	for batch := range slices.Chunk(known, describedAtOnce) {
		asking.Go(func() { f.byARN(ctx, cluster, batch) })
	}
	if len(named) > fewNames {
		f.byPool(ctx, cluster, named)
	} else {
		for _, q := range named {
			asking.Go(func() {
				tasks, err := f.runner.startedAs(ctx, cluster, q.name)
				q.answer <- answer{tasks, err}
			})
		}
	}
	asking.Wait()
}

func (f *finder) byARN(ctx context.Context, cluster string, batch []*question) {
	var arns []string
	for _, q := range batch {
		arns = append(arns, q.arn)
	}
	tasks, err := f.runner.describe(ctx, cluster, arns, true)
	if _, refused := errors.AsType[*types.InvalidParameterException](err); refused && len(batch) > 1 {
		f.byARN(ctx, cluster, batch[:len(batch)/2]) // one of them is none for ECS, such as another account's
		f.byARN(ctx, cluster, batch[len(batch)/2:])
		return
	}
	for _, q := range batch {
		a := answer{err: err}
		for _, t := range tasks {
			if t.ARN == q.arn {
				a = answer{tasks: []*task{t}}
			}
		}
		q.answer <- a
	}
}

// byPool looks for names among all tasks of the pool. Where not all of them were shown, who is not among them is looked for alone.
func (f *finder) byPool(ctx context.Context, cluster string, named []*question) {
	tasks, all, err := f.runner.pool(ctx, cluster)
	by := map[string][]*task{}
	for _, t := range tasks {
		by[t.Tags[tagExecution]] = append(by[t.Tags[tagExecution]], t)
	}
	var asking sync.WaitGroup
	for _, q := range named {
		found := by[q.name]
		if err != nil || all || slices.ContainsFunc(found, func(t *task) bool { return !t.ended() }) {
			q.answer <- answer{found, err}
			continue
		}
		asking.Go(func() {
			tasks, err := f.runner.startedAs(ctx, cluster, q.name)
			q.answer <- answer{tasks, err}
		})
	}
	asking.Wait()
}
