//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"time"

	"github.com/weir-run/weir/streams"
)

// heeding is the shell script of a job that writes a line to the pipe when it has started, and one when it is asked to end.
func heeding(pipe string) string {
	return fmt.Sprintf("trap 'echo >%[1]s; exit 0' TERM; echo >%[1]s; while :; do sleep 1000 & wait; done", pipe)
}

// cancelLatency measures from before a cancel request is published until the run's job has had SIGTERM and has written to a named pipe,
// one run at a time, over loopback TCP, with nats-server and worker apart. The ceiling is the same script, sent the signal directly.
func cancelLatency(ctx context.Context, b *bench) ([]row, error) {
	pipe, err := b.namedPipe("heeded")
	if err != nil {
		return nil, err
	}
	defer pipe.Close()
	sys, err := b.startSystem(ctx, "cancel", pipe.Name())
	if err != nil {
		return nil, err
	}
	defer sys.stop()
	worker, err := b.startWorker(sys.dir, sys.addr)
	if err != nil {
		return nil, err
	}
	defer worker.stop()

	var system, bare []time.Duration
	for i := range b.cancels + warmUp {
		var run string
		cmd := exec.Command("/bin/sh", "-c", heeding(pipe.Name()))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		for _, way := range []struct {
			start, end func() error
			into       *[]time.Duration
		}{
			{cmd.Start, func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }, &bare},
			{func() error {
				r, err := sys.conn.Submit(ctx, streams.Request{Pool: pool, Deployment: "heeding"})
				run = r.Run
				return err
			}, func() error { return sys.conn.RequestCancel(ctx, pool, run, "measured") }, &system},
		} {
			if _, err := untilWritten(pipe, way.start); err != nil {
				return nil, worker.failed(err)
			}
			// The job is recorded as running by then, and no rhythm of the system's meets one of the measurement's.
			if err := pause(ctx, 5*time.Millisecond+rand.N(10*time.Millisecond)); err != nil {
				return nil, err
			}
			took, err := untilWritten(pipe, way.end)
			if err != nil {
				return nil, worker.failed(err)
			}
			if i >= warmUp {
				*way.into = append(*way.into, took)
			}
		}
		if err := cmd.Wait(); err != nil {
			return nil, fmt.Errorf("the job that was started directly: %w", err)
		}
	}
	var rows []row
	for _, q := range []struct {
		q          float64
		name, goal string
	}{{0.5, "p50", ""}, {0.99, "p99", "< 100 ms"}} {
		s, c := quantile(system, q.q), quantile(bare, q.q)
		rows = append(rows, row{"cancel request → SIGTERM, " + q.name, millis(s), "kill alone " + millis(c), fmt.Sprintf("%.2f", s.Seconds()/c.Seconds()), q.goal})
	}
	return rows, nil
}
