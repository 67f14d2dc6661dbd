package docker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
)

// reader takes a container's log to an output, from what is stored on. It survives the engine: the log is read again from its
// start, and what was given before is left out.
type reader struct {
	e     *execution
	out   runners.Output
	given int64  // position of the last line that out has
	last  []byte // the last entry that was read
	lines assembler
	size  int // bytes given and not flushed
}

// run returns once the job has ended and out has every line, or ctx ends.
func (r *reader) run(ctx context.Context) error {
	r.lines.line = r.line
	if r.e.found {
		if err := r.recall(ctx); err != nil {
			return err
		}
	}
	last := make(chan []byte, 1) // the log's last entry, asked for as soon as the job has ended
	r.e.runner.spawn(func(context.Context) {
		select {
		case <-r.e.died:
			last <- r.tail(ctx)
		case <-ctx.Done():
			last <- unknownTail
		}
	})
	for refused, wait := 0, firstWait; ; wait = min(2*wait, longestWait) {
		ended := isClosed(r.e.died) // before the log is read: then what is read is all
		err := r.read(ctx, !ended)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && (ended || r.e.awaitDeath(ctx) && bytes.Equal(<-last, r.last)):
			r.lines.finish(time.Now())
			return r.flush(ctx)
		case err == nil: // there is more
		case !unreachable(err), errors.Is(err, errUnreadable):
			// A log that goes with its container, or breaks off, is no reason not to tell how the job ended.
			if !r.e.awaitDeath(ctx) {
				if wait == longestWait {
					r.rest(ctx)
				}
			} else if refused++; refused > maxRefused || errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
				return r.missing(ctx, err)
			}
		default:
			if err := r.e.runner.engine.await(ctx, false); err != nil {
				return err
			}
		}
		if !pause(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// maxRefused is how often an engine may refuse to show the log of a job that has ended.
const maxRefused = 5

// restTime is how long the log of a job that is at work is left alone that the engine cannot show: each try reads it from its start.
const restTime = time.Minute

func (r *reader) rest(ctx context.Context) {
	select {
	case <-r.e.died:
	case <-r.e.lost:
	case <-ctx.Done():
	case <-time.After(restTime):
	}
}

// missing ends the output of a job whose log cannot be read on, for the reason why.
func (r *reader) missing(ctx context.Context, why error) error {
	r.e.runner.log.Warn("the output of a job is not complete: the engine does not give it", "execution", r.e.name, "err", why)
	r.lines.missing(time.Now(), said(why))
	return r.flush(ctx)
}

// recall asks what workers before this one have stored.
func (r *reader) recall(ctx context.Context) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		stored, err := r.out.Last(ctx)
		if err == nil {
			r.given = stored
			return nil
		}
		if !pause(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// read reads the log from its start to its end, which with follow is the job's.
func (r *reader) read(ctx context.Context, follow bool) error {
	log, err := r.e.runner.engine.api.ContainerLogs(ctx, r.e.id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow})
	if err != nil {
		return err
	}
	defer log.Close()
	b := bufio.NewReaderSize(log, 16<<10)
	r.last = nil
	r.lines = assembler{line: r.line}
	for {
		e, err := readEntry(b)
		if errors.Is(err, io.EOF) {
			return r.flush(ctx)
		} else if err != nil {
			return err
		}
		r.last = e.raw
		r.lines.add(e)
		if b.Buffered() < entryHead || r.size >= runners.MaxUnstored/2 {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// line gives a line that was not given before.
func (r *reader) line(l runners.Line) {
	if l.Position > r.given {
		r.given = l.Position
		r.size += len(l.Text) + 1
		r.out.Line(l)
	}
}

func (r *reader) flush(ctx context.Context) error {
	if r.size == 0 {
		return nil
	}
	r.size = 0
	return r.out.Flush(ctx)
}

// tail is the last entry of a log that is complete; empty: it has none. It has to be the last that was read: an
// engine that follows a log may stop at the job's end without having shown all of it (moby before 23.0).
func (r *reader) tail(ctx context.Context) []byte {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	log, err := r.e.runner.engine.api.ContainerLogs(ctx, r.e.id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Tail: "1"})
	if err != nil {
		return unknownTail
	}
	defer log.Close()
	e, err := readEntry(bufio.NewReader(log))
	if err != nil && !errors.Is(err, io.EOF) {
		return unknownTail
	}
	return e.raw
}

// unknownTail is like no entry: then the log is read once more.
var unknownTail = []byte("?")
