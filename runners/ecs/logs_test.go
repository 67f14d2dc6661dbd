package ecs

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/runners/runnertest"
)

// stored is a run's log, which outlives its workers. Each of them has an output of its own, which may die in the middle of a flush.
type stored struct {
	mu    sync.Mutex
	lines []string
	last  int64
}

// output is that of a worker which dies when it has stored so many lines; below 0: it lives.
func (s *stored) output(left int) *mortal {
	return &mortal{stored: s, left: left, dead: make(chan struct{})}
}

type mortal struct {
	*stored
	left    int // lines until its death
	waiting []runners.Line
	given   int // bytes
	dead    chan struct{}
}

// Last implements [runners.Output].
func (m *mortal) Last(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, nil
}

// Line implements [runners.Output].
func (m *mortal) Line(l runners.Line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = append(m.waiting, l)
	m.given += len(l.Text)
}

// Flush implements [runners.Output].
func (m *mortal) Flush(ctx context.Context) error {
	m.mu.Lock()
	for _, l := range m.waiting {
		if m.left == 0 || l.Position <= m.last {
			continue
		}
		m.last = l.Position
		m.lines = append(m.lines, string(l.Text))
		if m.left--; m.left == 0 {
			close(m.dead)
		}
	}
	m.waiting = nil
	dead := m.left == 0
	m.mu.Unlock()
	if dead {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func TestLogs_onceOverWorkers(t *testing.T) {
	for name, tune := range map[string]func(k *ecstest.Knobs){
		"at once":                func(*ecstest.Knobs) {},
		"late, with empty pages": func(k *ecstest.Knobs) { k.Ingestion, k.EmptyPages = 4*time.Second, true },
	} {
		t.Run(name, func(t *testing.T) {
			const lines, workers = 40_000, 8
			bubble(t, forever, func(t *testing.T, b *bench) {
				b.Tune(tune)
				log := &stored{}
				out := log.output(lines / (workers + 1))
				r := b.worker("w0")
				e := b.start(r, b.spec("r.1", out, nil))
				<-e.Begun()
				go func() { // many lines in one millisecond, and some milliseconds without any
					for i := range lines {
						b.Write(e.ID(), fmt.Sprintf("line %d", i+1))
						if i%700 == 0 {
							time.Sleep(time.Duration(i%5) * time.Second)
						}
					}
					b.Exit(e.ID(), 0)
				}()
				for n := range workers {
					<-out.dead
					b.close(r)
					out = log.output(lines / (workers + 1))
					if n == workers-1 {
						out = log.output(-1)
					}
					r = b.worker(fmt.Sprintf("w%d", n+1))
					e = b.find(r, runners.Sought{Name: "r.1", ID: e.ID(), Output: out})
				}
				b.wait(e)
				want := make([]string, lines)
				for i := range want {
					want[i] = fmt.Sprintf("line %d", i+1)
				}
				if diff := cmp.Diff(want, log.lines); diff != "" {
					t.Errorf("stored %d lines, want %d (-want +got):\n%.1000s", len(log.lines), lines, diff)
				}
			})
		})
	}
}

func TestLogs_ofAJobThatDiesAtOnce(t *testing.T) {
	bubble(t, lives(0, 1, lines(3)...), func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.Pace, k.Ingestion = ecstest.Pace{}, 3*time.Second })
		out := runnertest.NewRecorder()
		if res := b.wait(b.start(b.worker("w"), b.spec("r.1", out, nil))); res.ExitCode != 1 {
			t.Errorf("got %+v, want exit code 1", res)
		}
		if diff := cmp.Diff(lines(3), out.Lines("")); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
	})
}

func TestLogs_ofNothingWritten(t *testing.T) {
	bubble(t, lives(time.Minute, 0), func(t *testing.T, b *bench) {
		e := b.start(b.worker("w"), b.spec("r.1", nil, nil))
		<-e.over
		ended := time.Now()
		b.wait(e)
		if took := time.Since(ended); took > readPace.settle+3*time.Second {
			t.Errorf("the end was told %s after it was known", took)
		}
	})
}

func TestLogs_comeWhileTheJobRuns(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		out := runnertest.NewRecorder()
		e := b.start(b.worker("w"), b.spec("r.1", out, nil))
		<-e.Begun()
		for i, quiet := range []time.Duration{time.Second, time.Minute, time.Hour, 0} {
			time.Sleep(quiet)
			b.Write(e.ID(), fmt.Sprintf("line %d", i+1))
			time.Sleep(12 * time.Second)
			if diff := cmp.Diff(lines(i+1), out.Lines("")); diff != "" {
				t.Fatalf("12 s after line %d (-want +got):\n%s", i+1, diff)
			}
		}
	})
}

// The driver could not send for ten minutes. What it had kept comes at once, with the times at which it was written, older than what the
// stream was read from last.
func TestLogs_sentLate(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		out := runnertest.NewRecorder()
		r := b.worker("w")
		e := b.start(r, b.spec("r.1", out, nil))
		other := b.start(r, b.spec("other.1", nil, nil)) // another stream in the same reads
		<-e.Begun()
		<-other.Begun()
		b.Write(e.ID(), "line 1")
		time.Sleep(10 * time.Minute)
		now := time.Now()
		for i := range 20 {
			b.WriteAt(e.ID(), now.Add(time.Duration(i-20)*30*time.Second), fmt.Sprintf("line %d", i+2))
		}
		out.Await(t, 21)
		if diff := cmp.Diff(lines(21), out.Lines("")); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
	})
}

// Lines become readable in another order than they were written in, by less than what reading holds back.
func TestLogs_outOfOrder(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		out := runnertest.NewRecorder()
		e := b.start(b.worker("w"), b.spec("r.1", out, nil))
		<-e.Begun()
		for i := range 200 {
			now := time.Now()
			b.WriteAt(e.ID(), now.Add(400*time.Millisecond), fmt.Sprintf("line %d", 2*i+2))
			time.Sleep(410 * time.Millisecond)
			b.WriteAt(e.ID(), now, fmt.Sprintf("line %d", 2*i+1))
			time.Sleep(100 * time.Millisecond)
		}
		b.Exit(e.ID(), 0)
		b.wait(e)
		if diff := cmp.Diff(lines(400), out.Lines("")); diff != "" {
			t.Errorf("output (-want +got):\n%.1000s", diff)
		}
	})
}

func TestLogs_readManyAtOnce(t *testing.T) {
	const tasks = 250
	bubble(t, lives(30*time.Minute, 0, lines(2)...), func(t *testing.T, b *bench) {
		r := b.worker("w")
		var wg sync.WaitGroup
		for i := range tasks {
			wg.Go(func() {
				out := runnertest.NewRecorder()
				b.wait(b.start(r, b.spec(fmt.Sprintf("r%d.1", i), out, nil)))
				if diff := cmp.Diff(lines(2), out.Lines("")); diff != "" {
					t.Errorf("output of %d (-want +got):\n%s", i, diff)
				}
			})
		}
		time.Sleep(10 * time.Minute)
		many, one := b.Calls("logs:FilterLogEvents"), b.Calls("logs:GetLogEvents")
		time.Sleep(10 * time.Minute)
		if got := b.Calls("logs:FilterLogEvents") - many; got > 3*60+6 {
			t.Errorf("got %d reads of %d quiet streams in 10 minutes, want 3 every 10 s", got, tasks)
		}
		if got := b.Calls("logs:GetLogEvents"); got > one || one > 10 {
			t.Errorf("got %d reads of single streams, %d before, want hardly any", got-one, one)
		}
		wg.Wait()
	})
}

// One whose receiver takes nothing blocks nobody, and no more than a page of its output is in memory.
func TestLogs_slowReceiverBlocksNobody(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		stuck := make([]*mortal, 10)
		all := make([]*execution, len(stuck))
		var wg sync.WaitGroup
		for i := range stuck {
			stuck[i] = (&stored{}).output(1)
			wg.Go(func() { all[i] = b.start(r, b.spec(fmt.Sprintf("stuck%d.1", i), stuck[i], nil)) })
		}
		wg.Wait()
		out := runnertest.NewRecorder()
		e := b.start(r, b.spec("r.1", out, nil))
		<-e.Begun()
		for range 30 {
			for _, e := range all {
				b.Write(e.ID(), strings.Repeat("x", 100_000))
			}
			time.Sleep(time.Second)
		}
		b.Write(e.ID(), lines(3)...)
		b.Exit(e.ID(), 0)
		for _, e := range all {
			b.Exit(e.ID(), 0)
		}
		b.wait(e)
		if diff := cmp.Diff(lines(3), out.Lines("")); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
		time.Sleep(10 * time.Minute)
		for i, e := range all {
			if isClosed(e.done) {
				t.Errorf("the end of %d is told although its output is not stored", i)
			}
			if got := stuck[i].given; got > 2*runners.MaxUnstored {
				t.Errorf("%d was given %d bytes although it stores none", i, got)
			}
		}
	})
}

func TestLogs_manyBytesAtOnce(t *testing.T) {
	const n = 60_000 // more than one answer holds, by their number and by their size
	bubble(t, forever, func(t *testing.T, b *bench) {
		log := &stored{}
		e := b.start(b.worker("w"), b.spec("r.1", log.output(-1), nil))
		<-e.Begun()
		want := make([]string, n)
		for i := range want {
			want[i] = fmt.Sprintf("%d %s", i, strings.Repeat("x", i%100))
		}
		b.Write(e.ID(), want...)
		b.Exit(e.ID(), 0)
		b.wait(e)
		if diff := cmp.Diff(want, log.lines); diff != "" {
			t.Errorf("stored %d lines, want %d (-want +got):\n%.1000s", len(log.lines), n, diff)
		}
	})
}

func TestLogs_longLine(t *testing.T) {
	bubble(t, lives(time.Minute, 0), func(t *testing.T, b *bench) {
		out := runnertest.NewRecorder()
		e := b.start(b.worker("w"), b.spec("r.1", out, nil))
		<-e.Begun()
		long := strings.Repeat("0123456789abcdef", 12_000) // 192,000 bytes
		b.Write(e.ID(), long, "end")
		b.wait(e)
		got := ""
		for _, l := range out.Records() {
			if len(l.Text) > runners.MaxLine {
				t.Errorf("got a line of %d bytes", len(l.Text))
			}
			got += l.Text
			if !l.Continued {
				got += "\n"
			}
		}
		if got != long+"\nend\n" {
			t.Errorf("got %d bytes, want %d", len(got), len(long)+5)
		}
	})
}

func TestLogs_groupIsMissing(t *testing.T) {
	bubble(t, lives(time.Minute, 3), func(t *testing.T, b *bench) {
		r := b.worker("w")
		e := b.start(r, b.spec("r.1", nil, nil))
		<-e.Begun()
		e.output.group.name = "/weir/taken-away"
		if res := b.wait(e); res.ExitCode != 3 {
			t.Errorf("got %+v, want exit code 3", res)
		}
		if got := b.log.count("CloudWatch does not show"); got != 1 {
			t.Errorf("warned %d times, want once", got)
		}
	})
}

// What CloudWatch refuses to show does not keep a run from its end, and the log says that something is missing.
func TestLogs_refused(t *testing.T) {
	bubble(t, lives(time.Minute, 3, lines(1)...), func(t *testing.T, b *bench) {
		if err := b.AddUser("AKIABLIND", "blind", `{"Statement":[{"Effect":"Allow","Action":["ecs:*","iam:PassRole"],"Resource":"*"}]}`); err != nil {
			t.Fatal(err)
		}
		c := b.clients()
		(&changing{key: "AKIABLIND"}).into(b, c)
		out := runnertest.NewRecorder()
		e := b.start(b.workerWith("w", runners.Config{}, c, ""), b.spec("r.1", out, nil))
		if res := b.wait(e); res.ExitCode != 3 {
			t.Errorf("got %+v, want exit code 3", res)
		}
		if got := out.Lines(""); len(got) != 1 || !strings.Contains(got[0], "output may be missing") {
			t.Errorf("got output %q, want a line that says that it is missing", got)
		}
	})
}

func TestLogs_notStored(t *testing.T) {
	for name, after := range map[string]bool{"by the worker that starts it": false, "by the one that finds it": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, lives(time.Minute, 0, "one", resultMark+`1/1 {"n":1}`, "two"), func(t *testing.T, b *bench) {
				out := runnertest.NewRecorder()
				r := b.worker("w")
				e := b.start(r, b.spec("r.1", out, map[string]any{"stream_output": false}))
				if after {
					b.close(r)
					e = b.find(b.worker("next"), runners.Sought{Name: "r.1", ID: e.ID(), Output: out})
				}
				res := b.wait(e)
				if string(res.Value) != `{"n":1}` {
					t.Errorf("got result %s", res.Value)
				}
				if got := out.Lines(""); len(got) > 0 {
					t.Errorf("got output %q, want none", got)
				}
			})
		})
	}
}

func TestLogs_withAResult(t *testing.T) {
	bubble(t, lives(time.Minute, 0, "one", resultMark+`1/2 {"n":`, resultMark+"2/2 1}"), func(t *testing.T, b *bench) {
		out := runnertest.NewRecorder()
		res := b.wait(b.start(b.worker("w"), b.spec("r.1", out, nil)))
		if string(res.Value) != `{"n":1}` {
			t.Errorf("got result %s", res.Value)
		}
		if got := out.Lines(""); !cmp.Equal(got, []string{"one"}) {
			t.Errorf("got output %q, want it without the result", got)
		}
	})
}

// A stream with much to read has its turn although those of many are overdue, which their number makes them be.
func TestLogs_muchIsNotHeldUpByMany(t *testing.T) {
	now := time.Now()
	g := &logGroup{reader: &reader{pace: readPace}, wake: make(chan struct{}, 1), on: true, streams: 500}
	put := func(s *stream, due time.Time) *stream {
		s.due = due
		g.put(s)
		return s
	}
	for range 499 {
		put(&stream{last: now.UnixMilli()}, now.Add(-time.Minute))
	}
	much := put(&stream{behind: true}, now)
	next := now.Add(time.Second) // the time of the next read of many
	if wait, _ := g.wait(next); wait > 0 {
		t.Errorf("the next read is in %s, want it now", wait)
	}
	if batch, alone := g.take(now, next); !alone || len(batch) != 1 || batch[0] != much {
		t.Errorf("got %d streams (alone: %t), want the one with much to read", len(batch), alone)
	}
	if batch, _ := g.take(now, next); len(batch) > 0 {
		t.Errorf("got %d streams before it is time", len(batch))
	}
	put(much, now)
	if batch, alone := g.take(next, next); alone || len(batch) != filtered {
		t.Errorf("got %d streams (alone: %t), want a hundred of many when it is time", len(batch), alone)
	}
}
