//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

const (
	dockerImage = "weir-test/busybox:1" // made by engine.sh
	atOnce      = 8                     // containers at once, of both
	oneByOne    = 30                    // containers of each, one after another
	inBatch     = 40                    // containers of a turn at atOnce
	liveRuns    = 200                   // containers that one worker holds
)

// A dockerSystem is an engine of its own, and a nats-server with a docker pool beside it.
type dockerSystem struct {
	*system
	folder string // the engine's
	host   string
	api    *client.Client
}

// engineScript makes the engine as the tests of docker pools do.
func engineScript(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, filepath.Join("runners", "docker", "dockertest", "engine.sh"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("engine.sh %s: %w\n%s", args[0], err, out)
	}
	return nil
}

func (b *bench) startDocker(ctx context.Context) (d *dockerSystem, err error) {
	d = &dockerSystem{folder: filepath.Join(b.dir, "engine")}
	d.host = "unix://" + filepath.Join(d.folder, "docker.sock")
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	for _, verb := range []string{"up", "images"} {
		if err := engineScript(ctx, verb, d.folder); err != nil {
			return d, err
		}
	}
	if d.api, err = client.New(client.WithHost(d.host)); err != nil {
		return d, err
	}
	dir := filepath.Join(b.dir, "docker")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return d, err
	}
	text := fmt.Sprintf(`pools:
  - {name: %[1]s, type: docker}
deployments:
  - {name: %[2]s, command: "true", work_pool: {name: %[1]s, job_variables: {image: %[3]s}}}
  - {name: sleep, command: sleep 10000, work_pool: {name: %[1]s, job_variables: {image: %[3]s}}}
`, pool, noop, dockerImage)
	if err := os.WriteFile(filepath.Join(dir, "weir.yaml"), []byte(text), 0o600); err != nil {
		return d, err
	}
	d.system, err = b.startSystemOf(ctx, "docker", dir)
	return d, err
}

func (d *dockerSystem) stop() error {
	if d.system != nil {
		d.system.stop()
	}
	if d.api != nil {
		_ = d.api.Close()
	}
	return engineScript(context.Background(), "down", d.folder)
}

func (b *bench) startDockerWorker(d *dockerSystem, limit int) (*program, error) {
	return b.start(d.dir, "env", "DOCKER_HOST="+d.host, b.weir, "worker", "start", "--pool", pool, "--name", "bench",
		"--limit", fmt.Sprint(limit), "--state-dir", filepath.Join(b.dir, "docker-worker"), "--server", "nats://"+d.addr)
}

// dockerRuns measures no-op containers through a docker pool against docker run, and a worker that holds many.
func dockerRuns(ctx context.Context, b *bench) (rows []row, err error) {
	d, err := b.startDocker(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	worker, err := b.startDockerWorker(d, atOnce)
	if err != nil {
		return nil, err
	}
	one, err := d.singly(ctx, b)
	if err == nil {
		rows, err = d.together(ctx, b)
	}
	worker.stop()
	if err != nil {
		return nil, worker.failed(err)
	}
	live, err := d.held(ctx, b)
	return slices.Concat(one, rows, live), err
}

// cli runs a no-op container by the docker CLI.
func (d *dockerSystem) cli(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "docker", "--host", d.host, "run", "--rm", dockerImage, "true").CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker run: %w\n%s", err, out)
	}
	return nil
}

// run requests a no-op run and returns when its completion is recorded.
func (d *dockerSystem) run(ctx context.Context) error {
	r, err := d.conn.Submit(ctx, streams.Request{Pool: pool, Deployment: noop})
	if err != nil {
		return err
	}
	return d.conn.WatchRun(ctx, r.Run, func(e streams.Recorded) error {
		if e.State.Final() && e.State != schemas.Completed {
			return fmt.Errorf("run %s is %s: %s", e.Run, e.State, e.Message)
		}
		return nil
	})
}

// removals counts the containers that the engine has removed; wait returns when it has removed n more.
func (d *dockerSystem) removals(ctx context.Context) (wait func(n int) error) {
	stream := d.api.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).Add("type", "container").Add("event", "destroy")})
	return func(n int) error {
		for range n {
			select {
			case <-stream.Messages:
			case err := <-stream.Err:
				return fmt.Errorf("listen to the engine: %w", err)
			case <-time.After(time.Minute):
				return errors.New("no container was removed within a minute")
			}
		}
		return nil
	}
}

// singly has both start one container after another, in turns. Each has removed its container before the other's turn comes.
func (d *dockerSystem) singly(ctx context.Context, b *bench) ([]row, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	removed := d.removals(ctx)
	var cli, completed, gone, ratios []float64
	for i := range oneByOne + 2 {
		began := time.Now()
		if err := d.cli(ctx); err != nil {
			return nil, err
		}
		c := time.Since(began).Seconds()
		if err := removed(1); err != nil {
			return nil, err
		}
		began = time.Now()
		if err := d.run(ctx); err != nil {
			return nil, err
		}
		s := time.Since(began).Seconds()
		if err := removed(1); err != nil {
			return nil, err
		}
		g := time.Since(began).Seconds()
		if i < 2 { // what comes first pays for much that is done once
			continue
		}
		cli, completed, gone, ratios = append(cli, c), append(completed, s), append(gone, g), append(ratios, s/c)
		b.say("  %d of %d: %.3f s of %.3f s = %.2f", i-1, oneByOne, s, c, s/c)
	}
	c, s, g := quantile(cli, 0.5), quantile(completed, 0.5), quantile(gone, 0.5)
	return []row{
		{"no-op container, request → completed, p50", seconds(s), "docker run --rm " + seconds(c), fmt.Sprintf("%.2f", quantile(ratios, 0.5)), "≤ 1.0"},
		{"  request → container removed, p50", seconds(g), seconds(c), fmt.Sprintf("%.2f", g/c), ""},
	}, nil
}

// together has both start containers atOnce, in turns, until all have ended and are removed.
func (d *dockerSystem) together(ctx context.Context, b *bench) ([]row, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	removed := d.removals(ctx)
	batch := func(workers int, one func(context.Context) error) (float64, error) {
		began := time.Now()
		if err := each(ctx, inBatch, workers, one); err != nil {
			return 0, err
		}
		if err := removed(inBatch); err != nil {
			return 0, err
		}
		return time.Since(began).Seconds() / inBatch, nil
	}
	// All requests are there at once: it is the worker that holds no more than atOnce.
	c, s, ratio, err := turns(b, func() (float64, error) { return batch(atOnce, d.cli) }, func() (float64, error) { return batch(inBatch, d.run) })
	if err != nil {
		return nil, err
	}
	return []row{{fmt.Sprintf("no-op containers, %d at once, each", atOnce), seconds(s), "docker run --rm " + seconds(c), fmt.Sprintf("%.2f", ratio), "≤ 1.0"}}, nil
}

// each calls one n times, so many at once. The first error is returned.
func each(ctx context.Context, n, workers int, one func(context.Context) error) error {
	turns := make(chan struct{}, n)
	for range n {
		turns <- struct{}{}
	}
	close(turns)
	errs := make(chan error, workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range turns {
				if err := one(ctx); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// held watches a worker that holds many containers which do nothing.
func (d *dockerSystem) held(ctx context.Context, b *bench) ([]row, error) {
	worker, err := b.startDockerWorker(d, liveRuns)
	if err != nil {
		return nil, err
	}
	defer worker.kill() // its containers go with the engine
	running, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	err = each(running, liveRuns, liveRuns, func(ctx context.Context) error {
		r, err := d.conn.Submit(ctx, streams.Request{Pool: pool, Deployment: "sleep"})
		if err != nil {
			return err
		}
		begun := errors.New("begun")
		err = d.conn.WatchRun(ctx, r.Run, func(e streams.Recorded) error {
			if e.State == schemas.Running {
				return begun
			}
			return nil
		})
		if !errors.Is(err, begun) {
			return errors.Join(fmt.Errorf("run %s did not come to run", r.Run), err)
		}
		return nil
	})
	if err != nil {
		return nil, worker.failed(err)
	}
	before, err := look(ctx, worker, d.monitor)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, b.idle); err != nil {
		return nil, err
	}
	after, err := look(ctx, worker, d.monitor)
	if err != nil {
		return nil, err
	}
	cpu := (after.cpu - before.cpu).Seconds() / b.idle.Seconds() * 100
	return []row{
		{fmt.Sprintf("a worker with %d containers, memory", liveRuns), fmt.Sprintf("%.1f MB", float64(after.rss)/1e6), "", "", "< 80 MB"},
		{"  CPU", fmt.Sprintf("%.2f%%", cpu), fmt.Sprintf("over %v", b.idle), "", "< 3%"},
	}, nil
}

func seconds(s float64) string { return fmt.Sprintf("%.0f ms", s*1000) }
