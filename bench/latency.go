//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weir-run/weir/streams"
)

// startLatency measures from before a request is published until the process it asked for has written to a named pipe, one
// request at a time, over loopback TCP, with nats-server and worker apart. The ceiling is the same command started directly.
func startLatency(ctx context.Context, b *bench) ([]row, error) {
	pipe, err := b.namedPipe("started")
	if err != nil {
		return nil, err
	}
	defer pipe.Close()
	sys, err := b.startSystem(ctx, "latency", pipe.Name())
	if err != nil {
		return nil, err
	}
	defer sys.stop()
	worker, err := b.startWorker(sys.dir, sys.addr)
	if err != nil {
		return nil, err
	}
	defer worker.stop()

	request := func() error {
		_, err := sys.conn.Submit(ctx, streams.Request{Pool: pool, Deployment: "started"})
		return err
	}
	fork := func() error { return forkOnce(exec.Command("/bin/sh", "-c", "echo >"+pipe.Name())) }
	var system, bare []time.Duration
	for i := range b.samples + warmUp {
		for _, way := range []struct {
			start func() error
			into  *[]time.Duration
		}{{fork, &bare}, {request, &system}} {
			took, err := untilWritten(pipe, way.start)
			if err != nil {
				return nil, worker.failed(err)
			}
			if i >= warmUp {
				*way.into = append(*way.into, took)
			}
			// The run before is over by then, and no rhythm of the system's meets one of the measurement's.
			if err := pause(ctx, 5*time.Millisecond+rand.N(10*time.Millisecond)); err != nil {
				return nil, err
			}
		}
	}
	var rows []row
	for _, q := range []struct {
		q    float64
		name string
		goal string
	}{{0.5, "p50", "< 3 ms"}, {0.99, "p99", "< 15 ms"}} {
		s, c := quantile(system, q.q), quantile(bare, q.q)
		rows = append(rows, row{"publish → process started, " + q.name, millis(s), "fork+exec alone " + millis(c), fmt.Sprintf("%.2f", s.Seconds()/c.Seconds()), q.goal})
	}
	return rows, nil
}

// warmUp is how many samples are taken and thrown away.
const warmUp = 20

// namedPipe makes a pipe that jobs write to by its name, with both ends open: a writer never waits, the reader never sees an end.
func (b *bench) namedPipe(name string) (*os.File, error) {
	path := filepath.Join(b.dir, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// untilWritten measures from before start until something has written to the pipe.
func untilWritten(pipe *os.File, start func() error) (time.Duration, error) {
	if err := pipe.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, err
	}
	began := time.Now()
	failed := make(chan error, 1)
	go func() { failed <- start() }() // beside the read: the process may be there before start has returned
	_, err := pipe.Read(make([]byte, 16))
	took := time.Since(began)
	if startErr := <-failed; startErr != nil {
		return 0, startErr
	}
	return took, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }
