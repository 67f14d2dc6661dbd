package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// connectWithin bounds finding or starting the supervisor.
	connectWithin = 15 * time.Second
	// redialAfter is the pause before asking again for a supervisor that is just coming or going.
	redialAfter = 20 * time.Millisecond
)

// connect returns the link to this worker's supervisor; without one that lives, it starts one.
func (r *runner) connect(ctx context.Context) (*link, error) {
	if k := r.link.Load(); k != nil && k.alive() {
		return k, nil
	}
	select {
	case r.dialing <- struct{}{}:
		defer func() { <-r.dialing }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if k := r.link.Load(); k != nil {
		if k.alive() {
			return k, nil
		}
		k.wg.Wait() // it has ended, or is about to
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectWithin, errors.New("the supervisor does not answer"))
	defer cancel()
	started := 0
	for {
		conn, rest, err := dial(ctx, r.config.Dir)
		if err == nil {
			k := newLink(conn, rest, r.config.Dir, started)
			r.link.Store(k)
			return k, nil
		}
		if _, ok := errors.AsType[*versionError](err); ok {
			return nil, err
		}
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
			pid, spawnErr := r.spawn(ctx)
			if spawnErr != nil {
				return nil, spawnErr
			}
			if pid != 0 {
				started = pid
				continue
			}
		}
		select {
		case <-time.After(redialAfter):
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to the supervisor of %s: %w (last: %w)", r.config.Dir, context.Cause(ctx), err)
		}
	}
}

// versionError says that a supervisor of another version of Weir still has jobs.
type versionError struct{ pid, version int64 }

func (e *versionError) Error() string {
	return fmt.Sprintf("supervisor %d was started by another version of weir (protocol %d, this is %d) and ends with its last job: "+
		"wait for that, or kill it", e.pid, e.version, protocol)
}

// dial connects and greets. rest is what came after the welcome.
func dial(ctx context.Context, dir string) (conn *net.UnixConn, rest []byte, err error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socketPath(dir))
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	if _, err := c.Write(appendFrame(nil, kindHello, 0, protocol)); err != nil {
		return nil, nil, err
	}
	buf := make([]byte, 0, 4<<10)
	for {
		n, err := c.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return nil, nil, err
		}
		buf = buf[:len(buf)+n]
		f, n, err := nextFrame(buf)
		if err != nil {
			return nil, nil, err
		}
		if n == 0 {
			continue
		}
		r := fieldsOf(f)
		version, pid := r.int(), r.int()
		if f.kind != kindWelcome || version != protocol {
			return nil, nil, &versionError{pid: pid, version: version}
		}
		return c.(*net.UnixConn), buf[n:], c.SetDeadline(time.Time{})
	}
}

// awaitLock takes the lock of a folder whose supervisor has just ended. A child between fork and exec may hold it a little
// longer.
func awaitLock(dir string) (*os.File, error) {
	const within, step = time.Second, 2 * time.Millisecond
	for deadline := time.Now().Add(within); ; <-time.After(step) {
		lock, err := lockFolder(dir)
		if err == nil || !errors.Is(err, errSupervised) || time.Now().After(deadline) {
			return lock, err
		}
	}
}

// spawn starts a supervisor in a session of its own, so that nothing that ends the worker ends it. pid is 0 when it found
// another at work.
func (r *runner) spawn(ctx context.Context) (pid int, err error) {
	argv, err := r.command(r.config.Dir)
	if err != nil {
		return 0, fmt.Errorf("start the supervisor: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(r.config.Dir, "supervisor.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("start the supervisor: %w", err)
	}
	defer log.Close()
	ready, out, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("start the supervisor: %w", err)
	}
	defer ready.Close()
	cmd := &exec.Cmd{Path: argv[0], Args: argv, Env: r.base, Dir: r.config.Dir, Stdout: out, Stderr: log, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if guard, err := r.startGuard(argv); err == nil {
		defer guard.Close()
		cmd.ExtraFiles, cmd.Env = []*os.File{guard}, append([]string{guardFD + "=3"}, r.base...)
	} else {
		fmt.Fprintf(log, "no guard (%v): what jobs start outlives them if this supervisor and its worker are killed together\n", err)
	}
	err = cmd.Start()
	out.Close()
	if err != nil {
		return 0, fmt.Errorf("start the supervisor: %w", err)
	}
	pid = cmd.Process.Pid
	_ = cmd.Process.Release()
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })
	defer stop()
	line, _ := bufio.NewReader(ready).ReadString('\n')
	switch {
	case line == "ready\n":
		return pid, nil
	case ctx.Err() != nil:
		return 0, fmt.Errorf("start the supervisor: %w", context.Cause(ctx))
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err == nil && ws.ExitStatus() == 0 {
		return 0, nil
	}
	return 0, fmt.Errorf("start the supervisor: %s ended with status %d: see %s", argv[0], ws.ExitStatus(), log.Name())
}

// reapSupervisor takes leave of a supervisor that this worker started, if it has ended: a zombie of it would stay as long as
// the worker. One that goes on is left to process 1.
func reapSupervisor(pid int) {
	if pid == 0 {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	const within = 200 // ms from the end of the connection to the end of the process
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, within)
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
}
