package consumers

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// A Keeper is what a server does for runs while no worker looks after them: it carries out cancel requests, records those as
// failed that were not started in time, and finds those that the last worker of a pool has lost. Workers do without it, and
// several share the work: each step is decided by compare-and-set.
type Keeper struct {
	conn  *streams.Conn
	types []runners.Type
	log   *slog.Logger
	name  string

	pools map[string]*kept // of known types; used by the watch alone
	group sync.WaitGroup
}

// kept is a pool that the keeper looks after.
type kept struct {
	pool schemas.Pool
	end  context.CancelFunc
}

// keeperPrefix makes a name that no worker can have: what a worker of the keeper's name has would count as the keeper's own, and
// that has nothing.
const keeperPrefix = "server:"

// NewKeeper makes one. name is the server's, such as its host's: its events say server:name of who wrote them.
func NewKeeper(conn *streams.Conn, name string, types []runners.Type, log *slog.Logger) *Keeper {
	return &Keeper{conn: conn, name: keeperPrefix + name, types: types, log: log, pools: map[string]*kept{}}
}

// Run keeps until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	defer k.group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x := newExpiries(k.conn, k.name, k.log)
	k.group.Go(func() { x.run(ctx) })
	for ctx.Err() == nil {
		ready := make(chan struct{})
		err := k.conn.WatchConfig(ctx, ready, func(ch streams.ConfigChange) {
			if ch.Pool != "" {
				k.apply(ctx, ch.Pool, ch.PoolRecord, x)
			}
			x.apply(ch)
		})
		if err != nil && ctx.Err() == nil {
			k.log.Warn("pools are not watched; that is tried again", "err", err)
			pause(ctx, longestWait)
		}
	}
}

// apply starts to look after a pool that is new, ends it for one that is gone, and starts again for one whose leases or queues
// have changed.
func (k *Keeper) apply(ctx context.Context, name string, p *schemas.Pool, x *expiries) {
	old := k.pools[name]
	if old != nil && p != nil && old.pool.Lease() == p.Lease() && slices.Equal(old.pool.Queues(), p.Queues()) {
		return
	}
	if old != nil {
		old.end()
		delete(k.pools, name)
	}
	if p == nil {
		return
	}
	ctx, end := context.WithCancel(ctx)
	k.pools[name] = &kept{pool: *p, end: end}
	k.group.Go(func() { x.listen(ctx, *p) })
	k.group.Go(func() { takeCancels(ctx, k.conn, name, k.log) })
	i := slices.IndexFunc(k.types, func(t runners.Type) bool { return t.Name == p.Type })
	if i < 0 || !k.types[i].EndsWithLease {
		return // what outlives its worker is found by the next one
	}
	w, err := k.steward(k.types[i], *p)
	if err != nil {
		k.log.Error("lost runs are not looked for", "pool", name, "err", err)
		return
	}
	unsee, err := w.seen.listen(ctx, k.conn, name)
	if err != nil {
		k.log.Warn("workers' records are not listened to; lost runs are found later", "pool", name, "err", err)
	} else {
		context.AfterFunc(ctx, unsee)
	}
	k.group.Go(func() { afterLosses(ctx, k.conn, *p, k.log, func() error { return w.sweep(ctx) }) })
}

// steward is a worker that executes nothing: what it knows is what becomes of a run that another one has lost.
func (k *Keeper) steward(t runners.Type, p schemas.Pool) (*Worker, error) {
	c, err := newConfig(t, p)
	if err != nil {
		return nil, err
	}
	return &Worker{Config: Config{Name: k.name, Pool: p.Name, Logger: k.log}, conn: k.conn, config: c, seen: newSightings()}, nil
}

// sweep settles the runs whose owners are gone.
func (w *Worker) sweep(ctx context.Context) error {
	pool, _, _ := w.config.current()
	lost, err := w.conn.Lost(ctx, pool)
	if err != nil || lost == 0 {
		return err
	}
	puller, err := w.conn.Puller(pool, nil, 1)
	if err != nil {
		return err
	}
	return puller.Redelivered(ctx, lost, func(d *streams.Delivery) {
		if err := w.settle(ctx, delivery{d, func() {}}); err != nil {
			w.Logger.Warn("lost run is not settled; NATS delivers it again", "run", d.Run, "err", err)
		}
	})
}

// settle records what became of a run that its owner lost. One that is nobody's, or to be started, is left to the workers.
func (w *Worker) settle(ctx context.Context, d delivery) error {
	h, err := w.history(ctx, d)
	if err != nil || h.settled {
		return err
	}
	return d.GiveBack(time.Second)
}

// endUnclaimed records a final state of a run that nobody has claimed, and deletes its request. Left behind, that is found
// ended when a worker takes it.
func endUnclaimed(ctx context.Context, conn *streams.Conn, s streams.Stored, o outcome, by string) (schemas.RunEvent, error) {
	e := schemas.RunEvent{
		Run: s.Run, Pool: s.Pool, Queue: s.Queue, Deployment: s.Deployment, State: o.state, Reason: o.reason, Message: o.message, Worker: by,
		Time: time.Now().UTC(), Requested: s.Requested, Sequence: s.Sequence,
	}
	if _, err := conn.Append(e, 0, "").Wait(ctx); err != nil {
		return e, err
	}
	if err := conn.Remove(ctx, s); err != nil {
		return e, fmt.Errorf("run %s is %s: %w", s.Run, e.State, err)
	}
	return e, nil
}
