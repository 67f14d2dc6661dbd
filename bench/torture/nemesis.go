//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// A nemesis breaks things, one fault after another in each of its lanes, and mends each before the next. Lanes go on beside
// each other; no two of them touch the same thing of the same program. What a lane does follows from the seed alone.
type nemesis struct {
	*system
	requests *requests
	out      io.Writer
	began    time.Time

	// calm is held shared by every fault, and alone by those that are only fair when nothing else is broken.
	calm sync.RWMutex

	mu     sync.Mutex
	counts map[string]int // faults by name; under mu
}

// A fault is something that is broken and mended again within do, which chooses from the given numbers alone.
type fault struct {
	name   string
	weight int
	alone  bool
	do     func(context.Context, *rand.Rand, *nemesis) error
}

// lanes are all that is broken, by what it is done to. Between two faults of a lane there is a pause: a cluster that is never
// whole for long enough to elect its leaders makes no progress, and so tests little.
var lanes = map[string]lane{
	"worker": {4 * time.Second, workerFaults}, "worker2": {10 * time.Second, workerFaults}, "server": {8 * time.Second, serverFaults}, "nats": {16 * time.Second, natsFaults},
	"network": {10 * time.Second, networkFaults}, "clock": {8 * time.Second, clockFaults},
	"cancel": {2 * time.Second, cancelFaults},
}

// A lane is one kind of fault after another.
type lane struct {
	pause  time.Duration // at most, between two of them
	faults []fault
}

func laneNames() []string {
	var all []string
	for name := range lanes {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// run tortures until ctx ends, and returns when all is mended.
func (n *nemesis) run(ctx context.Context, seed uint64, only []string) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(lanes))
	for i, name := range laneNames() {
		if len(only) > 0 && !slices.Contains(only, name) {
			continue
		}
		wg.Go(func() { errs <- n.follow(ctx, rand.New(rand.NewPCG(seed, uint64(100+i))), lanes[name]) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *nemesis) follow(ctx context.Context, r *rand.Rand, l lane) error {
	for {
		pause(ctx, between(r, l.pause/8, l.pause))
		if ctx.Err() != nil {
			return nil
		}
		f := choose(r, l.faults)
		n.mu.Lock()
		n.counts[f.name]++
		n.mu.Unlock()
		if err := n.inflict(ctx, r, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
}

func (n *nemesis) inflict(ctx context.Context, r *rand.Rand, f fault) error {
	if f.alone {
		n.calm.Lock()
		defer n.calm.Unlock()
		pause(ctx, ackWait) // what was broken before is over
	} else {
		n.calm.RLock()
		defer n.calm.RUnlock()
	}
	return f.do(ctx, r, n)
}

func choose(r *rand.Rand, faults []fault) fault {
	sum := 0
	for _, f := range faults {
		sum += f.weight
	}
	at := r.IntN(sum)
	for _, f := range faults {
		if at -= f.weight; at < 0 {
			return f
		}
	}
	return faults[0]
}

// say tells what is being done, with the time since the beginning.
func (n *nemesis) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.out, "%7.1fs  %s\n", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// summary is how often each fault was inflicted.
func (n *nemesis) summary() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for name, count := range n.counts {
		all = append(all, fmt.Sprintf("%s %d", name, count))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// pause waits for d, or until ctx ends: then what is broken is mended sooner.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return (from + time.Duration(r.Int64N(int64(to-from)+1))).Round(time.Millisecond)
}

// worker takes a worker, or nil when another fault has it already.
func (n *nemesis) worker(r *rand.Rand) *client {
	if w := pick(r, n.workers()); w.busy.TryLock() {
		return w
	}
	return nil
}

func pick[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }
