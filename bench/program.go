//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weir-run/weir/streams"
)

// stopWait bounds a program's clean end; after it the program and all it started are killed.
const stopWait = 20 * time.Second

// A program is a child process with a process group of its own.
type program struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// start runs a program in dir; what it prints goes to a log file beside dir.
func (b *bench) start(dir, path string, args ...string) (*program, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := os.CreateTemp(b.dir, filepath.Base(path)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &program{cmd: exec.Command(path, args...), log: log.Name(), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	return p, nil
}

// stop ends the program politely, and in the end the rest of its group.
func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopWait):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // nothing is left, usually
	<-p.done
}

// kill ends the program and all it started at once.
func (p *program) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// failed explains err with the end of the program's log.
func (p *program) failed(err error) error {
	text, _ := os.ReadFile(p.log)
	return fmt.Errorf("%w; the end of what %s said:\n%s", err, filepath.Base(p.cmd.Path), text[max(0, len(text)-2000):])
}

// connect waits until the NATS that p runs answers at addr.
func (p *program) connect(ctx context.Context, addr string) (*streams.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := streams.Connect(ctx, streams.Config{Name: "bench", Server: "nats://" + addr})
		if err == nil {
			return conn, nil
		}
		select {
		case <-p.done:
			return nil, p.failed(err)
		case <-ctx.Done():
			return nil, p.failed(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// startNATS runs nats-server with JetStream in dir on a free port, with monitoring at the second address.
func (b *bench) startNATS(ctx context.Context, dir string) (p *program, addr, monitor string, conn *streams.Conn, err error) {
	addr, monitor = freeAddress(), freeAddress()
	_, port, _ := net.SplitHostPort(addr)
	_, monitorPort, _ := net.SplitHostPort(monitor)
	p, err = b.start(dir, b.natsServer, "-a", "127.0.0.1", "-p", port, "-m", monitorPort, "-js", "-sd", filepath.Join(dir, "store"))
	if err != nil {
		return nil, "", "", nil, err
	}
	if conn, err = p.connect(ctx, addr); err != nil {
		p.stop()
		return nil, "", "", nil, err
	}
	return p, addr, monitor, conn, nil
}

// A system is a nats-server on which the measurement's deployments are deployed.
type system struct {
	nats          *program
	conn          *streams.Conn
	dir           string // of the project file
	addr, monitor string
}

// startSystem starts one for the named measurement. started is where its job writes that it has started.
func (b *bench) startSystem(ctx context.Context, name, started string) (*system, error) {
	dir, err := b.project(started)
	if err != nil {
		return nil, err
	}
	return b.startSystemOf(ctx, name, dir)
}

// startSystemOf starts one with the deployments of the project in dir.
func (b *bench) startSystemOf(ctx context.Context, name, dir string) (s *system, err error) {
	s = &system{dir: dir}
	if s.nats, s.addr, s.monitor, s.conn, err = b.startNATS(ctx, filepath.Join(b.dir, name)); err != nil {
		return nil, err
	}
	if err := b.deploy(s.dir, "nats://"+s.addr); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *system) stop() {
	s.conn.Close()
	s.nats.stop()
}

// freeAddress is a loopback address that was free a moment ago.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}
