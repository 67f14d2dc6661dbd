package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// reclaimers is how many executions are looked up at once when a worker starts: their leases run.
const reclaimers = 16

// reclaim goes on with what an earlier worker of this name left: jobs that still run, and ends that it did not report. Their
// requests are not delivered again before their leases have run out, so they are held by what the event log says of them. Infrastructure
// that does not answer is not waited for by a worker that is to end: what runs there goes on without it.
func (w *Worker) reclaim(drain, stop context.Context) {
	lister, ok := w.runner.(runners.Lister)
	if !ok {
		return
	}
	if s, ok := w.runner.(runners.Surveyor); ok {
		s.Survey(w.places())
	}
	listing, cancel := context.WithCancel(stop)
	defer cancel()
	if !w.config.kind.EndsWithLease {
		defer context.AfterFunc(drain, cancel)()
	}
	names, err := lister.List(listing)
	if err != nil && drain.Err() != nil {
		return
	} else if err != nil {
		w.Logger.Warn("what an earlier worker left is not known; NATS delivers its runs again", "err", err)
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, reclaimers)
	for _, name := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := w.reclaimOne(stop, name); err != nil {
				w.Logger.Warn("an earlier worker's execution is left to its lease", "execution", name, "err", err)
			}
		})
	}
	wg.Wait()
}

// places are where the runs of what is deployed on the pool are started now.
func (w *Worker) places() []string {
	places := map[string]bool{}
	for _, job := range w.config.jobs() {
		places[w.place(job)] = true
	}
	return slices.Sorted(maps.Keys(places))
}

// reclaimOne takes one execution back, if the run is still at that attempt and in the name of this worker.
func (w *Worker) reclaimOne(stop context.Context, name string) error {
	run, attempt, err := parseExecutionName(name)
	if err != nil {
		return err
	}
	last, err := w.conn.LastEventIn(stop, w.Pool, run)
	if err != nil && !errors.Is(err, streams.ErrNotFound) {
		return err
	}
	if err != nil || last.State.Final() || last.State == schemas.Retrying || last.Attempt > attempt {
		if f, ok := w.runner.(runners.Forgetter); ok {
			f.Forget(name) // the run has gone on without it
		}
		return nil
	}
	if last.Worker != w.Name {
		return nil // another worker holds it
	}
	d, err := w.conn.Held(stop, last.RunEvent)
	if err != nil {
		return err
	}
	if err := d.Renew(stop); err != nil { // before anything else: the lease may have little time left
		return err
	}
	h := &history{last: last.Sequence, attempt: attempt, event: last}
	if err := w.find(stop, d, h); err != nil {
		return err
	}
	w.occupy(stop, d, func(d delivery) error { return w.resume(stop, d, h) })
	return nil
}

// parseExecutionName splits what [executionName] made.
func parseExecutionName(name string) (run string, attempt int, err error) {
	run, number, ok := strings.Cut(name, ".")
	if attempt, err = strconv.Atoi(number); !ok || err != nil {
		return "", 0, fmt.Errorf("execution %q is not named by run and attempt", name)
	}
	return run, attempt, nil
}
