//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

const (
	liveTasks     = 5000 // tasks that one server holds
	throttledRuns = 2000 // starts against an endpoint that takes fewer than are asked of it
	startedTasks  = 1000 // starts of a turn, of both
	callsAtOnce   = 16   // RunTask calls of the bare loop
)

// runTaskLimit is how many RunTask calls the account takes where starts are throttled: at once, and a second.
var runTaskLimit = ecstest.Bucket{Burst: 100, Rate: 100}

// ecsPools measures ecs:push pools against the endpoint of the tests, whose tasks are on paper: what thousands of them cost the server.
func ecsPools(ctx context.Context, b *bench) (rows []row, err error) {
	for _, measure := range []func(context.Context, *bench) ([]row, error){ecsStarts, ecsThrottled, ecsLive} {
		r, err := measure(ctx, b)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r...)
	}
	return rows, nil
}

// An ecsSystem is an AWS account of the bench's own, a nats-server, and a server that runs an ecs:push pool.
type ecsSystem struct {
	*system
	aws    *ecstest.Endpoint
	server *program
	seen   *tally
}

// startECS starts one whose tasks live by plan. rate is how many times AWS's own the server's rates are.
func (b *bench) startECS(ctx context.Context, name string, rate float64, plan func(ecstest.Task) ecstest.Plan) (s *ecsSystem, err error) {
	s = &ecsSystem{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if s.aws, err = ecstest.Listen(ecstest.Paper(plan)); err != nil {
		return s, err
	}
	s.aws.AddLogGroup("/weir/" + pool)
	dir := filepath.Join(b.dir, "ecs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, err
	}
	text := fmt.Sprintf(`pools:
  - {name: %[1]s, type: "ecs:push"}
deployments:
  - name: %[2]s
    command: "true"
    work_pool:
      name: %[1]s
      job_variables:
        image: busybox:1
        configure_cloudwatch_logs: true
        execution_role_arn: arn:aws:iam::%[3]s:role/weir-execution
`, pool, noop, ecstest.Account)
	if err := os.WriteFile(filepath.Join(dir, "weir.yaml"), []byte(text), 0o600); err != nil {
		return s, err
	}
	if s.system, err = b.startSystemOf(ctx, "nats-ecs-"+name, dir); err != nil {
		return s, err
	}
	args := []string{"WEIR_ECS_RATE=" + fmt.Sprint(rate), "XDG_STATE_HOME=" + filepath.Join(b.dir, "server-"+name)}
	for variable, value := range s.aws.Environ() {
		args = append(args, variable+"="+value)
	}
	args = append(args, b.weir, "server", "start", "--server", "nats://"+s.addr, "--http-listen", "off")
	if s.server, err = b.start(dir, "env", args...); err != nil {
		return s, err
	}
	if err := online(ctx, s.conn); err != nil {
		return s, s.server.failed(err)
	}
	s.seen = follow(ctx, s.conn)
	return s, nil
}

func (s *ecsSystem) stop() error {
	if s.seen != nil {
		s.seen.stop()
	}
	if s.server != nil {
		s.server.kill() // its tasks go with the account
	}
	if s.system != nil {
		s.system.stop()
	}
	if s.aws != nil {
		return s.aws.Close()
	}
	return nil
}

// A tally counts the runs that have come to each state.
type tally struct {
	stop func()

	mu      sync.Mutex
	states  map[schemas.State]int
	changed chan struct{} // replaced and closed at each event
	err     error
}

func follow(ctx context.Context, conn *streams.Conn) *tally {
	t := &tally{states: map[schemas.State]int{}, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		counted := map[string]schemas.State{} // a state may be told twice
		err := conn.WatchRuns(ctx, streams.Filter{Pool: pool}, func(e streams.Recorded) error {
			t.mu.Lock()
			defer t.mu.Unlock()
			if counted[e.Run] != e.State {
				counted[e.Run] = e.State
				t.states[e.State]++
			}
			close(t.changed)
			t.changed = make(chan struct{})
			return nil
		})
		t.mu.Lock()
		defer t.mu.Unlock()
		t.err = err
	})
	t.stop = func() { cancel(); reading.Wait() }
	return t
}

// reach returns when so many runs have come to a state. A run that did not do well is an error.
func (t *tally) reach(ctx context.Context, state schemas.State, n int) error {
	for {
		t.mu.Lock()
		got, bad, changed, err := t.states[state], t.states[schemas.Failed]+t.states[schemas.Crashed]+t.states[schemas.Retrying], t.changed, t.err
		t.mu.Unlock()
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case bad > 0:
			return fmt.Errorf("%d runs failed, crashed or were tried again", bad)
		case got >= n:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d runs are %s", got, n, state)
		}
	}
}

// bare has the SDK start n tasks, so many calls at once, of the definition that the server has registered.
func (s *ecsSystem) bare(ctx context.Context, n, atOnce int) (times []time.Duration, err error) {
	config := s.aws.Config()
	config.HTTPClient = awshttp.NewBuildableClient() // through a socket, as the server
	client := ecs.NewFromConfig(config)
	var mu sync.Mutex
	err = each(ctx, n, atOnce, func(ctx context.Context) error {
		began := time.Now()
		out, err := client.RunTask(ctx, &ecs.RunTaskInput{
			TaskDefinition: aws.String("weir-" + pool + "-" + noop), LaunchType: types.LaunchTypeFargate,
			NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-a"}}},
		})
		if err == nil && len(out.Tasks) != 1 {
			err = fmt.Errorf("RunTask started %d tasks", len(out.Tasks))
		}
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Since(began))
		return err
	})
	return times, err
}

// ends is the plan of a task that prints a line and ends.
func ends(ecstest.Task) ecstest.Plan { return ecstest.Plan{Output: []string{"done"}} }

// ecsStarts compares how fast tasks are started with a bare loop of RunTask, and how long a request is on its way to RunTask.
func ecsStarts(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := b.startECS(ctx, "starts", 1000, ends)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	asked := make(chan time.Time, startedTasks)
	s.aws.Tune(func(k *ecstest.Knobs) {
		k.Before = func(c ecstest.Call) {
			if c.Action == "ecs:RunTask" {
				select {
				case asked <- time.Now():
				default:
				}
			}
		}
	})
	done := 0
	run := func() (time.Duration, error) {
		began := time.Now()
		if _, err := s.conn.Submit(ctx, streams.Request{Pool: pool, Deployment: noop}); err != nil {
			return 0, err
		}
		done++
		select {
		case at := <-asked:
			return at.Sub(began), nil
		case <-time.After(time.Minute):
			return 0, s.server.failed(errors.New("no task was started for a minute"))
		}
	}
	if _, err := run(); err != nil { // registers the definition
		return nil, err
	}
	var latency []time.Duration
	for range min(b.samples, 200) {
		took, err := run()
		if err != nil {
			return nil, err
		}
		latency = append(latency, took)
	}
	if err := s.seen.reach(ctx, schemas.Completed, done); err != nil {
		return nil, s.server.failed(err)
	}
	single, err := s.bare(ctx, 100, 1)
	if err != nil {
		return nil, err
	}
	for range 100 {
		<-asked
	}
	c, ours, ratio, err := turns(b, func() (float64, error) {
		began := time.Now()
		if _, err := s.bare(ctx, startedTasks, callsAtOnce); err != nil {
			return 0, err
		}
		took := time.Since(began)
		for range startedTasks {
			<-asked
		}
		return startedTasks / took.Seconds(), nil
	}, func() (float64, error) {
		began := time.Now()
		if err := submit(ctx, s.conn, pool, noop, nil, startedTasks); err != nil {
			return 0, err
		}
		var last time.Time
		for range startedTasks {
			select {
			case last = <-asked:
			case <-time.After(2 * time.Minute):
				return 0, s.server.failed(errors.New("no task was started for two minutes"))
			}
		}
		done += startedTasks
		return startedTasks / last.Sub(began).Seconds(), s.seen.reach(ctx, schemas.Completed, done)
	})
	if err != nil {
		return nil, err
	}
	return []row{
		{"request → RunTask, p50", millis(quantile(latency, 0.5)), "RunTask " + millis(quantile(single, 0.5)), "", ""},
		{"tasks started", fmt.Sprintf("%.0f/s", ours), fmt.Sprintf("RunTask, %d at once %.0f/s", callsAtOnce, c), fmt.Sprintf("%.2f", ratio), ""},
	}, nil
}

// ecsThrottled has more tasks started than AWS takes at once: all start, as fast as the bucket is filled, and none fails.
func ecsThrottled(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := b.startECS(ctx, "throttled", 10, ends)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	s.aws.Tune(func(k *ecstest.Knobs) { k.Limits = map[string]ecstest.Bucket{"ecs:RunTask": runTaskLimit} })
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	began := time.Now()
	if err := submit(ctx, s.conn, pool, noop, nil, throttledRuns); err != nil {
		return nil, err
	}
	if err := s.seen.reach(ctx, schemas.Completed, throttledRuns); err != nil {
		return nil, s.server.failed(err)
	}
	completed := time.Since(began)
	var last time.Time
	for _, t := range s.aws.Tasks() {
		if t.Created.After(last) {
			last = t.Created
		}
	}
	took := last.Sub(began).Seconds()
	least := (throttledRuns - float64(runTaskLimit.Burst)) / runTaskLimit.Rate
	calls := s.aws.Calls("ecs:RunTask")
	return []row{
		{
			fmt.Sprintf("%d starts, throttled to %.0f/s", throttledRuns, runTaskLimit.Rate), fmt.Sprintf("%.1f s", took), fmt.Sprintf("the bucket %.1f s", least),
			fmt.Sprintf("%.2f", took/least), "none fails",
		},
		{"  RunTask calls, and tasks", fmt.Sprintf("%d, %d", calls, len(s.aws.Tasks())), fmt.Sprintf("%d refused", calls-throttledRuns), "", ""},
		{"  until all are completed, output read", fmt.Sprintf("%.1f s", completed.Seconds()), "", "", ""},
	}, nil
}

// ecsLive watches a server that holds thousands of tasks that do nothing, and one that holds none.
func ecsLive(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := b.startECS(ctx, "live", 20, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	idle, err := s.watch(ctx, b)
	if err != nil {
		return nil, err
	}
	filling, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := submit(filling, s.conn, pool, noop, nil, liveTasks); err != nil {
		return nil, err
	}
	if err := s.seen.reach(filling, schemas.Running, liveTasks); err != nil {
		return nil, s.server.failed(err)
	}
	young, err := s.watch(ctx, b)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, 4*time.Minute); err != nil { // from then on a task is looked at as seldom as it ever is
		return nil, err
	}
	old, err := s.watch(ctx, b)
	if err != nil {
		return nil, err
	}
	perThousand := func(calls float64) string { return fmt.Sprintf("%.2f", calls/liveTasks*1000) }
	return []row{
		{"a server without tasks, memory", idle.memory(), "", "", ""},
		{"  CPU, calls of AWS", fmt.Sprintf("%.3f%%, %.0f", idle.cpu, idle.calls("")*b.idle.Seconds()), fmt.Sprintf("over %v", b.idle), "", "< 0.2%, 0"},
		{fmt.Sprintf("a server with %d tasks, memory", liveTasks), old.memory(), "", "", "< 150 MB"},
		{"  CPU", fmt.Sprintf("%.2f%%", old.cpu), fmt.Sprintf("over %v", b.idle), "", ""},
		{"  calls of ECS a second for each 1,000", perThousand(old.calls("ecs:")), "just started: " + perThousand(young.calls("ecs:")), "", "≤ 1"},
		{"  calls of CloudWatch Logs likewise", perThousand(old.calls("logs:")), "just started: " + perThousand(young.calls("logs:")), "", ""},
	}, nil
}

// watched is what a server did for some time.
type watched struct {
	rss   int64
	cpu   float64            // percent
	asked map[string]float64 // calls a second
}

func (w watched) memory() string { return fmt.Sprintf("%.1f MB", float64(w.rss)/1e6) }

func (w watched) calls(prefix string) (sum float64) {
	for action, n := range w.asked {
		if strings.HasPrefix(action, prefix) {
			sum += n
		}
	}
	return sum
}

func (s *ecsSystem) watch(ctx context.Context, b *bench) (watched, error) {
	calls := s.aws.Counts()
	before, err := look(ctx, s.server, s.monitor)
	if err != nil {
		return watched{}, err
	}
	if err := pause(ctx, b.idle); err != nil {
		return watched{}, err
	}
	after, err := look(ctx, s.server, s.monitor)
	if err != nil {
		return watched{}, err
	}
	w := watched{rss: after.rss, cpu: (after.cpu - before.cpu).Seconds() / b.idle.Seconds() * 100, asked: map[string]float64{}}
	for action, n := range s.aws.Counts() {
		w.asked[action] = float64(n-calls[action]) / b.idle.Seconds()
	}
	return w, nil
}
