//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

var workerFaults = []fault{
	{"kill worker", 6, false, killWorker},
	{"lose worker for good", 3, false, loseWorker},
	{"freeze worker past its leases", 6, false, freezeWorker},
	{"freeze a worker and kill another", 4, false, freezeAndKill},
	{"kill supervisor", 4, false, killSupervisor},
	{"kill worker and supervisor", 3, false, killBoth},
	{"drain worker", 2, false, drainWorker},
	{"stop worker at once", 2, false, stopWorker},
	{"kill all workers", 2, false, killAllWorkers},
	{"fill a worker's disk", 2, false, fillWorkerDisk},
	// A frozen supervisor cannot end its jobs when their leases run out, so this is only fair while its worker renews them.
	{"freeze supervisor", 1, true, freezeSupervisor},
}

// away is how long something that was killed stays away: now and then longer than a lease.
func away(r *rand.Rand) time.Duration {
	return pick(r, []time.Duration{100 * time.Millisecond, time.Second, ackWait / 2, 2 * ackWait})
}

func killWorker(ctx context.Context, r *rand.Rand, n *nemesis) error {
	w, d := n.worker(r), away(r)
	if w == nil {
		return nil
	}
	defer w.busy.Unlock()
	n.say("kill -9 worker %s, back under its name after %s", w.name, d)
	w.kill()
	pause(ctx, d)
	return w.start()
}

func loseWorker(ctx context.Context, r *rand.Rand, n *nemesis) error {
	w, d := n.worker(r), away(r)
	if w == nil {
		return nil
	}
	defer w.busy.Unlock()
	if w.disk != nil {
		return nil // its seat keeps the disk
	}
	name := fmt.Sprintf("%s-%d", w.name[:2], int(time.Since(n.began).Milliseconds()))
	n.say("kill -9 worker %s for good, %s comes after %s", w.name, name, d)
	w.kill()
	pause(ctx, d)
	return n.replace(w, name)
}

func freezeWorker(ctx context.Context, r *rand.Rand, n *nemesis) error {
	w, d := n.worker(r), between(r, time.Second, 3*ackWait)
	if w == nil {
		return nil
	}
	defer w.busy.Unlock()
	n.say("freeze worker %s for %s", w.name, d)
	w.freeze()
	defer w.thaw()
	pause(ctx, d)
	return nil
}

// freezeAndKill makes deliveries that are read late: what the killed one held goes to the frozen one, and after another lease to
// a third.
func freezeAndKill(ctx context.Context, r *rand.Rand, n *nemesis) error {
	frozen, killed, d := n.worker(r), n.worker(r), between(r, 2*ackWait, 4*ackWait)
	for _, w := range []*client{frozen, killed} {
		if w != nil {
			defer w.busy.Unlock()
		}
	}
	if frozen == nil || killed == nil {
		return nil
	}
	n.say("freeze worker %s for %s and kill -9 worker %s", frozen.name, d, killed.name)
	frozen.freeze()
	defer frozen.thaw()
	killed.kill()
	pause(ctx, d)
	return killed.start()
}

func killSupervisor(_ context.Context, r *rand.Rand, n *nemesis) error {
	w := n.worker(r)
	if w == nil {
		return nil
	}
	defer w.busy.Unlock()
	n.say("kill -9 the supervisor of %s", w.name)
	w.signalSupervisors(syscall.SIGKILL)
	return nil
}

func (c *client) signalSupervisors(s syscall.Signal) {
	for _, pid := range c.supervisors() {
		_ = syscall.Kill(pid, s) // may have ended
	}
}

func killBoth(ctx context.Context, r *rand.Rand, n *nemesis) error {
	w, d, first := n.worker(r), away(r), r.IntN(2) == 0
	if w == nil {
		return nil
	}
	defer w.busy.Unlock()
	n.say("kill -9 worker %s and its supervisor, back after %s", w.name, d)
	if first {
		w.signalSupervisors(syscall.SIGKILL)
	}
	w.kill()
	w.signalSupervisors(syscall.SIGKILL)
	pause(ctx, d)
	return w.start()
}

func drainWorker(ctx context.Context, r *rand.Rand, n *nemesis) error {
	w, d := n.worker(r), between(r, time.Second, 10*time.Second)
	if w == nil {
		return nil
	}
	defer w.busy.Unlock()
	n.say("TERM worker %s, start it again after %s", w.name, d)
	w.signal(syscall.SIGTERM, true)
	pause(ctx, d)
	w.kill() // if it still drains
	return w.start()
}

func stopWorker(ctx context.Context, r *rand.Rand, n *nemesis) error {
	w, d := n.worker(r), between(r, time.Second, 5*time.Second)
	if w == nil {
		return nil
	}
	defer w.busy.Unlock()
	n.say("TERM worker %s twice, start it again after %s", w.name, d)
	w.signal(syscall.SIGTERM, true)
	pause(ctx, 100*time.Millisecond)
	w.signal(syscall.SIGTERM, true)
	pause(ctx, d)
	w.kill()
	return w.start()
}

func killAllWorkers(ctx context.Context, r *rand.Rand, n *nemesis) error {
	d := away(r)
	var all []*client
	for _, w := range n.workers() {
		if w.busy.TryLock() {
			defer w.busy.Unlock()
			all = append(all, w)
		}
	}
	n.say("kill -9 all %d workers that nothing else is done to, back after %s", len(all), d)
	for _, w := range all {
		w.kill()
	}
	pause(ctx, d)
	for _, w := range all {
		if err := w.start(); err != nil {
			return err
		}
	}
	return nil
}

func fillWorkerDisk(ctx context.Context, r *rand.Rand, n *nemesis) error {
	d := between(r, time.Second, 2*ackWait)
	for _, w := range n.workers() {
		if w.disk == nil {
			continue
		}
		if !w.busy.TryLock() {
			return nil
		}
		defer w.busy.Unlock()
		n.say("fill the disk of worker %s for %s", w.name, d)
		if err := w.disk.fill(); err != nil {
			return err
		}
		pause(ctx, d)
		if err := w.disk.free(); err != nil {
			return err
		}
	}
	return nil
}

func freezeSupervisor(ctx context.Context, r *rand.Rand, n *nemesis) error {
	w, d := n.worker(r), between(r, ackWait/2, 2*ackWait)
	if w == nil {
		return nil
	}
	defer w.busy.Unlock()
	n.say("freeze the supervisor of %s for %s", w.name, d)
	w.signalSupervisors(syscall.SIGSTOP)
	defer w.signalSupervisors(syscall.SIGCONT)
	pause(ctx, d)
	return nil
}
