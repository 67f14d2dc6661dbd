//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// idleWorker watches a worker that has nothing to do: memory, CPU, and every message that crosses the NATS server meanwhile.
func idleWorker(ctx context.Context, b *bench) ([]row, error) {
	sys, err := b.startSystem(ctx, "idle", "/dev/null")
	if err != nil {
		return nil, err
	}
	defer sys.stop()
	worker, err := b.startWorker(sys.dir, sys.addr)
	if err != nil {
		return nil, err
	}
	defer worker.stop()
	if err := online(ctx, sys.conn); err != nil {
		return nil, worker.failed(err)
	}
	sys.conn.Close() // its own pings do not count
	if err := pause(ctx, 3*time.Second); err != nil {
		return nil, err
	}

	before, err := look(ctx, worker, sys.monitor)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, b.idle); err != nil {
		return nil, err
	}
	after, err := look(ctx, worker, sys.monitor)
	if err != nil {
		return nil, err
	}
	cpu := (after.cpu - before.cpu).Seconds() / b.idle.Seconds() * 100
	return []row{
		{"idle worker, memory", fmt.Sprintf("%.1f MB", float64(after.rss)/1e6), fmt.Sprintf("%d processes", after.processes), "", "< 40 MB"},
		{"idle worker, CPU", fmt.Sprintf("%.3f%%", cpu), fmt.Sprintf("over %v", b.idle), "", "< 0.2%"},
		{"idle worker, messages", fmt.Sprintf("%d in, %d out", after.in-before.in, after.out-before.out), "at the NATS server", "", ""},
	}, nil
}

// online waits until the worker has said that it is there.
func online(ctx context.Context, conn *streams.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		workers, err := conn.Workers(ctx, pool)
		if err == nil && len(workers) == 1 && workers[0].Status == schemas.WorkerOnline {
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return errors.Join(errors.New("the worker is not online after 30 s"), err)
		}
	}
}

// A sighting is what a worker and its children have used so far.
type sighting struct {
	rss       int64 // bytes
	cpu       time.Duration
	processes int
	in, out   int64 // messages, as the NATS server counts them
}

func look(ctx context.Context, worker *program, monitor string) (sighting, error) {
	var s sighting
	for _, pid := range family(worker.cmd.Process.Pid) {
		s.rss += resident(pid)
		s.processes++
		s.cpu += cpuTime(pid)
	}
	if s.rss == 0 {
		return s, worker.failed(errors.New("the worker is gone"))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+monitor+"/varz", nil)
	if err != nil {
		return s, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	var counts struct {
		In  int64 `json:"in_msgs"`
		Out int64 `json:"out_msgs"`
	}
	if err := json.NewDecoder(res.Body).Decode(&counts); err != nil {
		return s, fmt.Errorf("read the NATS server's counters: %w", err)
	}
	s.in, s.out = counts.In, counts.Out
	return s, nil
}
