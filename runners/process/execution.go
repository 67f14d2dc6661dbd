package process

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/runners"
)

// execution is a job as its worker has it.
type execution struct {
	link   *link
	name   string
	tag    uint64
	out    runners.Output
	launch *launch       // nil: it was found, not started
	ready  chan struct{} // closed when it is known to run, or err is set
	done   chan struct{} // closed when result or err is set and its receiver has all output

	polite syscall.Signal // for Stop; 0: SIGTERM

	pid   int   // set before ready is closed
	since int64 // start time in Unix nanoseconds; set before ready is closed

	mu         sync.Mutex
	err        error // why it never came to be, or why its end is not known
	ended      bool  // nothing more comes
	closed     bool  // done is
	result     runners.Result
	queue      []block // output to deliver
	kept       bool    // some is left to the next worker, with the supervisor
	delivering bool    // there is a goroutine that delivers
	giving     bool    // it has blocks that the receiver has not
}

// block is output that came in one frame.
type block struct {
	at      int64 // offset of its first record in the spool
	records []byte
}

var (
	_ runners.Execution = (*execution)(nil)
	_ runners.Leased    = (*execution)(nil)
)

// begun waits until the execution is known to run.
func (e *execution) begun(ctx context.Context) (*execution, error) {
	select {
	case <-e.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("start %s: %w", e.name, context.Cause(ctx))
	}
	if e.pid == 0 {
		return nil, e.err
	}
	return e, nil
}

// ID implements [runners.Execution]: the process ID.
func (e *execution) ID() string { return strconv.Itoa(e.pid) }

// Wait implements [runners.Execution].
func (e *execution) Wait(ctx context.Context) (runners.Result, error) {
	select {
	case <-e.done:
		return e.result, e.err
	case <-ctx.Done():
		return runners.Result{}, context.Cause(ctx)
	}
}

// StopBy implements [runners.Signalled].
func (e *execution) StopBy(signal string) { e.polite = unix.SignalNum(signal) }

// Stop implements [runners.Execution]. A second call can only shorten the grace that runs; without grace it kills.
func (e *execution) Stop(ctx context.Context, grace time.Duration) error {
	select {
	case <-e.done:
		return e.err
	default:
	}
	e.link.send(func(b []byte) []byte {
		if e.polite != 0 {
			return appendNamed(b, kindStop, e.tag, e.name, int64(grace), int64(e.polite))
		}
		return appendNamed(b, kindStop, e.tag, e.name, int64(grace))
	})
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", e.name, context.Cause(ctx))
	}
}

// Lease implements [runners.Leased]. The zero time ends the lease's limit.
func (e *execution) Lease(until time.Time) error {
	at := clockAt(until)
	if !e.link.alive() {
		return fmt.Errorf("extend the lease of %s: %w", e.name, e.link.cause())
	}
	e.link.send(func(b []byte) []byte { return appendNamed(b, kindLease, e.tag, e.name, at) })
	return nil
}

func (e *execution) started(pid int, since int64) {
	if e.pid == 0 {
		e.pid, e.since = pid, since
		close(e.ready)
	}
}

// fail ends an execution that never came to be.
func (e *execution) fail(err error) {
	e.err = err
	close(e.ready)
	close(e.done)
}

// push takes output to deliver.
func (e *execution) push(ctx context.Context, b block) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.delivering && !e.link.deliver(ctx, e) {
		e.kept = true
		return
	}
	e.queue, e.delivering = append(e.queue, b), true
}

// deliver gives output to its receiver and tells the supervisor how far it is stored. What comes meanwhile goes together the
// next time. ctx ends when the worker is about to leave.
func (e *execution) deliver(ctx context.Context) {
	for {
		queue := e.next()
		if queue == nil {
			return
		}
		end, err := e.give(queue)
		if err != nil {
			e.link.fault(err)
		}
		e.given()
		if err == nil && e.out.Flush(ctx) == nil {
			e.link.send(func(f []byte) []byte { return appendNamed(f, kindAck, e.tag, e.name, end) })
		}
	}
}

// next takes what is to be delivered. nil: there is nothing, and this delivery ends.
func (e *execution) next() []block {
	e.mu.Lock()
	defer e.mu.Unlock()
	queue := e.queue
	e.queue, e.giving, e.delivering = nil, len(queue) > 0, len(queue) > 0
	return queue
}

// given notes that the receiver has all that was taken. The end does not wait for it to be stored: whoever records the end
// does, and the supervisor keeps the output until it is told.
func (e *execution) given() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.giving = false
	e.settle()
}

// give hands blocks to the receiver and returns the offset behind the last.
func (e *execution) give(blocks []block) (end int64, err error) {
	for _, b := range blocks {
		if err := deliver(e.out, b.at, b.records); err != nil {
			return 0, err
		}
		end = b.at + int64(len(b.records))
	}
	return end, nil
}

// finish notes how the job ended.
func (e *execution) finish(end ending) { e.conclude(end.result(), nil) }

// lose ends an execution of which nothing more will be heard.
func (e *execution) lose(err error) {
	if e.pid == 0 {
		e.fail(fmt.Errorf("start %s: %w", e.name, err))
		return
	}
	e.conclude(runners.Result{}, err)
}

func (e *execution) conclude(result runners.Result, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ended {
		e.ended, e.result, e.err = true, result, err
		e.settle()
	}
}

// settle makes the end known once the receiver has all output. The caller holds mu.
func (e *execution) settle() {
	if !e.ended || e.giving || len(e.queue) > 0 || e.closed {
		return
	}
	if e.kept {
		e.result, e.err = runners.Result{}, errClosed
	}
	e.closed = true
	close(e.done)
}

// readOutput reads an output frame; block points into the frame.
func readOutput(f frame) (at int64, block []byte, ok bool) {
	at, n := binary.Varint(f.body)
	if n <= 0 || at < 0 {
		return 0, nil, false
	}
	return at, f.body[n:], true
}
