//go:build linux

package main

import (
	"bytes"
	"io"
	"os/exec"
	"sync"
	"time"
)

// slots is how many runs are held at once in every measurement of throughput.
const slots = 16

// forkRate is the ceiling of a process runner: fork, exec and wait of /bin/true with a pipe for each output, slots at once.
// The result is processes per second.
func forkRate(n int) (float64, error) {
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var wg sync.WaitGroup
	errs := make(chan error, slots)
	began := time.Now()
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
	took := time.Since(began)
	select {
	case err := <-errs:
		return 0, err
	default:
		return float64(n) / took.Seconds(), nil
	}
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
