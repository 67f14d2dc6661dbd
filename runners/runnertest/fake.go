package runnertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weir-run/weir/runners"
)

// Fake is infrastructure that exists in memory only. It starts what [Fake.Plan] says, counts every start, and outlives the
// runners that are opened on it as a Docker engine outlives workers. It uses no goroutine of its own, no socket and no
// process, so that it works inside a testing/synctest bubble.
type Fake struct {
	// Plan says what the job of a spec does. nil: every job runs until it is released. It is set before the first start.
	Plan func(spec runners.Spec) Plan

	mu     sync.Mutex
	jobs   map[string]*fakeJob
	starts []Started
	more   chan struct{} // closed and replaced at each start and end
}

// Plan is what one job does. The zero Plan runs until it is released or stopped.
type Plan struct {
	Refuse  error          // Start answers it, and nothing is started
	Lines   []Line         // its output, all at the start
	After   time.Duration  // ends by itself after so long, as Result says; 0: not by itself
	Done    bool           // has ended, as Result says, before Start returns
	Result  runners.Result // how it ends
	Ignores time.Duration  // how long it takes to end after the polite signal; the grace's end ends it at once
}

// Started is one start that took place.
type Started struct {
	Spec  runners.Spec
	Begun time.Time
	Ended time.Time // zero while it runs
}

type fakeJob struct {
	fake   *Fake
	plan   Plan
	index  int // in starts
	ended  bool
	gone   bool
	result runners.Result
	done   chan struct{}
	timer  *time.Timer
	lease  *time.Timer
}

// NewFake returns infrastructure on which nothing runs.
func NewFake() *Fake { return &Fake{jobs: map[string]*fakeJob{}, more: make(chan struct{})} }

// Open returns a worker's runner. Closing it, or forgetting it as a killed worker would, leaves the jobs running.
func (f *Fake) Open() runners.Runner { return fakeRunner{f} }

// Starts returns every start that took place, in order.
func (f *Fake) Starts() []Started {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Started(nil), f.starts...)
}

// Count returns how often name was started.
func (f *Fake) Count(name string) (n int) {
	for _, s := range f.Starts() {
		if s.Spec.Name == name {
			n++
		}
	}
	return n
}

// Overlaps returns the runs of which two attempts ran at once.
func (f *Fake) Overlaps() (runs []string) {
	starts := f.Starts()
	for i, a := range starts {
		for _, b := range starts[i+1:] {
			if a.Spec.Run == b.Spec.Run && (a.Ended.IsZero() || b.Begun.Before(a.Ended)) {
				runs = append(runs, a.Spec.Run)
			}
		}
	}
	return runs
}

// Await returns once name has been started.
func (f *Fake) Await(ctx context.Context, name string) error {
	for {
		f.mu.Lock()
		_, ok := f.jobs[name]
		more := f.more
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("await start of %s: %w", name, context.Cause(ctx))
		}
	}
}

// Release ends name with result. It tells whether name was running.
func (f *Fake) Release(name string, result runners.Result) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jobs[name]
	return j != nil && j.end(result)
}

// Vanish loses name and how it ended, as a machine that burns does. It tells whether name was there.
func (f *Fake) Vanish(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jobs[name]
	if j == nil {
		return false
	}
	j.gone = true
	j.end(runners.Result{})
	delete(f.jobs, name)
	return true
}

// signal wakes who awaits a start. The caller holds f.mu.
func (f *Fake) signal() {
	close(f.more)
	f.more = make(chan struct{})
}

// end ends the job once. The caller holds the fake's lock.
func (j *fakeJob) end(result runners.Result) bool {
	if j.ended {
		return false
	}
	started := &j.fake.starts[j.index]
	started.Ended = time.Now()
	result.Started, result.Ended = started.Begun, started.Ended
	j.ended, j.result = true, result
	for _, timer := range []*time.Timer{j.timer, j.lease} {
		if timer != nil {
			timer.Stop()
		}
	}
	close(j.done)
	j.fake.signal()
	return true
}

// endAfter ends the job after d unless it ends before.
func (j *fakeJob) endAfter(d time.Duration, result runners.Result) *time.Timer {
	return time.AfterFunc(d, func() {
		j.fake.mu.Lock()
		defer j.fake.mu.Unlock()
		j.end(result)
	})
}
