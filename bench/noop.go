//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

const (
	pool = "bench"
	noop = "noop"
)

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
  - {name: heeding, command: [/bin/sh, -c, %[4]q], work_pool: {name: %[1]s}}
`, pool, noop, pipe, heeding(pipe))
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
	deploy := func(url string) error {
		if deployed {
			return nil
		}
		deployed = true
		return b.deploy(dir, url)
	}
	return b.againstForks("weir up", "≥ 0.85", func() (throughput, error) {
		first, err := b.preload(ctx, data, deploy)
		if err != nil {
			return throughput{}, err
		}
		addr := freeAddress()
		up, err := b.start(dir, b.weir, "up", "--data", data, "--nats-listen", addr, "--http-listen", "off", "--limit", fmt.Sprint(slots))
		if err != nil {
			return throughput{}, err
		}
		defer up.stop()
		conn, err := up.connect(ctx, addr)
		if err != nil {
			return throughput{}, err
		}
		defer conn.Close()
		t, err := b.finished(ctx, conn, first, up)
		if err != nil {
			return throughput{}, up.failed(err)
		}
		return t, nil
	})
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
	sys, err := b.startSystem(ctx, "nats", "/dev/null")
	if err != nil {
		return nil, err
	}
	defer sys.stop()
	return b.againstForks("nats-server and worker apart", "≥ 0.75", func() (throughput, error) {
		if err := submit(ctx, sys.conn, pool, noop, nil, b.runs); err != nil {
			return throughput{}, err
		}
		first, err := nextEvent(ctx, sys.conn)
		if err != nil {
			return throughput{}, err
		}
		worker, err := b.startWorker(sys.dir, sys.addr)
		if err != nil {
			return throughput{}, err
		}
		defer worker.stop()
		t, err := b.finished(ctx, sys.conn, first, sys.nats, worker)
		if err != nil {
			return throughput{}, worker.failed(err)
		}
		return t, nil
	})
}

// againstForks has system and bare forks take turns, and reports how fast they are and what a run costs. The second ratio is that of the
// CPU times: it stays meaningful when something else uses the machine.
func (b *bench) againstForks(what, goal string, system func() (throughput, error)) ([]row, error) {
	var bareCPU, systemCPU []time.Duration
	keep := func(into *[]time.Duration, measure func() (throughput, error)) func() (float64, error) {
		return func() (float64, error) {
			t, err := measure()
			*into = append(*into, t.cpu)
			return t.rate, err
		}
	}
	c, s, ratio, err := turns(b, keep(&bareCPU, func() (throughput, error) { return forks(b.runs) }), keep(&systemCPU, system))
	if err != nil {
		return nil, err
	}
	bare, all := quantile(bareCPU, 0.5), quantile(systemCPU, 0.5)
	return []row{
		{"no-op runs, " + what, fmt.Sprintf("%.0f/s", s), fmt.Sprintf("fork+exec+wait %.0f/s", c), fmt.Sprintf("%.2f", ratio), goal},
		{"  CPU time of one", fmt.Sprintf("%d µs", all.Microseconds()), fmt.Sprintf("%d µs", bare.Microseconds()), fmt.Sprintf("%.2f", bare.Seconds()/all.Seconds()), ""},
	}, nil
}

func (b *bench) startWorker(dir, addr string) (*program, error) {
	return b.start(dir, b.weir, "worker", "start", "--pool", pool, "--name", "bench", "--limit", fmt.Sprint(slots), "--state-dir", filepath.Join(b.dir, "worker"), "--server", "nats://"+addr)
}
