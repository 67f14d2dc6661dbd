package runnertest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
)

// archive is what is stored of an execution's output. It outlives the workers, each of which has an output of its own.
type archive struct {
	mu    sync.Mutex
	lines []runners.Line
}

func (a *archive) last() int64 {
	if len(a.lines) == 0 {
		return 0
	}
	return a.lines[len(a.lines)-1].Position
}

func (a *archive) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	for _, l := range a.lines {
		fmt.Fprintf(&b, "%s\n", l.Text)
	}
	return b.String()
}

// mortal is the [runners.Output] of a worker that dies in the middle of a flush: once it has stored so many lines. What it was
// given beyond them dies with it.
type mortal struct {
	*archive
	left    int // lines to store; under mu
	waiting []runners.Line
	dead    chan struct{}
}

func (a *archive) worker(lines int) *mortal {
	return &mortal{archive: a, left: lines, dead: make(chan struct{})}
}

func (m *mortal) Last(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last(), nil
}

func (m *mortal) Line(l runners.Line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = append(m.waiting, l)
}

func (m *mortal) Flush(ctx context.Context) error {
	if m.store() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// store tells whether the worker lives on.
func (m *mortal) store() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.waiting {
		if m.left == 0 {
			return false
		}
		if l.Position <= m.last() {
			continue
		}
		m.lines = append(m.lines, l)
		if m.left--; m.left == 0 {
			close(m.dead)
			return false
		}
	}
	m.waiting = nil
	return m.left > 0
}

// outputOnce lets worker after worker die while the job writes as fast as it can.
func outputOnce(t *testing.T, b *bench) {
	const lines, workers = 100_000, 10
	var stored archive
	out := stored.worker(lines / (workers + 1))
	e := b.start(t, fmt.Sprintf("seq %d", lines), out)
	for n := range workers {
		select {
		case <-out.dead:
		case <-patient(t).Done():
			t.Fatalf("worker %d was not given all lines that are left", n+1)
		}
		b.die(t)
		out = stored.worker(lines / (workers + 1))
		if n == workers-1 {
			out = stored.worker(lines)
		}
		var err error
		if e, err = b.runner.Find(patient(t), runners.Sought{Name: b.name, Output: out}); err != nil {
			t.Fatalf("find by worker %d: %v", n+2, err)
		}
	}
	wait(t, e)
	if err := out.Flush(patient(t)); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, i+1)
	}
	if diff := cmp.Diff(want.String(), stored.text()); diff != "" {
		t.Errorf("stored lines (-want +got):\n%.2000s", diff)
	}
}
