package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// defaultSlots is how many runs a worker holds at once unless told otherwise.
var defaultSlots = max(4, runtime.NumCPU())

const slotsText = "one for each CPU, at least 4"

const workerStartText = `The first TERM or Ctrl-C drains: nothing new is started and what runs is waited for. The second one stops what runs and hands
it back, for another worker to start anew. Either way the exit code is 0.
A worker started under its old name goes on with the runs it held.`

type workerConfig struct {
	pool     string
	queues   []string
	slots    int
	name     string // empty: from host and pool
	stateDir string // empty: below XDG_STATE_HOME
	code     string

	once                   bool          // take one run only
	idleExit, drainTimeout time.Duration // 0: never; wait
}

func startWorker(ctx context.Context, e *env, c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	cfg := workerConfig{
		pool: c.String("pool"), queues: c.StringSlice("work-queue"), slots: c.Int("limit"), name: c.String("name"), stateDir: c.String("state-dir"),
		code: c.String("code"), once: c.Bool("run-once"), idleExit: c.Duration("idle-exit"), drainTimeout: c.Duration("drain-timeout"),
	}
	switch {
	case c.IsSet("idle-exit") && cfg.idleExit <= 0:
		return usagef("--idle-exit is %s; give a duration above 0, such as 5m", cfg.idleExit)
	case c.IsSet("drain-timeout") && cfg.drainTimeout <= 0:
		return usagef("--drain-timeout is %s; give a duration above 0, such as 90s", cfg.drainTimeout)
	case cfg.pool == "":
		return usagef("weir worker start needs --pool: see the pools with: weir work-pool ls")
	case cfg.slots < 1 || cfg.slots > consumers.MaxSlots:
		return usagef("--limit is %d; a worker holds 1 to %d runs at once", cfg.slots, consumers.MaxSlots)
	}
	collectLess(e.getenv)
	drain, stop, release := e.stopping(ctx)
	defer release()
	return serveWorker(drain, stop, e, cfg)
}

// serveWorker runs one worker until drain ends and its runs have ended too, or stop ends.
func serveWorker(drain, stop context.Context, e *env, cfg workerConfig) error {
	base := cfg.stateDir
	if base == "" {
		base = stateHome(e.getenv)
	}
	state, err := claimState(base, cfg.pool, cfg.name)
	if err != nil {
		return err
	}
	defer state.close()
	code, err := filepath.Abs(cfg.code)
	if err != nil {
		return fmt.Errorf("find the code folder: %w", err)
	}
	log := e.logger(e.level())
	settings := e.global.conn
	settings.Name, settings.Patient, settings.Logger = "weir worker "+state.name, true, log
	conn, err := streams.Connect(drain, settings)
	if err != nil {
		return unlessTold(drain, err)
	}
	defer conn.Close()
	w, err := consumers.New(conn, consumers.Config{
		Name: state.name, Pool: cfg.pool, Queues: cfg.queues, Slots: cfg.slots, Dir: state.dir, Code: code, Types: poolTypes,
		Version: weirVersion(), Once: cfg.once, IdleExit: cfg.idleExit, DrainTimeout: cfg.drainTimeout, Logger: log,
	})
	if err != nil {
		return err
	}
	said := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(said)
		sayStopping(drain, stop, ended, log, w)
	}()
	err = w.Run(drain, stop, e.sayReady)
	close(ended)
	<-said
	return err
}

// sayReady is a worker's ready line.
func (e *env) sayReady(r consumers.Ready) {
	fmt.Fprintf(e.stdout, "%s Worker %s takes runs from pool %s (%s), queues %s, %s, lease %s\n",
		e.paint(e.stdoutTTY, green, "Ready."), r.Name, r.Pool, r.Type, strings.Join(r.Queues, ", "), plural(r.Slots, "slot"), r.Lease)
}

// sayStopping tells what a worker that drains still waits for.
func sayStopping(drain, stop context.Context, ended <-chan struct{}, log *slog.Logger, w *consumers.Worker) {
	select {
	case <-ended:
		return
	case <-drain.Done():
	}
	held := w.Held()
	if held == 0 {
		log.Info("draining: no run is held")
		return
	}
	log.Info("draining: waiting for "+plural(held, "run")+"; once more (TERM or Ctrl-C) stops what runs", "held", held)
	select {
	case <-ended:
	case <-stop.Done():
		log.Warn("stopping what runs", "held", w.Held())
	}
}

// workerState is a worker's name and the folder that is kept under it, locked so that no two workers share it.
type workerState struct {
	name, dir string
	lock      *os.File
}

func (s workerState) close() { s.lock.Close() }

// errTaken says that another process has the state folder.
var errTaken = errors.New("taken by another worker")

// claimState locks the state folder of a worker of pool. Without a name it takes <host>-<pool>, or, where workers of that
// name run on this machine, the first free of <host>-<pool>-2, -3, …: the same names again after a restart of all.
func claimState(base, pool, name string) (workerState, error) {
	if err := schemas.CheckName("work pool", pool); err != nil {
		return workerState{}, err
	}
	if name != "" {
		if err := schemas.CheckName("worker", name); err != nil {
			return workerState{}, err
		}
		s, err := lockState(base, pool, name)
		if errors.Is(err, errTaken) {
			return s, refusef("a worker called %s already serves pool %s on this machine; give this one another --name", name, pool)
		}
		return s, err
	}
	host, _ := os.Hostname()
	for n := 1; ; n++ {
		s, err := lockState(base, pool, workerName(host, pool, n))
		if !errors.Is(err, errTaken) || n == 1000 {
			return s, err
		}
	}
}

func lockState(base, pool, name string) (workerState, error) {
	dir := filepath.Join(base, pool, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return workerState{}, fmt.Errorf("make the worker's state folder: %w; choose another with --state-dir", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "worker.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return workerState{}, fmt.Errorf("lock the worker's state folder: %w; choose another with --state-dir", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return workerState{}, errTaken
		}
		return workerState{}, fmt.Errorf("lock the worker's state folder %s: %w", dir, err)
	}
	return workerState{name: name, dir: dir, lock: lock}, nil
}

// workerName is the name of the nth worker of a pool on a host: a valid one, whatever the host is called.
func workerName(host, pool string, n int) string {
	host = hostName(host)
	suffix := "-" + pool
	if n > 1 {
		suffix += "-" + strconv.Itoa(n)
	}
	if room := schemas.MaxName - len(suffix); room < 1 {
		suffix = suffix[len(suffix)-schemas.MaxName+1:]
		host = host[:1]
	} else if len(host) > room {
		host = host[:room]
	}
	return host + suffix
}

// hostName is a valid name, whatever the host is called.
func hostName(host string) string {
	host, _, _ = strings.Cut(host, ".")
	if e, ok := errors.AsType[*schemas.NameError](schemas.CheckName("host", host)); ok {
		host = e.Nearest
	}
	return dashOr(host, "worker")
}

// stateHome is where workers keep their state: XDG's place for it.
func stateHome(getenv func(string) string) string {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "weir", "workers")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "weir", "workers")
	}
	return filepath.Join(os.TempDir(), "weir-"+strconv.Itoa(os.Getuid()), "workers")
}
