package consumers

import (
	"context"
	"errors"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// abandon ends an execution that this worker has no right to any more, if it is one that cannot outlive its worker. Others
// are let go, for the next worker to find, unless the run goes on without them.
func (w *Worker) abandon(ctx context.Context, c *claim, exec runners.Execution, why error) {
	w.Logger.Warn("run is given up", "run", c.Run, "attempt", c.attempt, "err", why)
	ctx, cancel := w.reporting(ctx)
	defer cancel()
	leased, ok := exec.(runners.Leased)
	if !ok {
		if w.movedOn(ctx, c) {
			w.end(ctx, c, exec)
		}
		return
	}
	// Not Stop: whoever finds it later must see lease_lost, not a job that failed by a signal.
	err := leased.Lease(time.Now())
	if err == nil {
		_, err = exec.Wait(ctx)
	}
	if err != nil {
		w.Logger.Error("execution could not be stopped", "run", c.Run, "err", err)
	}
}

// abandonStart ends what a start has left that this worker had no right to any more, if the run has gone on without it: as when the worker
// stood still between its last look at that right and the request that made the execution.
func (w *Worker) abandonStart(ctx context.Context, c *claim) {
	ctx, cancel := w.reporting(ctx)
	defer cancel()
	if !w.movedOn(ctx, c) {
		return
	}
	sought := runners.Sought{Name: executionName(c.Run, c.attempt), ID: c.execution, Place: w.place(c.job.configuration), Output: output{c.logs}}
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		exec, err := w.runner.Find(ctx, sought)
		if err == nil {
			w.end(ctx, c, exec)
			return
		}
		if errors.Is(err, runners.ErrGone) {
			return
		}
		if !pause(ctx, wait) {
			w.Logger.Error("it is not known whether an execution is left of an attempt that its run has gone on without", "run", c.Run, "attempt", c.attempt, "err", err)
			return
		}
	}
}

// movedOn tells whether the run has gone on without this attempt: another one is made or asked for, or a final state is recorded.
// Nobody looks for the attempt's execution then. While it is not known it is asked again, until ctx ends.
func (w *Worker) movedOn(ctx context.Context, c *claim) bool {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		last, err := w.conn.LastEvent(ctx, c.Pool, c.Deployment, c.Run)
		if err == nil {
			return last.Attempt > c.attempt || last.State.Final() || last.State == schemas.Retrying
		}
		if errors.Is(err, streams.ErrNotFound) || w.conn.NC.IsClosed() || !pause(ctx, wait) {
			return false
		}
	}
}

// end stops what a worker started that stood still for so long that its run has moved on: two attempts must not be at work.
func (w *Worker) end(ctx context.Context, c *claim, exec runners.Execution) {
	w.Logger.Warn("run has gone on without this attempt, which is stopped", "run", c.Run, "attempt", c.attempt, "execution", exec.ID())
	if err := exec.Stop(ctx, 0); err != nil && !errors.Is(err, runners.ErrGone) {
		w.Logger.Error("execution could not be stopped", "run", c.Run, "err", err)
		return
	}
	if f, ok := w.runner.(runners.Forgetter); ok {
		f.Forget(executionName(c.Run, c.attempt))
	}
}
