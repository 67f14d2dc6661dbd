package process

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/runners"
)

// The test binary plays the supervisor and the worker that a test kills.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		var err error
		switch os.Args[1] {
		case "supervisor":
			err = Supervise(context.Background(), os.Args[2])
		case "worker":
			err = playWorker(os.Args[2:])
		case "hider":
			err = playHider()
		default:
			goleak.VerifyTestMain(m)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// testType is the process pool whose supervisors this binary plays.
var testType = NewType(func(dir string) ([]string, error) {
	return []string{"/proc/self/exe", "supervisor", dir}, nil
})

func open(t testing.TB, dir, code string) runners.Runner {
	t.Helper()
	r, err := testType.New(context.Background(), runners.Config{Worker: "w", Pool: "p", Dir: dir, Code: code})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		log, _ := os.ReadFile(filepath.Join(dir, "supervisor.log"))
		for _, bad := range []string{"DATA RACE", "panic", "fatal error", "level=ERROR", " ERROR "} {
			if strings.Contains(string(log), bad) {
				t.Errorf("the supervisor's log:\n%s", log)
				break
			}
		}
	})
	return r
}

// playWorker is a worker that starts or finds one job in the folder args[0], under the name "job", and tells of its lines.
// args[1] is the job configuration, args[2] how long its lease lasts.
func playWorker(args []string) error {
	r, err := testType.New(context.Background(), runners.Config{Worker: "w", Pool: "p", Dir: args[0]})
	if err != nil {
		return err
	}
	lease, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	var out teller
	s := spec("job", args[1], &out)
	s.Lease = time.Now().Add(lease)
	e, err := r.Start(context.Background(), s)
	if err != nil {
		return err
	}
	if _, err = e.Wait(context.Background()); err != nil {
		return err
	}
	return out.Flush(context.Background())
}

// playHider is a process that hides its environment, as ssh-agent does. It tells when it has.
func playHider() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	fmt.Println("hidden")
	time.Sleep(time.Minute)
	return nil
}

// teller stores lines by telling them with their positions on standard output.
type teller struct {
	nowhere
	mu  sync.Mutex
	out bytes.Buffer
}

func (t *teller) Line(l runners.Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(&t.out, "%d %s\n", l.Position, l.Text)
}

func (t *teller) Flush(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.out.WriteTo(os.Stdout)
	return err
}

// told is what a worker of another process tells.
type told struct{ *bufio.Scanner }

// line is the next line's text.
func (t told) line() (string, bool) {
	ok := t.Scan()
	_, text, _ := strings.Cut(t.Text(), " ")
	return text, ok
}

// startWorker starts another process that plays a worker, and returns it with what it tells.
func startWorker(t *testing.T, dir, job string, lease time.Duration) (*exec.Cmd, told) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "worker", dir, job, lease.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	lines.Split(func(data []byte, _ bool) (int, []byte, error) {
		line, _, whole := bytes.Cut(data, []byte("\n"))
		if !whole {
			return 0, nil, nil // and what a kill cut off is not told
		}
		return len(line) + 1, line, nil
	})
	return cmd, told{lines}
}
