//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

const (
	pool = "bench"
	noop = "noop"
)

// runsLimit bounds one turn of no-op runs.
const runsLimit = 2 * time.Minute

// project is the weir.yaml that all process measurements use. The started deployment tells a named pipe that it runs.
func (b *bench) project(pipe string) (dir string, err error) {
	dir = filepath.Join(b.dir, "project")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	text := fmt.Sprintf(`pools:
  - {name: %[1]s, type: process}
deployments:
  - {name: %[2]s, command: /bin/true, work_pool: {name: %[1]s}}
  - {name: started, command: [/bin/sh, -c, "echo >%[3]s"], work_pool: {name: %[1]s}}
`, pool, noop, pipe)
	return dir, os.WriteFile(filepath.Join(dir, "weir.yaml"), []byte(text), 0o600)
}

// deploy runs weir deploy on the project against the NATS at url.
func (b *bench) deploy(dir, url string) error {
	p, err := b.start(dir, b.weir, "deploy", "--file", "weir.yaml", "--server", url)
	if err != nil {
		return err
	}
	<-p.done
	if !p.cmd.ProcessState.Success() {
		return p.failed(errors.New("weir deploy failed"))
	}
	return nil
}

// noopUp measures weir up: NATS, worker and all else in one process. Requests are stored while it is down.
func noopUp(ctx context.Context, b *bench) ([]row, error) {
	dir, err := b.project("/dev/null")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(b.dir, "up")
	deployed := false
	c, s, ratio, err := turns(b, func() (float64, error) { return forkRate(b.runs) }, func() (float64, error) {
		first, err := b.preload(ctx, data, func(url string) error {
			if deployed {
				return nil
			}
			deployed = true
			return b.deploy(dir, url)
		})
		if err != nil {
			return 0, err
		}
		addr := freeAddress()
		up, err := b.start(dir, b.weir, "up", "--data", data, "--nats-listen", addr, "--http-listen", "127.0.0.1:0", "--limit", fmt.Sprint(slots))
		if err != nil {
			return 0, err
		}
		defer up.stop()
		conn, err := up.connect(ctx, addr)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		rate, err := b.finished(ctx, conn, first)
		if err != nil {
			return 0, up.failed(err)
		}
		return rate, nil
	})
	return []row{rates("no-op runs, weir up", s, c, ratio, "≥ 0.85")}, err
}

// preload stores b.runs requests in data while no weir uses it. first is the sequence of the first event to come.
func (b *bench) preload(ctx context.Context, data string, deploy func(url string) error) (first uint64, err error) {
	srv, err := server.Start(ctx, server.Config{Data: data, NATSListen: "127.0.0.1:0", HTTPListen: "off"})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, srv.Stop(context.WithoutCancel(ctx))) }()
	if err := deploy(srv.URL()); err != nil {
		return 0, err
	}
	conn, err := streams.Connect(ctx, streams.Config{Name: "bench", Server: srv.URL()})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := submit(ctx, conn, pool, noop, nil, b.runs); err != nil {
		return 0, err
	}
	return nextEvent(ctx, conn)
}

// noopWorker measures nats-server and weir worker start as two processes that talk over loopback TCP.
func noopWorker(ctx context.Context, b *bench) ([]row, error) {
	dir, err := b.project("/dev/null")
	if err != nil {
		return nil, err
	}
	nats, addr, _, conn, err := b.startNATS(ctx, filepath.Join(b.dir, "nats"))
	if err != nil {
		return nil, err
	}
	defer nats.stop()
	defer conn.Close()
	if err := b.deploy(dir, "nats://"+addr); err != nil {
		return nil, err
	}
	c, s, ratio, err := turns(b, func() (float64, error) { return forkRate(b.runs) }, func() (float64, error) {
		if err := submit(ctx, conn, pool, noop, nil, b.runs); err != nil {
			return 0, err
		}
		first, err := nextEvent(ctx, conn)
		if err != nil {
			return 0, err
		}
		worker, err := b.startWorker(dir, addr)
		if err != nil {
			return 0, err
		}
		defer worker.stop()
		rate, err := b.finished(ctx, conn, first)
		if err != nil {
			return 0, worker.failed(err)
		}
		return rate, nil
	})
	return []row{rates("no-op runs, nats-server and worker apart", s, c, ratio, "≥ 0.75")}, err
}

func (b *bench) startWorker(dir, addr string) (*program, error) {
	return b.start(dir, b.weir, "worker", "start", "--pool", pool, "--name", "bench", "--limit", fmt.Sprint(slots), "--state-dir", filepath.Join(b.dir, "worker"), "--server", "nats://"+addr)
}

func rates(what string, system, ceiling, ratio float64, goal string) row {
	return row{what, fmt.Sprintf("%.0f/s", system), fmt.Sprintf("fork+exec+wait %.0f/s", ceiling), fmt.Sprintf("%.2f", ratio), goal}
}

// submit stores n requests and looks at each acknowledgement, without waiting for one before the next is on its way.
func submit(ctx context.Context, conn *streams.Conn, pool, deployment string, body []byte, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sent := make(chan *streams.Submission, 8192)
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		for s := range sent {
			if _, err := s.Wait(ctx); err != nil {
				cancel(err) // the first stays
			}
		}
	}()
	var err error
	for i := 0; i < n && err == nil && ctx.Err() == nil; i++ {
		var s *streams.Submission
		if s, err = conn.SubmitAsync(streams.Request{Pool: pool, Deployment: deployment, Body: body}); err == nil {
			sent <- s
		}
	}
	close(sent)
	<-settled
	return cmp.Or(err, context.Cause(ctx))
}

// nextEvent is the sequence that the event log gives next.
func nextEvent(ctx context.Context, conn *streams.Conn) (uint64, error) {
	log, err := conn.JS.Stream(ctx, streams.EventStream)
	if err != nil {
		return 0, err
	}
	return log.CachedInfo().State.LastSeq + 1, nil
}

// finished waits until b.runs runs are completed, acknowledged and gone from the pool, then returns runs per second from the first
// claim to the last completion, by the times at which NATS stored those events. While it waits it looks ten times a second.
func (b *bench) finished(ctx context.Context, conn *streams.Conn, first uint64) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, runsLimit)
	defer cancel()
	record, err := conn.Pool(ctx, pool)
	if err != nil {
		return 0, err
	}
	for {
		queues, err := conn.QueueStatuses(ctx, record)
		if err != nil {
			return 0, err
		}
		if queues[0].Depth == 0 && queues[0].Running == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%d runs wait and %d run after %v", queues[0].Depth, queues[0].Running, runsLimit)
		case <-time.After(100 * time.Millisecond):
		}
	}
	s, err := readSpan(ctx, conn, first)
	if err != nil {
		return 0, err
	}
	if s.completed != b.runs {
		return 0, fmt.Errorf("got %d runs completed, want %d", s.completed, b.runs)
	}
	return float64(s.completed) / s.last.Sub(s.first).Seconds(), nil
}

// A span is what the event log says about a number of runs.
type span struct {
	first, last time.Time // stored: the first claim, the last completion
	completed   int
}

func readSpan(ctx context.Context, conn *streams.Conn, first uint64) (span, error) {
	log, err := conn.JS.Stream(ctx, streams.EventStream)
	if err != nil {
		return span{}, err
	}
	last := log.CachedInfo().State.LastSeq
	events, err := log.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first})
	if err != nil {
		return span{}, err
	}
	msgs, err := events.Messages()
	if err != nil {
		return span{}, err
	}
	defer msgs.Stop()
	var s span
	for {
		msg, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return span{}, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return span{}, err
		}
		var event schemas.Event[schemas.RunEvent]
		if err := json.Unmarshal(msg.Data(), &event); err != nil {
			return span{}, err
		}
		switch event.Data.State {
		case schemas.Pending:
			if s.first.IsZero() {
				s.first = meta.Timestamp
			}
		case schemas.Completed:
			s.last = meta.Timestamp
			s.completed++
		case schemas.Failed, schemas.Crashed, schemas.Cancelled:
			return span{}, fmt.Errorf("run %s is %s: %s", event.Data.Run, event.Data.State, event.Data.Message)
		}
		if meta.Sequence.Stream >= last {
			return s, nil
		}
	}
}
