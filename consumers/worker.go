// Package consumers is a run's life: pull, claim, execute, hold, report, and what happens when a worker is lost. It reads
// top to bottom in run.go.
package consumers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// MaxSlots is the most runs one worker can hold at once.
const MaxSlots = 10_000

// Config is what a worker is given.
type Config struct {
	Name    string   // one token; a worker restarted under its name finds its executions again
	Pool    string   // the work pool it serves
	Queues  []string // work queues it takes from; empty: all of the pool's
	Slots   int      // runs held at once; 0 means 1
	Dir     string   // state folder, which survives a restart
	Code    string   // folder against which entrypoints are resolved where the deployment's own does not exist here
	Types   []runners.Type
	Version string // of the binary, shown to people

	Once         bool          // take one run, then drain
	IdleExit     time.Duration // drain when no run has been held for so long; 0: never
	DrainTimeout time.Duration // stop the runs that are still held so long after the drain began; 0: wait for them

	// Push is for a server's own worker: it alone takes runs of push pools.
	Push bool

	// LetGo makes the worker end at once when it is stopped, and leave the executions that it holds to whoever takes their runs next, if
	// they are of a type whose executions outlive their worker.
	LetGo bool

	Logger *slog.Logger
}

func (c Config) validate() error {
	if err := schemas.CheckName("worker", c.Name); err != nil {
		return err
	}
	if err := schemas.CheckName("work pool", c.Pool); err != nil {
		return err
	}
	if c.Slots < 0 || c.Slots > MaxSlots {
		return fmt.Errorf("a worker's limit is 1 to %d runs at once, got %d", MaxSlots, c.Slots)
	}
	return nil
}

// A Worker takes runs from one work pool and executes them.
type Worker struct {
	Config
	conn     *streams.Conn
	config   *config
	runner   runners.Runner
	instance string
	home     string
	alone    time.Time // until then another worker may have this one's name without a record that says so
	started  time.Time

	seen      *sightings
	heldEvery time.Duration // how often the state of a run that goes on is recorded again; 0: never

	runs sync.WaitGroup

	mu         sync.Mutex
	held       map[uint64]string   // runs that hold a slot, by their requests' sequence; under mu
	owned      map[string][]*claim // those of them that are claimed or about to be, by run: one may be requested twice at once; under mu
	free       chan struct{}       // a value for each slot that no run holds and nothing is asked for; under mu
	draining   bool                // under mu
	queues     []string            // that are served; under mu
	beat       chan struct{}       // asks for a heartbeat out of turn
	lastRecord uint64              // sequence of the record that this worker wrote last; used by whoever writes the next one alone
	wrote      time.Time           // when the last record that NATS has confirmed was sent; under mu
	drain      context.CancelCauseFunc
	halt       context.CancelFunc  // stops the runs that are held, or lets them go
	letsGo     bool                // it is LetGo, of a type for which that means something
	given      []*streams.Delivery //  what was let go, to be given back once nobody takes this worker for the owner any more; under mu
	idle       *time.Timer         // ends the worker that holds nothing; nil: never; under mu
}

// Ready is what a worker says when it starts to take runs.
type Ready struct {
	Name   string        `json:"name"`
	Pool   string        `json:"pool"`
	Type   string        `json:"type"`
	Queues []string      `json:"queues"`
	Slots  int           `json:"slots"`
	Lease  time.Duration `json:"lease"`
}

// New makes a worker. Nothing is started and nothing is asked of NATS before [Worker.Run].
func New(conn *streams.Conn, c Config) (*Worker, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Slots = max(c.Slots, 1)
	if c.Once {
		c.Slots = 1 // what is asked for at once may come at once
	}
	return &Worker{
		Config: c, conn: conn, instance: nuid.Next(), started: time.Now().UTC(),
		held: map[uint64]string{}, owned: map[string][]*claim{}, seen: newSightings(), beat: make(chan struct{}, 1),
	}, nil
}

// Run takes runs until drain ends, then waits for those it holds; when stop ends too, they are stopped and given back. ready
// is called once, when the worker starts to take runs. While NATS cannot be reached it waits. An error says why the worker
// cannot serve its pool.
func (w *Worker) Run(drain, stop context.Context, ready func(Ready)) error {
	drain, w.drain = context.WithCancelCause(drain)
	defer w.drain(nil)
	pool, err := w.findPool(drain)
	if err != nil || drain.Err() != nil {
		return err
	}
	i := slices.IndexFunc(w.Types, func(t runners.Type) bool { return t.Name == pool.Type })
	if i < 0 {
		return fmt.Errorf("work pool %q is of type %q, which this worker cannot serve", pool.Name, pool.Type)
	}
	if w.Types[i].Push && !w.Push {
		return fmt.Errorf("%w: work pool %q is of type %s, whose runs a server executes itself: start no worker for it, but a server, with: weir server start", streams.ErrRefused,
			pool.Name, pool.Type)
	}
	if w.config, err = newConfig(w.Types[i], pool); err != nil {
		return err
	}
	w.letsGo = w.LetGo && !w.Types[i].EndsWithLease
	stop, unstop := w.stopping(stop)
	defer unstop()
	puller, err := w.conn.Puller(pool, w.Queues, w.Slots)
	if err != nil {
		return err
	}
	var system string
	err = w.patiently(drain, func() (err error) {
		if w.heldEvery, err = w.conn.HeldEvery(drain); err == nil {
			system, err = w.conn.System(drain)
		}
		return err
	})
	if drain.Err() != nil {
		return nil
	} else if err != nil {
		return err
	}
	w.runner, err = w.Types[i].New(drain, runners.Config{
		System: system, Worker: w.Name, Pool: w.Pool, Dir: w.Dir, Code: w.Code, Logger: w.Logger, Lock: w.lock, Peers: peers{w},
	})
	if err != nil && drain.Err() != nil {
		return nil // it was waiting for its infrastructure
	}
	if err != nil {
		return fmt.Errorf("start the %s runner: %w", pool.Type, err)
	}
	defer func() {
		if err := w.runner.Close(); err != nil {
			w.Logger.Warn("runner did not close", "err", err)
		}
	}()

	alive, die := context.WithCancel(context.WithoutCancel(stop))
	var background sync.WaitGroup
	defer w.giveAllBack()
	defer background.Wait()
	defer die()
	watched := make(chan struct{})
	background.Go(func() {
		w.config.watch(alive, w.conn, watched, func(err error) { w.Logger.Warn("pool and deployments are not watched", "err", err) })
	})
	select {
	case <-watched:
	case <-drain.Done():
		return nil
	}
	unheed, err := w.heed()
	if err != nil {
		return err
	}
	defer unheed()
	unsee, err := w.seen.listen(drain, w.conn, w.Pool)
	if err != nil {
		return err
	}
	defer unsee()
	if err := w.takeName(drain); err != nil || drain.Err() != nil {
		return err
	}
	service, err := w.register(alive)
	if err != nil {
		w.Logger.Warn("worker is not registered as a NATS service", "err", err)
	} else {
		defer func() { _ = service.Stop() }()
	}
	w.serves(puller.Queues())
	// No lease begins before the first record is confirmed, and whoever reads that the worker is ready finds it listed.
	for w.writeRecord(alive); w.recorded().IsZero() && drain.Err() == nil; w.writeRecord(alive) {
		pause(drain, firstWait)
	}
	if why := context.Cause(drain); errors.Is(why, ErrNameTaken) {
		return why
	}
	background.Go(func() { w.heartbeat(alive) })
	background.Go(func() { takeCancels(alive, w.conn, w.Pool, w.Logger) })
	w.reclaim(drain, stop)
	if drain.Err() == nil {
		ready(Ready{Name: w.Name, Pool: pool.Name, Type: pool.Type, Queues: puller.Queues(), Slots: w.Slots, Lease: pool.Lease()})
	}
	w.watchIdle()
	err = w.pull(drain, stop)
	w.mu.Lock()
	w.draining = true
	w.mu.Unlock()
	w.poke()
	if why := context.Cause(drain); errors.Is(why, errOnce) || errors.Is(why, errIdle) || errors.Is(why, errRequested) {
		w.Logger.Info("worker drains: "+why.Error(), "runs", w.Held())
	}
	if w.DrainTimeout > 0 {
		defer time.AfterFunc(w.DrainTimeout, w.halt).Stop()
	}
	w.runs.Wait()
	if flushErr := w.conn.NC.FlushTimeout(time.Second); flushErr != nil {
		w.Logger.Debug("last acknowledgements may be lost; their requests are delivered again and found to be final", "err", flushErr)
	}
	if why := context.Cause(drain); errors.Is(why, ErrNameTaken) {
		return why
	}
	return err
}

// stopping is stop with a cause that says what becomes of the runs that are held.
func (w *Worker) stopping(stop context.Context) (context.Context, context.CancelFunc) {
	why := errStopped
	if w.letsGo {
		why = runners.ErrLetGo
	}
	held, halt := context.WithCancelCause(context.WithoutCancel(stop))
	w.halt = func() { halt(why) }
	forget := context.AfterFunc(stop, w.halt)
	return held, func() {
		forget()
		w.halt()
	}
}

// setUpTime is how long a NATS that is not set up is given: a server may be about to.
const setUpTime = 5 * time.Second

// findPool waits for NATS and returns the pool's record.
func (w *Worker) findPool(ctx context.Context) (schemas.Pool, error) {
	connected := w.conn.NC.StatusChanged(nats.CONNECTED)
	defer w.conn.NC.RemoveStatusListener(connected)
	said := false
	var bare time.Time // when NATS was first found not to be set up
	for {
		if w.conn.NC.IsConnected() {
			err := w.conn.Check(ctx)
			var pool schemas.Pool
			if err == nil {
				pool, err = w.conn.Pool(ctx, w.Pool)
			}
			switch {
			case errors.Is(err, streams.ErrNotSetUp) && bare.IsZero():
				bare = time.Now()
			case errors.Is(err, streams.ErrNotSetUp) && time.Since(bare) < setUpTime:
			case err == nil || w.conn.NC.IsConnected() && !streams.Temporary(err):
				return pool, err
			}
		}
		if !said {
			what := "NATS cannot be reached yet; the worker starts when it can"
			if !bare.IsZero() {
				what = "NATS is not set up yet; the worker waits a little for that"
			}
			w.Logger.Info(what, "server", w.conn.URL())
			said = true
		}
		select {
		case <-connected:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return schemas.Pool{}, nil
		}
	}
}

// patiently asks what NATS does not answer while it is away, until it does or ctx ends.
func (w *Worker) patiently(ctx context.Context, ask func() error) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := ask()
		if err == nil || !streams.Temporary(err) || w.conn.NC.IsClosed() {
			return err
		}
		if wait == firstWait {
			w.Logger.Warn("NATS does not answer; the worker starts when it does", "server", w.conn.URL(), "err", err)
		}
		if !pause(ctx, wait) {
			return err
		}
	}
}

// pull takes deliveries while the pool is neither paused nor gone, each into a goroutine of its own.
func (w *Worker) pull(drain, stop context.Context) error {
	for drain.Err() == nil {
		pool, exists, changed := w.config.current()
		if !exists {
			return fmt.Errorf("work pool %q was deleted", w.Pool)
		}
		puller, err := w.conn.Puller(pool, w.Queues, w.Slots)
		if err != nil {
			return err
		}
		w.serves(puller.Queues())
		if pool.Paused {
			w.Logger.Info("pool is paused: nothing new is started; resume it with: weir work-pool resume " + w.Pool)
			w.sitOut(drain, stop, pool, puller, changed)
			continue
		}
		open, end := context.WithCancel(drain)
		var watch sync.WaitGroup
		watch.Go(func() { w.endWhenChanged(open, end, pool) })
		err = puller.Run(open, w.freeSlots(), func(d *streams.Delivery) { w.take(stop, d) })
		end()
		watch.Wait()
		if err != nil {
			return err
		}
	}
	return nil
}

// endWhenChanged ends the pulling when the pool is paused or deleted, or its queues change.
func (w *Worker) endWhenChanged(ctx context.Context, end func(), began schemas.Pool) {
	for {
		pool, exists, changed := w.config.current()
		if pool.Paused || !exists || !slices.Equal(pool.Queues(), began.Queues()) {
			end()
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// sitOut waits until the pool changes. A pause stops new starts, never recovery: what a worker loses meanwhile is taken over.
func (w *Worker) sitOut(drain, stop context.Context, pool schemas.Pool, puller *streams.Puller, changed <-chan struct{}) {
	paused, end := context.WithCancel(drain)
	defer end()
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		afterLosses(paused, w.conn, pool, w.Logger, func() error {
			lost, err := w.conn.Lost(paused, pool)
			if err != nil {
				return err
			}
			w.mu.Lock()
			lost = min(lost, w.Slots-len(w.held))
			w.mu.Unlock()
			return puller.Redelivered(paused, lost, func(d *streams.Delivery) { w.take(stop, d) })
		})
	})
	select {
	case <-changed:
	case <-drain.Done():
	}
	end()
}

// freeSlots counts the free slots anew: what was asked for before and not delivered is not asked for any more.
func (w *Worker) freeSlots() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free = make(chan struct{}, w.Slots)
	for range w.Slots - len(w.held) {
		w.free <- struct{}{}
	}
	return w.free
}

// take gives a delivery its slot and runs it.
func (w *Worker) take(stop context.Context, d *streams.Delivery) {
	w.occupy(stop, d, func(d delivery) error { return w.run(stop, d) })
}

// occupy gives a delivery a slot while do deals with it. What do has not settled when the worker lets its runs go is given back.
func (w *Worker) occupy(stop context.Context, d *streams.Delivery, do func(delivery) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, mine := w.held[d.Sequence]; mine {
		w.offer() // this worker's own run, delivered again: whoever holds it renews it
		return
	}
	w.held[d.Sequence] = d.Run
	if w.idle != nil {
		w.idle.Stop()
	}
	if w.Once {
		w.drain(errOnce)
	}
	w.runs.Go(func() {
		release := sync.OnceFunc(func() { w.release(d.Sequence) })
		defer release()
		switch err := do(delivery{d, release}); {
		case err == nil || errors.Is(err, streams.ErrOvertaken):
		case letGo(stop):
			w.give(d)
		default:
			w.Logger.Warn("run is not settled; NATS delivers it again", "run", d.Run, "deployment", d.Deployment, "err", err)
		}
	})
}

// release gives a run's slot back.
func (w *Worker) release(sequence uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.held, sequence)
	w.offer()
	if w.idle != nil && len(w.held) == 0 {
		w.idle.Reset(w.IdleExit)
	}
}

// offer puts a slot up for the next request, unless the worker holds more than it has slots, as one may that was restarted
// with fewer. mu is held.
func (w *Worker) offer() {
	select {
	case w.free <- struct{}{}:
	default:
	}
}

// A delivery is a request and the slot it holds. free gives the slot back; a second call does nothing.
type delivery struct {
	*streams.Delivery
	free func()
}

// Held returns how many runs the worker holds.
func (w *Worker) Held() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.held)
}

// ackWait is the pool's: how long a lease lasts without renewal.
func (w *Worker) ackWait() time.Duration {
	pool, _, _ := w.config.current()
	return pool.Lease()
}

// logState writes the lines that a run leaves in the worker's log: one when it ends or something went wrong, the steps of a
// good one at debug only. Three lines a run were a sixth of a busy worker's CPU; the events tell the same.
func (w *Worker) logState(e schemas.RunEvent) {
	level := slog.LevelDebug
	if e.State.Final() || e.Reason != "" {
		level = slog.LevelInfo
	}
	if !w.Logger.Enabled(context.Background(), level) {
		return
	}
	attrs := []any{"run", e.Run, "state", e.State, "deployment", e.Deployment, "attempt", e.Attempt}
	if e.Reason != "" {
		attrs = append(attrs, "reason", e.Reason, "message", e.Message)
	}
	w.Logger.Log(context.Background(), level, "run is "+string(e.State), attrs...)
}
