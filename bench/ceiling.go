//go:build linux

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// slots is how many runs are held at once in every measurement of throughput.
const slots = 16

// forks is the ceiling of a process runner: fork, exec and wait of /bin/true with a pipe for each output, slots at once.
func forks(n int) (throughput, error) {
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var wg sync.WaitGroup
	errs := make(chan error, slots)
	began, before := time.Now(), cpuTime(os.Getpid())
	for range slots {
		wg.Go(func() {
			for range work {
				if err := forkOnce(exec.Command("/bin/true")); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	t := throughput{rate: float64(n) / time.Since(began).Seconds(), cpu: (cpuTime(os.Getpid()) - before) / time.Duration(n)}
	select {
	case err := <-errs:
		return t, err
	default:
		return t, nil
	}
}

// A throughput is how fast runs or processes went, and what one cost.
type throughput struct {
	rate float64       // a second
	cpu  time.Duration // a piece, on all processors, children included
}

// forkOnce runs a command to its end, reading all it prints.
func forkOnce(cmd *exec.Cmd) error {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var out bytes.Buffer
	if _, err := io.Copy(&out, io.MultiReader(stdout, stderr)); err != nil {
		return err
	}
	return cmd.Wait()
}
