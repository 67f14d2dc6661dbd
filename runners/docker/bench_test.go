package docker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-run/weir/runners/runnertest"
)

// BenchmarkNoop is a container that does nothing, from its start to the end that is known, against the docker CLI's.
func BenchmarkNoop(b *testing.B) {
	shared.Up(b)
	job := shell(b, "", map[string]any{"command": []string{"true"}})
	r := open(b, b.TempDir())
	defer r.Close()
	var n atomic.Int64
	kinds := map[string]func() error{
		"weir": func() error {
			name := fmt.Sprintf("noop-%d.1", n.Add(1))
			e, err := r.Start(context.Background(), spec(name, job, runnertest.NewRecorder()))
			if err != nil {
				return err
			}
			_, err = e.Wait(context.Background())
			r.Forget(name)
			return err
		},
		"cli": func() error {
			cmd := exec.Command("docker", "run", "--rm", busybox, "true")
			cmd.Env = append(os.Environ(), "DOCKER_HOST="+shared.Host())
			return cmd.Run()
		},
	}
	for _, at := range []int{1, 8} {
		for _, kind := range []string{"cli", "weir"} {
			b.Run(fmt.Sprintf("%s/%d", kind, at), func(b *testing.B) {
				var group sync.WaitGroup
				turns := make(chan struct{})
				for range at {
					group.Go(func() {
						for range turns {
							if err := kinds[kind](); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for b.Loop() {
					turns <- struct{}{}
				}
				close(turns)
				group.Wait()
			})
		}
	}
}
