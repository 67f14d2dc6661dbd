package runnertest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/weir-run/weir/runners"
)

// fifo is a named pipe through which a script waits for the test, or the test for the script.
func (b *bench) fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(b.dir, "fifo")
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// feed lets a script go on that reads the fifo.
func (b *bench) feed(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, "fifo"), []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
}

// drain waits for a script that writes the fifo.
func (b *bench) drain(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(b.dir, "fifo"), os.O_RDWR, 0) // both ends: opening does not wait for the script
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(make([]byte, 16)); err != nil {
		t.Fatalf("the job did not come to its end: %v", err)
	}
}

// settle waits until a delivered line counts as delivered: a request that is answered goes after it.
func (b *bench) settle(t *testing.T) {
	t.Helper()
	for range 2 {
		_, _ = b.runner.Find(patient(t), runners.Sought{Name: "never-started", Output: NewRecorder()})
	}
}

func stopPolitely(t *testing.T, b *bench) {
	out := NewRecorder()
	e := b.start(t, "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 600 & wait; done", out)
	out.Await(t, 1)
	if err := e.Stop(patient(t), Patience); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if res := wait(t, e); res.ExitCode != 9 {
		t.Errorf("got exit code %d, want 9", res.ExitCode)
	}
	if got := out.Lines(""); len(got) != 2 || got[1] != "bye" {
		t.Errorf("got output %q, want ready, bye", got)
	}
}

func stopBySignal(t *testing.T, b *bench) {
	out := NewRecorder()
	e := b.start(t, "trap 'echo bye; exit 9' INT; trap 'exit 1' TERM; echo ready; while :; do sleep 600 & wait; done", out)
	s, ok := e.(runners.Signalled)
	if !ok {
		t.Skip("the type knows one signal")
	}
	out.Await(t, 1)
	s.StopBy("SIGINT")
	if err := e.Stop(patient(t), Patience); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if res := wait(t, e); res.ExitCode != 9 {
		t.Errorf("got exit code %d, want 9", res.ExitCode)
	}
}

func stopKills(t *testing.T, b *bench) {
	out := NewRecorder()
	word := "31536000." + b.word()
	e := b.start(t, "trap '' TERM; sleep "+word+" & echo ready; wait; wait; wait", out)
	out.Await(t, 1)
	begun := time.Now()
	if err := e.Stop(patient(t), 200*time.Millisecond); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("stopped after %s, want not before the grace of 200ms has passed", took)
	}
	if b.Running != nil && b.Running(t, word) {
		t.Errorf("a process of the stopped job is running")
	}
	if res := wait(t, e); res.Signal != "SIGKILL" || res.ExitCode != 137 {
		t.Errorf("got signal %q, code %d, want SIGKILL, 137", res.Signal, res.ExitCode)
	}
}

func stopTwice(t *testing.T, b *bench) {
	out := NewRecorder()
	e := b.start(t, "trap '' TERM; echo ready; while :; do sleep 1; done", out)
	out.Await(t, 1)
	first := make(chan error, 1)
	go func() { first <- e.Stop(patient(t), Patience) }()
	if err := e.Stop(patient(t), time.Millisecond); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if err := <-first; err != nil {
		t.Errorf("first stop: %v", err)
	}
	if err := e.Stop(patient(t), time.Millisecond); err != nil {
		t.Errorf("stop after the end: %v", err)
	}
}

func leftovers(t *testing.T, b *bench) {
	if b.Running == nil {
		t.Skip("the harness cannot tell")
	}
	word := "31536000." + b.word()
	res, _ := b.run(t, "sleep "+word+" & (setsid sleep "+word+" &); exit 0")
	if res.ExitCode != 0 {
		t.Errorf("got exit code %d, want 0", res.ExitCode)
	}
	if b.Running(t, word) {
		t.Errorf("a process that the job had started is running")
	}
}

// word is digits that are this test's own, to find its processes by.
func (b *bench) word() string {
	n := uint32(2166136261)
	for _, c := range []byte(b.name + b.dir) {
		n = (n ^ uint32(c)) * 16777619
	}
	digits := []byte("0000000000")
	for i := range digits {
		digits[i] += byte(n % 10)
		n = n*1664525 + 1013904223
	}
	return string(digits)
}
