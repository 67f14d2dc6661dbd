package runnertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/weir-run/weir/runners"
)

// Recorder is a [runners.Output] that keeps each line once, in memory. Workers that come one after the other may share it.
type Recorder struct {
	mu    sync.Mutex
	lines []Line
	last  int64
	more  chan struct{} // closed and replaced at each line
}

// Line is one line of output.
type Line struct {
	Stream    runners.Stream
	At        time.Time
	Text      string
	Continued bool
}

// NewRecorder returns an empty recorder.
func NewRecorder() *Recorder { return &Recorder{more: make(chan struct{})} }

// Last implements [runners.Output].
func (r *Recorder) Last(context.Context) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, nil
}

// Line implements [runners.Output].
func (r *Recorder) Line(l runners.Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.Position <= r.last {
		return
	}
	r.last = l.Position
	r.lines = append(r.lines, Line{l.Stream, l.At, string(l.Text), l.Continued})
	close(r.more)
	r.more = make(chan struct{})
}

// Flush implements [runners.Output]: a line is kept at once.
func (r *Recorder) Flush(context.Context) error { return nil }

// Lines returns the lines of one stream, or of both when stream is empty, in the order in which they came.
func (r *Recorder) Lines(stream runners.Stream) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, l := range r.lines {
		if stream == "" || l.Stream == stream {
			list = append(list, l.Text)
		}
	}
	return list
}

// Records returns every line with its stream and time.
func (r *Recorder) Records() []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Line(nil), r.lines...)
}

// Await returns once n lines have come, and fails the test when they do not come within [Patience].
func (r *Recorder) Await(t testing.TB, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for {
		r.mu.Lock()
		got, more := len(r.lines), r.more
		r.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("got %d lines within %s, want %d: %q", got, Patience, n, r.Lines(""))
		}
	}
}
