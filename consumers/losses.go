package consumers

import (
	"context"
	"log/slog"
	"time"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// afterLease is some time for NATS to notice that a lease has run out.
const afterLease = 500 * time.Millisecond

// sweeps is how often lost runs are looked for after a worker is lost: what is young then, since somebody claimed it late, is
// found later.
const sweeps = 3

// afterLosses calls sweep when the leases of a worker of the pool that has stopped without a word must have run out, until ctx
// ends. Workers that were lost before are among them. A sweep that fails is tried again.
func afterLosses(ctx context.Context, conn *streams.Conn, pool schemas.Pool, log *slog.Logger, sweep func() error) {
	due := make(chan time.Time, 1000)
	renewed := streams.Heartbeat(pool) // so much later than it has last written a worker may have renewed a lease
	go func() {
		for ctx.Err() == nil {
			err := conn.WatchLosses(ctx, pool.Name, min(streams.OfflineAfter, pool.Lease()), func(seen time.Time) {
				select {
				case due <- seen.Add(renewed + pool.Lease() + afterLease):
				case <-ctx.Done():
				}
			})
			if err != nil && ctx.Err() == nil {
				log.Warn("workers are not watched; that is tried again", "pool", pool.Name, "err", err)
				pause(ctx, longestWait)
			}
		}
	}()
	for left := 1; ; { // once after the start, for what was lost before
		next := time.NewTimer(pool.Lease())
		if left == 0 {
			next.Stop()
		}
		select {
		case at := <-due:
			next.Stop()
			pause(ctx, time.Until(at))
			left = sweeps
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
		if err := sweep(); err == nil {
			left--
		} else if ctx.Err() == nil {
			log.Warn("lost runs are not looked for; that is tried again", "pool", pool.Name, "err", err)
		}
	}
}

// pause waits, or until ctx ends: false.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
