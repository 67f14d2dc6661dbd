package runnertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/weir-run/weir/runners"
)

// Recorder is a [runners.Output] that keeps what it is given.
type Recorder struct {
	mu    sync.Mutex
	lines []Line
	more  chan struct{} // closed and replaced at each line
}

// Line is one line of output.
type Line struct {
	Stream runners.Stream
	At     time.Time
	Text   string
}

// NewRecorder returns an empty recorder.
func NewRecorder() *Recorder { return &Recorder{more: make(chan struct{})} }

// Line implements [runners.Output].
func (r *Recorder) Line(stream runners.Stream, at time.Time, line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, Line{stream, at, string(line)})
	close(r.more)
	r.more = make(chan struct{})
}

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
