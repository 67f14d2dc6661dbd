package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

// upWorkers are the workers of weir up: one for each process pool, and for each push pool.
func (e *env) upWorkers(conn *streams.Conn, srv *server.Server, cfg upConfig) (*server.Workers, error) {
	code, err := filepath.Abs(".")
	if err != nil {
		return nil, fmt.Errorf("find the code folder: %w", err)
	}
	return server.NewWorkers(server.WorkersConfig{
		Conn: conn, Types: poolTypes, Also: "process", Slots: cfg.slots, Code: code, Version: weirVersion(), Logger: cfg.log,
		Connect: func(_ context.Context, name string) (*streams.Conn, error) { return connectInProcess(srv, name) },
		Claim: func(pool schemas.Pool, push bool, n int) (server.Home, error) {
			if push {
				return claimPush(e.getenv, pool.Name, n)
			}
			host, _ := os.Hostname()
			return claimHome(filepath.Join(cfg.server.Data, "workers"), pool.Name, workerName(host, "up", n))
		},
		Draining: func(w *consumers.Worker, pool string, drain, stop context.Context, ended <-chan struct{}) {
			sayStopping(drain, stop, ended, cfg.log.With("pool", pool), w)
		},
	}), nil
}

// servePush starts the workers of push pools, which a server has, until the function that it returns is called.
func (e *env) servePush(conn *streams.Conn, srv *server.Server, cfg serveConfig) (end func()) {
	log := cfg.server.Logger
	workers := server.NewWorkers(server.WorkersConfig{
		Conn: conn, Types: poolTypes, Version: weirVersion(), Logger: log,
		Connect: func(ctx context.Context, name string) (*streams.Conn, error) {
			if !cfg.elsewhere {
				return connectInProcess(srv, name)
			}
			settings := e.global.conn
			settings.Name, settings.Patient, settings.Logger = name, true, log
			return streams.Connect(ctx, settings)
		},
		Claim: func(pool schemas.Pool, _ bool, n int) (server.Home, error) { return claimPush(e.getenv, pool.Name, n) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { workers.Follow(ctx, ctx) }) // it brings those that there are, too
	return func() {
		cancel()
		following.Wait()
		workers.Wait()
	}
}

// claimPush is the home of a server's own worker of a push pool. Servers on one machine have names of their own, whatever their NATS.
func claimPush(getenv func(string) string, pool string, n int) (server.Home, error) {
	host, _ := os.Hostname()
	return claimHome(stateHome(getenv), pool, workerName(host, "server", n))
}

func claimHome(base, pool, name string) (server.Home, error) {
	state, err := lockState(base, pool, name)
	if errors.Is(err, errTaken) {
		return server.Home{}, server.ErrNameTaken
	} else if err != nil {
		return server.Home{}, err
	}
	dir, err := filepath.Abs(state.dir)
	if err != nil {
		state.close()
		return server.Home{}, fmt.Errorf("find the worker's state folder: %w", err)
	}
	return server.Home{Name: state.name, Dir: dir, Close: state.close}, nil
}
