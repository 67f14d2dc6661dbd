package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

// upWorkers are the workers of this process: one for each process pool.
type upWorkers struct {
	conn  *streams.Conn
	srv   *server.Server
	cfg   upConfig
	group sync.WaitGroup

	mu      sync.Mutex
	serving map[string]bool // pools that have their worker; under mu
}

// startAll starts a worker for each process pool there is and returns when all take runs.
func (w *upWorkers) startAll(drain, stop context.Context) ([]consumers.Ready, error) {
	pools, err := w.conn.Pools(drain)
	if err != nil {
		return nil, err
	}
	type outcome struct {
		pool  string
		ready consumers.Ready
		err   error
	}
	outcomes := make(chan outcome, 2*len(pools))
	started := 0
	for _, p := range pools {
		if w.start(drain, stop, p, func(r consumers.Ready) { outcomes <- outcome{pool: p.Name, ready: r} }, func(err error) { outcomes <- outcome{pool: p.Name, err: err} }) {
			started++
		}
	}
	var ready []consumers.Ready
	for range started {
		o := <-outcomes
		switch {
		case o.err != nil:
			return ready, fmt.Errorf("start a worker for work pool %s: %w", o.pool, o.err)
		case o.ready.Name == "":
			return ready, nil // drained before it was ready
		}
		ready = append(ready, o.ready)
	}
	return ready, nil
}

// follow starts a worker for each process pool that is created later, until drain ends.
func (w *upWorkers) follow(drain, stop context.Context) {
	for drain.Err() == nil {
		err := w.conn.WatchConfig(drain, make(chan struct{}), func(ch streams.ConfigChange) {
			if ch.PoolRecord != nil {
				w.start(drain, stop, *ch.PoolRecord, w.sayReady, func(error) {})
			}
		})
		if err == nil || drain.Err() != nil {
			return
		}
		w.cfg.log.Warn("new pools are not seen; trying again", "err", err)
		select {
		case <-drain.Done():
		case <-time.After(time.Second):
		}
	}
}

func (w *upWorkers) sayReady(r consumers.Ready) {
	w.cfg.log.Info("worker takes runs from a new pool", "worker", r.Name, "pool", r.Pool, "slots", r.Slots)
}

// start starts the worker of a process pool that has none. ready is called when it takes runs, ended when it takes none any more.
func (w *upWorkers) start(drain, stop context.Context, p schemas.Pool, ready func(consumers.Ready), ended func(error)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.Type != "process" || w.serving[p.Name] {
		return false
	}
	w.serving[p.Name] = true
	w.group.Go(func() {
		err := upWorker(drain, stop, w.srv, p, w.cfg, ready)
		if err != nil {
			w.cfg.log.Error("worker stopped", "pool", p.Name, "err", err)
		}
		w.mu.Lock()
		delete(w.serving, p.Name)
		w.mu.Unlock()
		ended(err)
		// Made anew under its name before this worker had seen that it was deleted: the watch has brought the new one already.
		if now, err := w.conn.Pool(drain, p.Name); err == nil && drain.Err() == nil && !now.Created.Equal(p.Created) {
			w.start(drain, stop, now, w.sayReady, func(error) {})
		}
	})
	return true
}

func upWorker(drain, stop context.Context, srv *server.Server, p schemas.Pool, cfg upConfig, ready func(consumers.Ready)) error {
	host, _ := os.Hostname()
	state, err := claimState(filepath.Join(cfg.server.Data, "workers"), p.Name, workerName(host, "up", 1))
	if err != nil {
		return err
	}
	defer state.close()
	dir, err := filepath.Abs(state.dir)
	if err != nil {
		return err
	}
	code, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	conn, err := connectInProcess(srv, "weir worker "+state.name)
	if err != nil {
		return err
	}
	defer conn.Close()
	w, err := consumers.New(conn, consumers.Config{
		Name: state.name, Pool: p.Name, Slots: cfg.slots, Dir: dir, Code: code, Types: poolTypes, Version: weirVersion(), Logger: cfg.log,
	})
	if err != nil {
		return err
	}
	ended, said := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(said)
		sayStopping(drain, stop, ended, cfg.log.With("pool", p.Name), w)
	}()
	err = w.Run(drain, stop, ready)
	close(ended)
	<-said
	return err
}
