package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
)

// chatter prints, to its output and to the file printed, until there is a file enough.
const chatter = `
until test -e enough; do
	i=$((i+1))
	line="line $i of attempt $WEIR_ATTEMPT"
	echo "$line" >> printed
	echo "$line"
	test $((i % 20)) -ne 0 || sleep 0.01
done
printf 'no newline at the end' | tee -a printed
`

func TestFault_workerThatIsKilledAgainAndAgainKeepsItsRunAndEveryLine(t *testing.T) {
	t.Parallel()
	killedAgainAndAgain(t, scripted(t, 10, chatter), 3, func() {})
}

// killedAgainAndAgain kills a worker so many times while it holds a run of the project in dir, whose job is [chatter]. again is called
// after each new start.
func killedAgainAndAgain(t *testing.T, dir string, kills int, again func()) {
	t.Helper()
	url, conn := onServer(t, dir)
	worker := workerIn(t, dir, url, "a")
	run := submit(t, conn)
	reached(t, conn, run, inState(schemas.Running, 1))
	follow := start(t, dir, "--server", url, "flow-run", "logs", "-f", run)
	for range kills {
		follow.await(t, lastPrinted(t, dir)) // the job goes on, and its lines arrive
		worker.signal(t, syscall.SIGKILL)
		<-worker.ended
		worker = workerIn(t, dir, url, "a")
		again()
	}
	follow.await(t, lastPrinted(t, dir))
	if err := os.WriteFile(filepath.Join(dir, "enough"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"pending 1  a", "running 1  a"}
	for range kills {
		want = append(want, "running 1 held a")
	}
	events := life(t, conn, run)
	if events[1] == events[0] {
		events = events[1:] // it was on its way for a while, with an ID
	}
	if diff := cmp.Diff(append(want, "completed 1  a"), events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	printed, err := os.ReadFile(filepath.Join(dir, "printed"))
	if err != nil {
		t.Fatal(err)
	}
	logs := start(t, dir, "--server", url, "flow-run", "logs", run)
	for _, p := range []*program{follow, logs} {
		if code := p.exit(t); code != exitOK || p.output() != string(printed)+"\n" {
			t.Errorf("%s: exit code %d, and %d bytes, want the %d that the job printed and a newline; they part at byte %d", p.cmd, code, len(p.output()),
				len(printed), parting(p.output(), string(printed)))
		}
	}
}

// lastPrinted waits until the job has printed one more line, and returns it.
func lastPrinted(t *testing.T, dir string) string {
	t.Helper()
	lines := func() [][]byte {
		b, err := os.ReadFile(filepath.Join(dir, "printed"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return bytes.Split(b, []byte("\n"))
	}
	for before, limit := len(lines()), time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // a file tells nobody that it grows
		if now := lines(); len(now) > before+1 {
			return string(now[len(now)-2]) + "\n"
		} else if time.Now().After(limit) {
			t.Fatal("the job prints nothing more")
		}
	}
}

// parting is where two texts begin to differ.
func parting(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func TestFault_runOfAPoolsOnlyWorkerIsRecoveredByTheServer(t *testing.T) {
	t.Parallel()
	dir := scripted(t, shortest, `test $WEIR_ATTEMPT -gt 1 || exec sleep 600`)
	url, conn := onServer(t, dir)
	only := workerIn(t, dir, url, "only")
	run := submit(t, conn)
	reached(t, conn, run, inState(schemas.Running, 1))
	only.signal(t, syscall.SIGKILL)
	killed := time.Now()
	reached(t, conn, run, func(e schemas.RunEvent) bool { return e.State != schemas.Pending && e.State != schemas.Running })
	if took := time.Since(killed); took > (shortest+5)*time.Second {
		t.Errorf("the run was recorded as lost after %s, want that within ack wait + 5 s", took)
	} else {
		t.Logf("recorded as lost after %s", took)
	}
	workerIn(t, dir, url, "new")
	events := life(t, conn, run)
	if len(events) != 6 {
		t.Fatalf("events: got %q, want pending, running, retrying, pending, running, completed", events)
	}
	want := []string{"pending 2  new", "running 2  new", "completed 2  new"}
	if diff := cmp.Diff(want, events[3:]); diff != "" {
		t.Errorf("events after the recovery (-want +got):\n%s", diff)
	}
}
