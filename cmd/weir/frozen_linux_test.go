package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
)

// beat is a shell script that tells, many times a second, who lives, and since when the machine has been up, which is the same
// for all processes and which nobody sets (CLOCK_BOOTTIME). It does not end when it is asked to, but with the
// test's folder.
const beat = `
trap '' TERM INT HUP
while test -e beat.sh; do
	read up rest < /proc/uptime
	echo "$1 $WEIR_ATTEMPT $$ $up" >> beats
	test $WEIR_ATTEMPT -eq 1 || exit 0
	sleep 0.02
done
`

// stubborn is a job whose first attempt, and what that has started, one of it in a session of its own, live until they are
// killed. A second one ends at once.
const stubborn = `
echo $PPID > supervisor
if test $WEIR_ATTEMPT -eq 1; then
	sh beat.sh child &
	(setsid sh beat.sh stranger &)
fi
exec sh beat.sh job
`

// allOf are those of a stubborn job's first attempt.
var allOf = []string{"job", "child", "stranger"}

// stubbornProject is a project with that job.
func stubbornProject(t *testing.T, more ...string) (dir string) {
	t.Helper()
	dir = scripted(t, shortest, stubborn, more...)
	if err := os.WriteFile(filepath.Join(dir, "beat.sh"), []byte(beat), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// heartbeat is one line of what beat writes.
type heartbeat struct {
	who     string
	attempt int
	pid     int
	up      float64 // seconds
}

// heartbeats reads what the jobs in dir have written.
func heartbeats(t *testing.T, dir string) (beats []heartbeat) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "beats"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var b heartbeat
		if _, err := fmt.Sscanf(line, "%s %d %d %f\n", &b.who, &b.attempt, &b.pid, &b.up); err == nil {
			beats = append(beats, b) // a killed job's last line may lack its end
		}
	}
	return beats
}

// alive tells whether a process lives; one that only waits for its parent does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return err == nil && !bytes.HasPrefix(state, []byte("Z"))
}

// awaitBeats waits until all of a stubborn job live, and returns their process IDs.
func awaitBeats(t *testing.T, dir string) (pids []int) {
	t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // a file tells nobody that it grows
		seen := map[string]int{}
		for _, b := range heartbeats(t, dir) {
			seen[b.who] = b.pid
		}
		if len(seen) == len(allOf) {
			return slices.Collect(maps.Values(seen))
		} else if time.Now().After(limit) {
			t.Fatalf("got a heartbeat of %v, want those of %v", seen, allOf)
		}
	}
}

// apart fails the test unless everything of the first attempt was over before anything of the second began, and lives no more.
func apart(t *testing.T, dir string) {
	t.Helper()
	var last, first float64
	lives := map[int]bool{}
	for _, b := range heartbeats(t, dir) {
		switch b.attempt {
		case 1:
			last = max(last, b.up)
			if !lives[b.pid] && alive(b.pid) {
				lives[b.pid] = true
				t.Errorf("%s of the first attempt, process %d, lives on", b.who, b.pid)
			}
		case 2:
			if first == 0 {
				first = b.up
			}
			first = min(first, b.up)
		}
	}
	if last == 0 || first <= last {
		t.Errorf("the first attempt lived until %.2f, the second since %.2f: want one after the other", last, first)
	}
}

func TestFault_frozenWorkersJobIsDeadBeforeAnotherAttemptStarts(t *testing.T) {
	t.Parallel()
	dir := stubbornProject(t, "grace: 1s")
	url, conn := onServer(t, dir)
	frozen := workerIn(t, dir, url, "frozen")
	run := submit(t, conn)
	awaitBeats(t, dir)
	reached(t, conn, run, inState(schemas.Running, 1))
	frozen.signal(t, syscall.SIGSTOP)
	t.Cleanup(func() { _ = frozen.cmd.Process.Signal(syscall.SIGCONT) }) // it ends with the test
	other := workerIn(t, dir, url, "other")
	events := life(t, conn, run)
	apart(t, dir)
	want := []string{"pending 2  other", "running 2  other", "completed 2  other"}
	if diff := cmp.Diff(want, events[max(0, len(events)-3):]); diff != "" {
		t.Errorf("last events (-want +got):\n%s", diff)
	}

	// It wakes up, says nothing more about that run, and takes others.
	frozen.signal(t, syscall.SIGCONT)
	other.signal(t, syscall.SIGTERM)
	if code := other.exit(t); code != exitOK {
		t.Errorf("other worker: exit code %d:\n%s", code, other.output())
	}
	next := submit(t, conn)
	reached(t, conn, next, inState(schemas.Running, 1))
	if diff := cmp.Diff(events, life(t, conn, run)); diff != "" {
		t.Errorf("events after the worker woke up (-before +after):\n%s", diff)
	}
	mustRun(t, dir, "--server", url, "flow-run", "cancel", next)
}

func TestFault_killedSupervisorsJobsDieAndTheirRunIsTriedAgain(t *testing.T) {
	t.Parallel()
	dir := stubbornProject(t)
	url, conn := onServer(t, dir)
	workerIn(t, dir, url, "a")
	run := submit(t, conn)
	awaitBeats(t, dir)
	reached(t, conn, run, inState(schemas.Running, 1))
	text, err := os.ReadFile(filepath.Join(dir, "supervisor"))
	if err != nil {
		t.Fatal(err)
	}
	supervisor, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	want := []string{"pending 1  a", "running 1  a", "retrying 1 worker_lost a", "pending 2  a", "running 2  a", "completed 2  a"}
	if diff := cmp.Diff(want, life(t, conn, run)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	apart(t, dir)
}
