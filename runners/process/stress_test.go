package process

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
)

// TestWorker_replacedOftenGetsEachLineOnce hands a chattering job from worker to worker.
func TestWorker_replacedOftenGetsEachLineOnce(t *testing.T) {
	t.Parallel()
	const lines = 20_000
	dir := t.TempDir()
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo $i; i=$((i+1)); done", lines)
	out := runnertest.NewRecorder()
	r := open(t, dir, "")
	e, err := r.Start(patient(t), spec("job", shell(script), out))
	if err != nil {
		t.Fatal(err)
	}
	handed := 0
	for ; handed < 20; handed++ {
		ctx, cancel := context.WithTimeout(patient(t), 5*time.Millisecond)
		_, err := e.Wait(ctx)
		cancel()
		if err == nil {
			break
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r = open(t, dir, "")
		if e, err = r.Find(patient(t), runners.Sought{Name: "job", Output: out}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Wait(patient(t)); err != nil {
		t.Fatal(err)
	}
	want := make([]string, lines)
	for i := range want {
		want[i] = fmt.Sprint(i)
	}
	if diff := cmp.Diff(want, out.Lines("")); diff != "" {
		t.Errorf("after %d workers (-want +got):\n%.2000s", handed, diff)
	}
}

// TestWorker_killedOftenStoresEachLineOnce kills worker after worker while the job writes as fast as it can.
func TestWorker_killedOftenStoresEachLineOnce(t *testing.T) {
	t.Parallel()
	const lines, kills = 300_000, 20
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	next, last := 1, int64(0)
	read := func(told told, most int) (n int) {
		for ; n < most && told.Scan(); n++ {
			var position int64
			var line int
			if _, err := fmt.Sscanf(told.Text(), "%d %d", &position, &line); err != nil {
				t.Fatalf("a worker tells %q: %v", told.Text(), err)
			}
			if position <= last {
				continue // stored already
			}
			if line != next {
				t.Fatalf("got line %d at position %d, want line %d", line, position, next)
			}
			next, last = line+1, position
		}
		return n
	}
	for range kills {
		worker, told := startWorker(t, dir, shell(fmt.Sprintf("seq %d", lines)), time.Hour)
		if n := read(told, 1+random.IntN(lines/kills)); n == 0 {
			t.Fatal("a worker tells nothing")
		}
		worker.Process.Signal(syscall.SIGKILL)
		read(told, lines) // what it had told when it died
		worker.Wait()
	}
	_, told := startWorker(t, dir, shell("exit 1"), time.Hour)
	read(told, 2*lines)
	if next != lines+1 {
		t.Errorf("got %d lines, want %d", next-1, lines)
	}
}

// TestJobs_manyAtOnce runs jobs that write, end and are stopped in every way, and checks each.
func TestJobs_manyAtOnce(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := open(t, t.TempDir(), "")
	var wg sync.WaitGroup
	for w := range 24 {
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for i := range 12 {
				name := fmt.Sprintf("%d-%d", w, i)
				size, code := random.IntN(3)*random.IntN(60_000), random.IntN(4)
				hang := random.IntN(4) == 0
				script := fmt.Sprintf("head -c %d /dev/zero | tr '\\0' 'x'; echo; echo %s >&2; ", size, name)
				if hang {
					size %= 60_000 // one line, so that two lines are all of the output
					script = fmt.Sprintf("head -c %d /dev/zero | tr '\\0' 'x'; echo; echo %s >&2; ", size, name)
					script += "exec sleep 1000"
				} else {
					script += fmt.Sprintf("exit %d", code)
				}
				out := runnertest.NewRecorder()
				e, err := r.Start(patient(t), spec(name, shell(script), out))
				if err != nil {
					t.Errorf("start %s: %v", name, err)
					return
				}
				if hang {
					out.Await(t, 2)
					if err := e.Stop(patient(t), time.Duration(random.IntN(2))*time.Second); err != nil {
						t.Errorf("stop %s: %v", name, err)
					}
				}
				res, err := e.Wait(patient(t))
				if err != nil || hang != (res.Signal != "") || !hang && res.ExitCode != code {
					t.Errorf("%s: got %+v, %v, want code %d, stopped %v", name, res, err, code, hang)
				}
				if got := strings.Join(out.Lines(runners.Stdout), ""); len(got) != size {
					t.Errorf("%s: got %d bytes, want %d", name, len(got), size)
				}
				if diff := cmp.Diff([]string{name}, out.Lines(runners.Stderr)); diff != "" {
					t.Errorf("%s: stderr (-want +got):\n%s", name, diff)
				}
				r.(runners.Forgetter).Forget(name)
			}
		})
	}
	wg.Wait()
}
