//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weir-run/weir/bench/torture/history"
	"github.com/weir-run/weir/streams"
)

const (
	pool    = "torture"
	ackWait = 5 * time.Second // the shortest that a pool can have: leases run out often
	slots   = 4               // of each worker
)

// binaries are the programs of a torture.
type binaries struct{ weir, nats, self string }

// A system is Weir as people run it: a cluster of NATS nodes, workers and a server, each a process of its own.
type system struct {
	binaries
	dir    string // everything is below it
	jobs   string // the jobs' files
	nodes  []*node
	server *client // nil: there is none
	conn   *streams.Conn

	mu    sync.Mutex
	seats []*client // the workers; under mu
	gone  []*client // workers whose names never come back; under mu
}

// A client is a weir process that reaches the cluster through links of its own.
type client struct {
	*program
	line  line
	state string     // a worker's state folder
	busy  sync.Mutex // held by the fault that has it
	disk  *disk      // nil: state is on an ordinary one
}

// newSystem starts nodes and makes the pool and its deployments. What it has started is ended by stop, also after an error.
func newSystem(ctx context.Context, b binaries, dir string, nodes int, disks bool) (*system, error) {
	s := &system{binaries: b, dir: dir, jobs: filepath.Join(dir, history.JobsDir)}
	if err := os.MkdirAll(s.jobs, 0o700); err != nil {
		return s, err
	}
	var err error
	if s.nodes, err = newCluster(dir, b.nats, nodes, disks); err != nil {
		return s, err
	}
	for _, n := range s.nodes {
		if err := n.start(); err != nil {
			return s, err
		}
	}
	return s, s.deploy(ctx, nodes)
}

// deploy waits for the cluster and makes all that lives in it.
func (s *system) deploy(ctx context.Context, replicas int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s.conn, err = streams.Connect(ctx, streams.Config{Name: "torture", Server: urls(s.nodes), Patient: true})
	if err != nil {
		return err
	}
	for {
		if err = s.conn.Setup(ctx, replicas); err == nil {
			break
		}
		for _, n := range s.nodes {
			if len(n.surprises()) > 0 {
				return fmt.Errorf("NATS node %s has ended: see %s", n.name, filepath.Join(n.dir, "log"))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the cluster: %w", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
	file := filepath.Join(s.dir, "weir.yaml")
	if err := os.WriteFile(file, []byte(s.project()), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"work-pool", "create", pool, "--type", "process", "--ack-wait", ackWait.String(), "--replicas", fmt.Sprint(replicas)},
		{"deploy", "--file", file},
	} {
		cmd := exec.CommandContext(ctx, s.weir, append([]string{"--server", urls(s.nodes)}, args...)...)
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("weir %s: %w\n%s", strings.Join(args, " "), err, said)
		}
	}
	return nil
}

// newWorker makes a worker of that name. Nothing runs yet.
func (s *system) newWorker(name string, withDisk bool) (*client, error) {
	l, err := openLine(s.nodes)
	if err != nil {
		return nil, err
	}
	c := &client{line: l, state: filepath.Join(s.dir, name, "state")}
	c.program, err = newProgram(s.dir, name, s.weir, "--server", l.urls(), "worker", "start", "--pool", pool, "--name", name,
		"--limit", fmt.Sprint(slots), "--state-dir", c.state)
	if err != nil {
		return nil, err
	}
	if withDisk {
		if c.disk, err = mountDisk(c.state, diskMegabytes/16); err != nil && !errors.Is(err, os.ErrPermission) {
			return nil, err
		}
	}
	return c, nil
}

// addWorker starts a worker in a seat of its own.
func (s *system) addWorker(name string, withDisk bool) (*client, error) {
	c, err := s.newWorker(name, withDisk)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.seats = append(s.seats, c)
	s.mu.Unlock()
	return c, c.start()
}

// replace puts a new worker into the place of one that never comes back under its name.
func (s *system) replace(old *client, name string) error {
	c, err := s.newWorker(name, false)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.seats[slices.Index(s.seats, old)] = c
	s.gone = append(s.gone, old)
	s.mu.Unlock()
	return c.start()
}

// workers are those that are there now.
func (s *system) workers() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seats)
}

// addServer starts a weir server on the cluster.
func (s *system) addServer() error {
	l, err := openLine(s.nodes)
	if err != nil {
		return err
	}
	c := &client{line: l}
	c.program, err = newProgram(s.dir, "server", s.weir, "--server", l.urls(), "server", "start", "--replicas", fmt.Sprint(len(s.nodes)), "--http-listen", "off")
	if err != nil {
		return err
	}
	s.server = c
	return c.start()
}

// clients are the workers and the server.
func (s *system) clients() []*client {
	all := s.workers()
	if s.server != nil {
		all = append(all, s.server)
	}
	return all
}

// supervisors are the worker's supervisor processes: one, or none.
func (c *client) supervisors() []int {
	return processes(func(args []string) bool {
		return len(args) > 1 && slices.Contains(args, "supervisor") && strings.HasPrefix(args[len(args)-1], c.state+"/")
	})
}

// living are the processes of jobs, as they are called.
func (s *system) living() (pids []int) {
	return processes(func(args []string) bool { return len(args) > 3 && args[1] == "job" && args[3] == s.jobs })
}

// stop ends all that was started, the workers first and politely. It returns those that had to be killed.
func (s *system) stop() (forced []string) {
	for _, c := range s.clients() {
		c.thaw()
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, c := range s.clients() {
		wg.Go(func() {
			if !c.stop(20 * time.Second) {
				mu.Lock()
				defer mu.Unlock()
				forced = append(forced, c.name)
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	all := append(slices.Clone(s.seats), s.gone...)
	s.mu.Unlock()
	for _, c := range all {
		for _, pid := range c.supervisors() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	for _, pid := range s.living() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server != nil {
		all = append(all, s.server)
	}
	for _, c := range all {
		for _, k := range c.line {
			k.close()
		}
		if c.disk != nil {
			c.disk.unmount()
		}
	}
	for _, n := range s.nodes {
		n.thaw()
		n.kill()
		for _, k := range n.routes {
			k.close()
		}
		if n.disk != nil {
			n.disk.unmount()
		}
	}
	return forced
}
