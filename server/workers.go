package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// The waits before a worker of a push pool is started again that could not start, or has ended.
const (
	firstPushWait   = time.Second
	longestPushWait = 30 * time.Second
)

// WorkersConfig is what the workers inside a server are made of.
type WorkersConfig struct {
	Conn    *streams.Conn                                                   // to see the pools by; the caller's to close
	Connect func(ctx context.Context, worker string) (*streams.Conn, error) // a connection for one worker, which closes it

	// Claim returns a name for a worker of that pool, the nth that it may have, and its state folder, locked so that no other worker on
	// this machine has them. An error that is [ErrNameTaken] says that one has.
	Claim func(pool schemas.Pool, push bool, n int) (Home, error)

	Types   []runners.Type
	Also    string // a type beside the push types whose pools get a worker each; empty: none
	Slots   int    // of each worker of that type
	Code    string // folder against which entrypoints are resolved
	Version string
	Logger  *slog.Logger

	// Draining is called for each worker of type Also that has started; it returns when drain and ended have ended. nil: nobody cares.
	Draining func(w *consumers.Worker, pool string, drain, stop context.Context, ended <-chan struct{})
}

// ErrNameTaken says that another worker on this machine has a name.
var ErrNameTaken = errors.New("another worker on this machine has the name")

// Home is a worker's name and its state folder.
type Home struct {
	Name, Dir string
	Close     func()
}

// Workers are the workers inside this process: one for each pool of a push type, whose runs nobody else executes, and of one other type
// where that is asked for.
type Workers struct {
	WorkersConfig
	group sync.WaitGroup

	mu      sync.Mutex
	serving map[string]*serving // pools that have their worker, by name; under mu
}

// serving is a pool with a worker.
type serving struct {
	pool  schemas.Pool
	again context.CancelFunc // ends its worker, for one with other settings to follow; nil: it is not a push pool's
}

// NewWorkers makes them. Nothing is started.
func NewWorkers(c WorkersConfig) *Workers {
	return &Workers{WorkersConfig: c, serving: map[string]*serving{}}
}

// Start starts a worker for each pool there is and returns when those of type Also take runs. A worker of a push pool may have to wait
// for its cloud, and is not waited for. stop ends what drain has left of the workers of type Also; those of push pools end with drain.
func (w *Workers) Start(drain, stop context.Context) ([]consumers.Ready, error) {
	pools, err := w.Conn.Pools(drain)
	if err != nil {
		return nil, err
	}
	outcomes := make(chan started, 2*len(pools))
	waited := 0
	for _, p := range pools {
		if w.serve(drain, stop, p, func(s started) { outcomes <- s }) && p.Type == w.Also {
			waited++
		}
	}
	var ready []consumers.Ready
	for range waited {
		s := <-outcomes
		switch {
		case s.err != nil:
			return ready, fmt.Errorf("start a worker for work pool %s: %w", s.pool, s.err)
		case s.ready.Name == "":
			return ready, nil // drained before it was ready
		}
		ready = append(ready, s.ready)
	}
	return ready, nil
}

// started is how the start of a worker of type Also came out.
type started struct {
	pool  string
	ready consumers.Ready // without a name: it has ended before
	err   error
}

// Follow starts a worker for each pool that is created later, until drain ends.
func (w *Workers) Follow(drain, stop context.Context) {
	for drain.Err() == nil {
		err := w.Conn.WatchConfig(drain, make(chan struct{}), func(ch streams.ConfigChange) {
			if ch.PoolRecord != nil {
				w.serve(drain, stop, *ch.PoolRecord, w.sayReady)
			}
		})
		if err == nil || drain.Err() != nil {
			return
		}
		w.Logger.Warn("new pools are not seen; trying again", "err", err)
		select {
		case <-drain.Done():
		case <-time.After(time.Second):
		}
	}
}

// Wait returns when all workers have ended.
func (w *Workers) Wait() { w.group.Wait() }

func (w *Workers) sayReady(s started) {
	if s.ready.Name != "" {
		w.Logger.Info("worker takes runs from a new pool", "worker", s.ready.Name, "pool", s.ready.Pool, "slots", s.ready.Slots)
	}
}

// serve starts the worker of a pool that has none, if it is to have one. said is called when one of type Also takes runs, and when it takes
// none any more.
func (w *Workers) serve(drain, stop context.Context, p schemas.Pool, said func(started)) bool {
	push := w.pushes(p.Type)
	if !push && (w.Also == "" || p.Type != w.Also) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.serving[p.Name]; s != nil {
		if s.again != nil && pushSlots(p) != pushSlots(s.pool) {
			s.again() // what it holds is let go, and found by the one that follows
		}
		return false
	}
	s := &serving{pool: p}
	w.serving[p.Name] = s
	if push {
		var working context.Context
		working, s.again = context.WithCancel(drain)
		w.group.Go(func() {
			defer s.again()
			w.push(working, p)
			w.followed(drain, stop, s)
		})
		return true
	}
	w.group.Go(func() {
		err := w.work(drain, stop, p, 1, func(r consumers.Ready) { said(started{pool: p.Name, ready: r}) })
		if err != nil {
			w.Logger.Error("worker stopped", "pool", p.Name, "err", err)
		}
		said(started{pool: p.Name, err: err})
		w.followed(drain, stop, s)
	})
	return true
}

// followed starts another worker where that of s has ended since its pool has changed: the watch may have brought the new one already.
func (w *Workers) followed(drain, stop context.Context, s *serving) {
	w.mu.Lock()
	delete(w.serving, s.pool.Name)
	w.mu.Unlock()
	now, err := w.Conn.Pool(drain, s.pool.Name)
	if err != nil || drain.Err() != nil {
		return
	}
	if !now.Created.Equal(s.pool.Created) || s.again != nil && pushSlots(now) != pushSlots(s.pool) {
		w.serve(drain, stop, now, w.sayReady)
	}
}

func (w *Workers) pushes(poolType string) bool {
	return slices.ContainsFunc(w.Types, func(t runners.Type) bool { return t.Name == poolType && t.Push })
}

// pushSlots is how many runs of a push pool a server holds at once.
func pushSlots(p schemas.Pool) int {
	if p.ConcurrencyLimit > 0 {
		return min(p.ConcurrencyLimit, consumers.MaxSlots)
	}
	return consumers.MaxSlots
}

// push is a push pool's worker until ctx ends or the pool is gone. One that cannot start is said so once, and started again: its cloud
// may not be reachable, or be configured later.
func (w *Workers) push(ctx context.Context, p schemas.Pool) {
	said, wait, name := "", firstPushWait, 1
	for {
		err := w.work(ctx, ctx, p, name, func(r consumers.Ready) {
			w.Logger.Info("the server executes the runs of a push pool", "pool", r.Pool, "type", r.Type, "worker", r.Name, "slots", r.Slots)
			said, wait = "", firstPushWait
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			w.Logger.Warn("the worker of a push pool was drained: this server executes no more of its runs until it is started again", "pool", p.Name)
			return
		}
		if errors.Is(err, ErrNameTaken) || errors.Is(err, consumers.ErrNameTaken) {
			name++
			continue
		}
		if _, gone := w.Conn.Pool(ctx, p.Name); errors.Is(gone, streams.ErrNotFound) {
			return
		}
		if !errors.Is(err, streams.ErrDeleted) && err.Error() != said { // a pool that is being deleted is gone the next time
			w.Logger.Error("runs of a push pool are not executed; that is tried again and again", "pool", p.Name, "type", p.Type, "err", err)
			said = err.Error()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			wait = min(2*wait, longestPushWait)
		}
	}
}

// work is one worker's life, under the nth name that it may have.
func (w *Workers) work(drain, stop context.Context, p schemas.Pool, n int, ready func(consumers.Ready)) error {
	push := w.pushes(p.Type)
	home, err := w.Claim(p, push, n)
	if err != nil {
		return err
	}
	defer home.Close()
	conn, err := w.Connect(drain, "weir worker "+home.Name)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := consumers.Config{
		Name: home.Name, Pool: p.Name, Slots: w.Slots, Dir: home.Dir, Code: w.Code, Types: w.Types, Version: w.Version, Logger: w.Logger,
	}
	if push {
		c.Slots, c.Push, c.LetGo = pushSlots(p), true, true
	}
	worker, err := consumers.New(conn, c)
	if err != nil {
		return err
	}
	if push || w.Draining == nil {
		return worker.Run(drain, stop, ready)
	}
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { w.Draining(worker, p.Name, drain, stop, ended) })
	err = worker.Run(drain, stop, ready)
	close(ended)
	watch.Wait()
	return err
}
