package consumers

import (
	"context"
	"errors"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// letGoTime is how long a worker that lets its runs go still tries to record what it knows: whoever is next finds it as well.
const letGoTime = 5 * time.Second

// letGo tells whether ctx has ended because what is held is let go.
func letGo(ctx context.Context) bool { return errors.Is(context.Cause(ctx), runners.ErrLetGo) }

// letStartGo leaves a start in the middle of it. Of one that has told of no execution it is recorded that it was let go: should there be
// none, that is no crash.
func (w *Worker) letStartGo(ctx context.Context, c *claim, err error) error {
	if _, permanent := runners.IsPermanent(err); permanent || errors.Is(err, errCancelled) {
		return w.report(ctx, c, startFailure(err))
	}
	if !c.underway.Load() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(letGoTime, c.lease.wait/6))
		defer cancel()
		e := c.event(w, schemas.Pending)
		e.Reason, e.Message = schemas.ReasonWorkerStopped, "worker "+w.Name+" was told to stop while the job was being started; another goes on"
		if err := w.append(bounded, c, e); err != nil {
			return err
		}
	}
	return runners.ErrLetGo
}

// reporting bounds a report: the state must be written although the job's context has ended.
func (w *Worker) reporting(ctx context.Context) (context.Context, context.CancelFunc) {
	reporting, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), reportTime, errNotReported)
	if !w.letsGo {
		return reporting, cancel
	}
	forget := context.AfterFunc(ctx, func() { time.AfterFunc(letGoTime, cancel) })
	return reporting, func() {
		forget()
		cancel()
	}
}

// give notes a request that is to be given back.
func (w *Worker) give(d *streams.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.given = append(w.given, d)
}

// giveAllBack has what was let go delivered to others at once. The worker's record is taken back by now: they need not wait for its leases
// to run out.
func (w *Worker) giveAllBack() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.given {
		_ = d.GiveBack(0) // lost: the ack wait gives it back
	}
	if len(w.given) > 0 {
		_ = w.conn.NC.FlushTimeout(time.Second)
	}
}
