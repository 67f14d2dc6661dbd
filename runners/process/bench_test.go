package process

import (
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-run/weir/runners"
)

const atOnce = 16

// nowhere stores nothing and says it has.
type nowhere struct{}

func (nowhere) Last(context.Context) (int64, error) { return 0, nil }
func (nowhere) Line(runners.Line)                   {}
func (nowhere) Flush(context.Context) error         { return nil }

// BenchmarkNoop is /bin/true through the supervisor, 16 at once, from Start to Forget. Compare it with BenchmarkBare in the
// same run.
func BenchmarkNoop(b *testing.B) {
	r := open(b, b.TempDir(), "")
	job := json.RawMessage(`{"command":["/bin/true"]}`)
	inParallel(b, func(n int64) error {
		name := strconv.FormatInt(n, 10)
		e, err := r.Start(context.Background(), runners.Spec{
			Name: name, Run: name, Attempt: 1, Pool: "p", Queue: "default", Deployment: "d", Worker: "w",
			Parameters: json.RawMessage("{}"), Job: job, Output: nowhere{}, Lease: time.Now().Add(30 * time.Second),
		})
		if err != nil {
			return err
		}
		if _, err := e.Wait(context.Background()); err != nil {
			return err
		}
		r.(runners.Forgetter).Forget(name)
		return nil
	})
}

// BenchmarkBare is what a program without promises would do: fork, exec, read two pipes, wait.
func BenchmarkBare(b *testing.B) {
	inParallel(b, func(int64) error {
		cmd := exec.Command("/bin/true")
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		errs, err := cmd.StderrPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		var wg sync.WaitGroup
		wg.Go(func() { io.Copy(io.Discard, errs) })
		io.Copy(io.Discard, out)
		wg.Wait()
		return cmd.Wait()
	})
}

func inParallel(b *testing.B, do func(n int64) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	begun := time.Now()
	for range atOnce {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				if err := do(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "runs/s")
}
