package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/weir-run/weir/runners"
)

// errClosed is what a closed runner answers. The executions go on.
var errClosed = errors.New("the process runner is closed")

// errMoved says that another worker of the same folder holds the execution now. It goes on.
var errMoved = errors.New("another worker of the same name has taken the execution over")

// link is the worker's connection to its supervisor. A link that broke is not mended: its executions are gone, and the
// runner makes a new one.
type link struct {
	conn  *net.UnixConn
	dir   string
	pid   int                // the supervisor's, if this worker started it
	wg    sync.WaitGroup     // the receiver
	leave context.CancelFunc // ends deliveries: what is not stored is kept for the next worker

	deliveries sync.WaitGroup // of executions; grows under mu, while the link is alive or its end is being told

	mu     sync.Mutex
	tag    uint64
	tags   map[uint64]*execution // until they have ended
	names  map[string]*execution // until they are forgotten
	lists  map[uint64]*listing   // until they are answered
	ended  error                 // why no more comes; nil: it is alive
	closed chan struct{}         // closed when ended is set

	out struct {
		sync.Mutex
		buf, spare []byte
		writing    bool
	}
}

func newLink(conn *net.UnixConn, rest []byte, dir string, pid int) *link {
	k := &link{
		conn: conn, dir: dir, pid: pid, tags: map[uint64]*execution{}, names: map[string]*execution{}, lists: map[uint64]*listing{},
		closed: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.leave = cancel
	k.wg.Go(func() { k.receive(ctx, rest) })
	return k
}

func (k *link) alive() bool {
	select {
	case <-k.closed:
		return false
	default:
		return true
	}
}

// start starts l, or finds the execution of its name.
func (k *link) start(ctx context.Context, l *launch, out runners.Output) (*execution, error) {
	e, made, err := k.enter(l.name, out)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	if made {
		e.launch = l
		k.send(func(b []byte) []byte { return appendLaunch(b, e.tag, l) })
	}
	return e.begun(context.WithoutCancel(ctx)) // asked for, it starts: whoever does not want it any more has to stop it
}

func (k *link) find(ctx context.Context, name string, out runners.Output) (*execution, error) {
	e, made, err := k.enter(name, out)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	if made {
		k.send(func(b []byte) []byte { return appendNamed(b, kindAttach, e.tag, name) })
	}
	return e.begun(ctx)
}

// enter returns the execution that has the name, or makes one that waits to hear of its start.
func (k *link) enter(name string, out runners.Output) (e *execution, made bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended != nil {
		return nil, false, k.ended
	}
	if e := k.names[name]; e != nil {
		return e, false, nil
	}
	k.tag++
	e = &execution{link: k, name: name, tag: k.tag, out: out, ready: make(chan struct{}), done: make(chan struct{})}
	k.tags[e.tag], k.names[name] = e, e
	return e, true, nil
}

// leave forgets an execution that did not come to be.
func (k *link) drop(e *execution) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.tags, e.tag)
	if k.names[e.name] == e {
		delete(k.names, e.name)
	}
}

func (k *link) forget(name string) {
	k.mu.Lock()
	delete(k.names, name)
	k.mu.Unlock()
	k.send(func(b []byte) []byte { return appendNamed(b, kindForget, 0, name) })
}

// send appends a frame and writes what there is, unless another goroutine is about to: frames of goroutines that run at the
// same time travel together. An error shows in the receiver.
func (k *link) send(frame func([]byte) []byte) {
	k.out.Lock()
	defer k.out.Unlock()
	k.out.buf = frame(k.out.buf)
	if k.out.writing {
		return
	}
	k.out.writing = true
	for len(k.out.buf) > 0 {
		k.out.Unlock()
		runtime.Gosched() // whoever is ready to send joins in
		k.out.Lock()
		b := k.out.buf
		k.out.buf, k.out.spare = k.out.spare[:0], nil
		k.out.Unlock()
		_, err := k.conn.Write(b)
		k.out.Lock()
		k.out.spare = b[:0]
		if err != nil {
			k.out.buf = k.out.buf[:0]
		}
	}
	k.out.writing = false
}

// receive serves the supervisor's frames until the connection ends. ctx is for deliveries.
func (k *link) receive(ctx context.Context, rest []byte) {
	buf := append(make([]byte, 0, 64<<10), rest...)
	for {
		at := 0
		for {
			f, n, err := nextFrame(buf[at:])
			if err == nil && n > 0 {
				at += n
				err = k.take(ctx, f)
			}
			if err != nil {
				k.end(fmt.Errorf("talk to the supervisor: %w", err))
				return
			}
			if n == 0 {
				break
			}
		}
		buf = buf[:copy(buf, buf[at:])]
		if cap(buf)-len(buf) < 16<<10 {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := k.conn.Read(buf[len(buf):cap(buf)])
		if err != nil {
			k.end(k.bury())
			return
		}
		buf = buf[:len(buf)+n]
	}
}

// bury says what the end of the connection means. A supervisor that is dead has given its folder's lock back: then what its
// jobs had started is killed here, so that gone means gone.
func (k *link) bury() error {
	if err := k.cause(); err != nil {
		return err
	}
	lock, err := awaitLock(k.dir)
	if err != nil {
		return fmt.Errorf("the supervisor has ended the connection: %w", err)
	}
	defer lock.Close()
	if err := sweep(marker(k.dir)); err != nil {
		return fmt.Errorf("the supervisor is gone: %w", err)
	}
	return fmt.Errorf("the supervisor is gone: %w", runners.ErrGone)
}

// take serves one frame.
func (k *link) take(ctx context.Context, f frame) error {
	if f.kind == kindNames {
		return k.listed(f)
	}
	k.mu.Lock()
	e := k.tags[f.tag]
	if e != nil && f.kind == kindEnded {
		delete(k.tags, f.tag)
	}
	k.mu.Unlock()
	if e == nil {
		return nil // given up meanwhile
	}
	if f.kind == kindOutput { // its records need no copy as text
		at, records, ok := readOutput(f)
		if !ok {
			return errors.New("read output frame: its fields do not fit")
		}
		e.push(ctx, block{at, append([]byte(nil), records...)})
		return nil
	}
	if f.kind == kindEnded {
		_, _, end, err := readEnding(f)
		if err == nil {
			e.finish(end)
		}
		return err
	}
	r := fieldsOf(f)
	switch f.kind {
	case kindStarted:
		pid, at := r.int(), r.int()
		if err := r.end("started"); err != nil {
			return err
		}
		e.started(int(pid), at)
	case kindRefused:
		errno, message := r.int(), r.text()
		k.drop(e)
		e.fail(explain(e.launch, syscall.Errno(errno), message))
	case kindMoved:
		k.drop(e)
		e.lose(errMoved)
	case kindUnknown:
		k.drop(e)
		e.fail(fmt.Errorf("find %s: %w", e.name, runners.ErrGone))
	}
	return nil
}

// end is the end of the link: nothing more will be heard of its executions.
func (k *link) end(err error) {
	k.mu.Lock()
	if k.ended == nil {
		k.ended = err
		close(k.closed)
	}
	err = k.ended
	left := make([]*execution, 0, len(k.tags))
	for _, e := range k.tags {
		left = append(left, e)
	}
	clear(k.tags)
	clear(k.names)
	k.mu.Unlock()
	k.conn.Close()
	for _, e := range left {
		e.lose(err)
	}
	reapSupervisor(k.pid)
}

// closeWithin bounds the goodbye to the supervisor.
const closeWithin = time.Second

// close lets the supervisor go on alone: without jobs it ends.
func (k *link) close() {
	k.mu.Lock()
	if k.ended == nil {
		k.ended = errClosed
		close(k.closed)
	}
	k.mu.Unlock()
	k.leave()
	k.deliveries.Wait()
	_ = k.conn.SetReadDeadline(time.Now().Add(closeWithin))
	k.send(func(b []byte) []byte { return appendFrame(b, kindClose, 0) })
	k.wg.Wait()
}

// cause is why the link has ended.
func (k *link) cause() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ended
}

// deliver starts a delivery, unless the worker is about to leave.
func (k *link) deliver(ctx context.Context, e *execution) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if errors.Is(k.ended, errClosed) {
		return false
	}
	k.deliveries.Go(func() { e.deliver(ctx) })
	return true
}

// fault ends a link on which something came that cannot be.
func (k *link) fault(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended == nil {
		k.ended = fmt.Errorf("talk to the supervisor: %w", err)
		close(k.closed)
	}
	k.conn.Close() // the receiver does the rest
}
