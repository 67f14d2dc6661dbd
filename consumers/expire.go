package consumers

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

const (
	// afterHint is how long after a request passed by it is looked for in its stream: core NATS may be faster.
	afterHint = 100 * time.Millisecond
	// rescan is how often a pool is looked at that has schedules whose runs can expire: JetStream's own publishing passes nobody by.
	rescan = 2 * time.Second
)

// expiries knows the waiting requests that are not to be started any more after some time, and records them as failed then.
// Requests are seen as they pass by; what counts is what lies in the pools' streams, which are read from where the last look
// ended.
type expiries struct {
	conn *streams.Conn
	name string
	log  *slog.Logger
	wake chan struct{} // something below has changed

	mu          sync.Mutex
	deployments map[string]schemas.Deployment // those whose runs expire; under mu
	looks       map[string]look               // pools to look at; under mu

	from      map[string]uint64   // where the next look at a pool's stream begins; only run uses it
	waiting   expiryHeap          // each request once; likewise
	schedules map[string][]uint64 // those in a pool's stream whose runs can expire, the one to check first; likewise
}

// look is a plan to read what has come into a pool's stream.
type look struct {
	at    time.Time
	whole bool // from the beginning, not from where the last one ended
}

func newExpiries(conn *streams.Conn, name string, log *slog.Logger) *expiries {
	return &expiries{
		conn: conn, name: name, log: log, wake: make(chan struct{}, 1), deployments: map[string]schemas.Deployment{},
		looks: map[string]look{}, from: map[string]uint64{}, schedules: map[string][]uint64{},
	}
}

// apply takes a change of a deployment.
func (x *expiries) apply(ch streams.ConfigChange) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case ch.Pool != "":
	case ch.Record == nil || ch.Record.ExpiresAfter == 0:
		delete(x.deployments, ch.Deployment)
	default:
		x.deployments[ch.Deployment] = *ch.Record
		x.planLocked(ch.Record.Pool, 0, true) // it may have requests that wait
	}
}

// planLocked plans a look at a pool. mu is held.
func (x *expiries) planLocked(pool string, in time.Duration, whole bool) {
	l := look{at: time.Now().Add(in), whole: whole}
	if planned, ok := x.looks[pool]; ok {
		l.whole = l.whole || planned.whole
		if planned.at.Before(l.at) {
			l.at = planned.at
		}
	}
	x.looks[pool] = l
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

func (x *expiries) plan(pool string, in time.Duration, whole bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.planLocked(pool, in, whole)
}

// listen sees the pool's requests pass by until ctx ends.
func (x *expiries) listen(ctx context.Context, p schemas.Pool) {
	stop, err := x.conn.OnRequests(p, func(deployment string, body []byte) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if _, expires := x.deployments[deployment]; expires || bytes.Contains(body, []byte("expires_at")) {
			x.planLocked(p.Name, afterHint, false)
		}
	}, func() { x.plan(p.Name, afterHint, true) })
	if err != nil {
		x.log.Error("requests are not seen; they expire when a worker takes them", "pool", p.Name, "err", err)
		return
	}
	x.plan(p.Name, 0, true)
	<-ctx.Done()
	stop()
}

// run works until ctx ends.
func (x *expiries) run(ctx context.Context) {
	for {
		next := time.NewTimer(x.step(ctx))
		select {
		case <-ctx.Done():
			next.Stop()
			return
		case <-x.wake:
			next.Stop()
		case <-next.C:
		}
	}
}

// step does what is due and returns the time until the next.
func (x *expiries) step(ctx context.Context) time.Duration {
	now, next := time.Now(), time.Hour
	x.mu.Lock()
	due := map[string]look{}
	for pool, l := range x.looks {
		if left := l.at.Sub(now); left <= 0 {
			due[pool] = l
			delete(x.looks, pool)
		} else {
			next = min(next, left)
		}
	}
	x.mu.Unlock()
	for pool, l := range due {
		if l.whole {
			x.forget(pool)
		}
		if err := x.look(ctx, pool); err != nil && ctx.Err() == nil {
			x.log.Warn("requests of a pool are not read; that is tried again", "pool", pool, "err", err)
			x.plan(pool, longestWait, false)
		}
	}
	for len(x.waiting) > 0 && ctx.Err() == nil {
		if left := time.Until(x.waiting[0].at); left > 0 {
			next = min(next, left)
			break
		}
		e := heap.Pop(&x.waiting).(expiry)
		if err := x.expire(ctx, e); err != nil && ctx.Err() == nil {
			x.log.Warn("run is not recorded as expired; that is tried again", "pool", e.pool, "sequence", e.sequence, "err", err)
			e.at = time.Now().Add(longestWait)
			heap.Push(&x.waiting, e)
		}
	}
	return next
}

// forget makes the next look at a pool begin anew.
func (x *expiries) forget(pool string) {
	delete(x.from, pool)
	delete(x.schedules, pool)
	x.waiting = slices.DeleteFunc(x.waiting, func(e expiry) bool { return e.pool == pool })
	heap.Init(&x.waiting)
}

// look reads what has come into a pool's stream since the last look.
func (x *expiries) look(ctx context.Context, pool string) error {
	err := x.conn.Requests(ctx, pool, x.from[pool]+1, func(s streams.Stored) error {
		x.from[pool] = s.Sequence
		at, ok := x.expiresAt(s)
		switch {
		case ok && s.Due:
			heap.Push(&x.waiting, expiry{at: at, pool: pool, sequence: s.Sequence})
		case ok:
			x.schedules[pool] = append(x.schedules[pool], s.Sequence)
		}
		return nil
	})
	if err == nil {
		err = x.checkSchedule(ctx, pool)
	}
	if x.gone(ctx, pool, err) {
		x.forget(pool)
		return nil
	} else if err != nil {
		return err
	}
	if len(x.schedules[pool]) > 0 {
		x.plan(pool, rescan, false)
	}
	return nil
}

// checkSchedule looks whether one of a pool's schedules is still there, another one each time.
func (x *expiries) checkSchedule(ctx context.Context, pool string) error {
	known := x.schedules[pool]
	if len(known) == 0 {
		return nil
	}
	_, err := x.conn.RequestAt(ctx, pool, known[0])
	switch {
	case err == nil:
		x.schedules[pool] = append(known[1:], known[0])
	case errors.Is(err, streams.ErrNotFound):
		x.schedules[pool] = known[1:]
	default:
		return err
	}
	return nil
}

// gone tells whether err is for want of the pool.
func (x *expiries) gone(ctx context.Context, pool string, err error) bool {
	if err == nil {
		return false
	}
	_, gone := x.conn.Pool(ctx, pool)
	return errors.Is(gone, streams.ErrNotFound)
}

// expiresAt is when a request, or what a schedule asks for, is not to be started any more. false: it has no such time, has been
// started before, or is a worker's to reject.
func (x *expiries) expiresAt(s streams.Stored) (time.Time, bool) {
	if s.Attempt > 1 || s.Due && s.Run == "" {
		return time.Time{}, false
	}
	if bytes.Contains(s.Body, []byte("expires_at")) {
		if r, err := schemas.ParseRunRequest(s.Body); err == nil && r.ExpiresAt != nil {
			return *r.ExpiresAt, true
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	d, ok := x.deployments[s.Deployment]
	return s.Requested.Add(time.Duration(d.ExpiresAfter)), ok
}

// expire records that a request was not started in time, if it still waits and the time is still the same.
func (x *expiries) expire(ctx context.Context, e expiry) error {
	s, err := x.conn.RequestAt(ctx, e.pool, e.sequence)
	if errors.Is(err, streams.ErrNotFound) || x.gone(ctx, e.pool, err) {
		return nil
	} else if err != nil {
		return err
	}
	if at, ok := x.expiresAt(s); !ok || time.Until(at) > 0 {
		if ok {
			e.at = at
			heap.Push(&x.waiting, e)
		}
		return nil
	}
	event, err := endUnclaimed(ctx, x.conn, s, expired, x.name)
	if errors.Is(err, streams.ErrOvertaken) {
		return nil // it was claimed, or cancelled
	}
	if err == nil {
		x.log.Info("run is "+string(event.State), "run", event.Run, "deployment", event.Deployment, "reason", event.Reason)
	}
	return err
}
