package process

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

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
	t.Cleanup(func() { r.Close() })
	return r
}

func playWorker(args []string) error { return nil }
