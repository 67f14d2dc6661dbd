package ecs

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/runners/runnertest"
)

// ECS breaks the first request, which started nothing, and refuses all that follow: that is an answer, after a while.
func TestStart_brokenAndThenRefused(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		c := b.clients()
		c.ecs = refusing(c.ecs, func(n int64) error {
			if n == 1 {
				return &smithy.GenericAPIError{Code: "ServerException", Message: "Service Unavailable. Please try again later."}
			}
			return &types.ClientException{Message: aws.String("TaskDefinition is inactive")}
		}, nil)
		r := b.workerWith("w", runners.Config{}, c, "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := r.Start(ctx, b.spec("r.1", nil, nil))
		if _, ok := runners.IsPermanent(err); !ok || ctx.Err() != nil {
			t.Errorf("start = %v (%v), want ECS's refusal", err, ctx.Err())
		}
	})
}

// refusing is what refuses some calls of ECS, which then do nothing. n counts the calls of RunTask.
func refusing(real ecsAPI, run func(n int64) error, list func(in *ecs.ListTasksInput) error) ecsAPI {
	fake := real
	var n atomic.Int64
	fake.RunTask = func(ctx context.Context, in *ecs.RunTaskInput, options ...func(*ecs.Options)) (*ecs.RunTaskOutput, error) {
		if run != nil {
			if err := run(n.Add(1)); err != nil {
				return nil, err
			}
		}
		return real.RunTask(ctx, in, options...)
	}
	fake.ListTasks = func(ctx context.Context, in *ecs.ListTasksInput, options ...func(*ecs.Options)) (*ecs.ListTasksOutput, error) {
		if list != nil {
			if err := list(in); err != nil {
				return nil, err
			}
		}
		return real.ListTasks(ctx, in, options...)
	}
	return fake
}

// ECS has the task, and does not say which one it is.
func TestStart_conflictWithoutTheTask(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		id := b.start(b.worker("w"), b.spec("r.1", nil, nil)).ID()
		c := b.clients()
		c.ecs = refusing(c.ecs, func(int64) error { return &types.ConflictException{Message: aws.String("in use")} }, nil)
		if e := b.start(b.workerWith("other", runners.Config{}, c, ""), b.spec("r.1", nil, nil)); e.ID() != id {
			t.Errorf("got %s, want %s", e.ID(), id)
		}
	})
}

// A try that ended for want of room is not taken for the one that follows it, of which ECS does not show anything yet.
func TestStart_answerLostAfterATryWithoutRoom(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) {
			k.NoCapacity, k.Visible = map[string]ecstest.Refusal{fargateSpot: ecstest.InTask}, 10*time.Second
		})
		r := b.broken("w", func(n int64, err error) error {
			switch n {
			case 2:
				return &smithy.GenericAPIError{Code: "ServerException"}
			case 3:
				return &smithy.GenericAPIError{Code: "ExpiredTokenException"}
			}
			return err
		})
		b.start(r, b.spec("r.1", nil, map[string]any{"capacity": []string{fargateSpot, fargate}}))
		alive := 0
		for _, task := range b.Tasks() {
			if task.Status != stopped {
				alive++
			}
		}
		if alive != 1 || len(b.Tasks()) != 2 {
			t.Errorf("got %d tasks that live of %d, want one of 2", alive, len(b.Tasks()))
		}
	})
}

// The definition of a task that was found cannot be looked up any more: its end is told all the same.
func TestFind_definitionIsGone(t *testing.T) {
	for name, refusal := range map[string]error{
		"deleted": &types.ClientException{Message: aws.String("Unable to describe task definition.")},
		"denied":  &types.AccessDeniedException{Message: aws.String("no")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, lives(time.Minute, 5), func(t *testing.T, b *bench) {
				r := b.worker("w")
				id := b.start(r, b.spec("r.1", nil, nil)).ID()
				b.close(r)
				c := b.clients()
				c.ecs.DescribeTaskDefinition = func(context.Context, *ecs.DescribeTaskDefinitionInput, ...func(*ecs.Options)) (*ecs.DescribeTaskDefinitionOutput, error) {
					return nil, refusal
				}
				e := b.find(b.workerWith("next", runners.Config{}, c, ""), runners.Sought{Name: "r.1", ID: id})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if res, err := e.Wait(ctx); err != nil || res.ExitCode != 5 {
					t.Errorf("wait = %+v, %v, want exit code 5", res, err)
				}
			})
		})
	}
}

// The worker's policy does not allow the default cluster, and it has used no other by now: nothing is wrong with that.
func TestList_aClusterThatIsRefused(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		c := b.clients()
		c.ecs = refusing(c.ecs, nil, func(*ecs.ListTasksInput) error {
			return &types.AccessDeniedException{Message: aws.String("not authorized to perform: ecs:ListTasks")}
		})
		if names, err := b.workerWith("w", runners.Config{}, c, "").List(t.Context()); err != nil || len(names) != 0 {
			t.Errorf("list = %v, %v, want nothing", names, err)
		}
	})
}

// ECS may take startedBy alone, as its text says.
func TestFind_whereStartedByIsTheOnlyFilter(t *testing.T) {
	for name, plan := range map[string]func(ecstest.Task) ecstest.Plan{"running": forever, "stopped": lives(time.Second, 5)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, plan, func(t *testing.T, b *bench) {
				r := b.worker("w")
				id := b.start(r, b.spec("r.1", nil, nil)).ID()
				b.close(r)
				time.Sleep(time.Minute)
				c := b.clients()
				c.ecs = refusing(c.ecs, nil, func(in *ecs.ListTasksInput) error {
					if in.StartedBy != nil && in.DesiredStatus != "" {
						return &types.InvalidParameterException{Message: aws.String("cannot specify startedBy with other arguments")}
					}
					return nil
				})
				next := b.workerWith("next", runners.Config{}, c, "")
				if e := b.find(next, runners.Sought{Name: "r.1"}); e.ID() != id {
					t.Errorf("found %s, want %s", e.ID(), id)
				}
				if _, err := next.Find(t.Context(), runners.Sought{Name: "never.1"}); !errors.Is(err, runners.ErrGone) {
					t.Errorf("find = %v, want ErrGone", err)
				}
			})
		})
	}
}

// awayLogs is a CloudWatch that cannot be reached.
func awayLogs() logsAPI {
	away := &net.OpError{Op: "dial", Err: errors.New("no route to host")}
	return logsAPI{
		FilterLogEvents: func(context.Context, *cloudwatchlogs.FilterLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error) {
			return nil, away
		},
		GetLogEvents: func(context.Context, *cloudwatchlogs.GetLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error) {
			return nil, away
		},
	}
}

// CloudWatch cannot be reached, as from a network that has an endpoint for ECS alone.
func TestLogs_neverReached(t *testing.T) {
	bubble(t, lives(time.Minute, 5), func(t *testing.T, b *bench) {
		c := b.clients()
		c.logs = awayLogs()
		e := b.start(b.workerWith("w", runners.Config{}, c, ""), b.spec("r.1", nil, nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if res, err := e.Wait(ctx); err != nil || res.ExitCode != 5 {
			t.Errorf("wait = %+v, %v, want exit code 5", res, err)
		}
	})
}

// clockLogs tells times of a clock that is ahead of the worker's.
type clockLogs struct {
	logsAPI
	by time.Duration
}

func (l clockLogs) FilterLogEvents(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput, o ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	own := *in
	own.StartTime = aws.Int64(aws.ToInt64(in.StartTime) - l.by.Milliseconds())
	out, err := l.logsAPI.FilterLogEvents(ctx, &own, o...)
	if err == nil {
		for i := range out.Events {
			out.Events[i].Timestamp = aws.Int64(aws.ToInt64(out.Events[i].Timestamp) + l.by.Milliseconds())
		}
	}
	return out, err
}

// clockECS tells times of a clock that is ahead of the worker's.
type clockECS struct {
	ecsAPI
	by time.Duration
}

func (c clockECS) DescribeTasks(ctx context.Context, in *ecs.DescribeTasksInput, o ...func(*ecs.Options)) (*ecs.DescribeTasksOutput, error) {
	out, err := c.ecsAPI.DescribeTasks(ctx, in, o...)
	if err == nil {
		for i := range out.Tasks {
			c.shift(&out.Tasks[i])
		}
	}
	return out, err
}

func (c clockECS) RunTask(ctx context.Context, in *ecs.RunTaskInput, o ...func(*ecs.Options)) (*ecs.RunTaskOutput, error) {
	out, err := c.ecsAPI.RunTask(ctx, in, o...)
	if err == nil {
		for i := range out.Tasks {
			c.shift(&out.Tasks[i])
		}
	}
	return out, err
}

func (c clockECS) shift(t *types.Task) {
	for _, at := range []*time.Time{t.CreatedAt, t.PullStartedAt, t.PullStoppedAt, t.StartedAt, t.StoppingAt, t.ExecutionStoppedAt, t.StoppedAt} {
		if at != nil {
			*at = at.Add(c.by)
		}
	}
}

func (l clockLogs) GetLogEvents(ctx context.Context, in *cloudwatchlogs.GetLogEventsInput, o ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error) {
	own := *in
	if in.StartTime != nil {
		own.StartTime = aws.Int64(*in.StartTime - l.by.Milliseconds())
	}
	out, err := l.logsAPI.GetLogEvents(ctx, &own, o...)
	if err == nil {
		for i := range out.Events {
			out.Events[i].Timestamp = aws.Int64(aws.ToInt64(out.Events[i].Timestamp) + l.by.Milliseconds())
		}
	}
	return out, err
}

// The worker's clock is wrong by five minutes, which is what AWS allows. No line is lost for it, and the end is told as soon.
func TestLogs_clocksDiffer(t *testing.T) {
	for _, by := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
		t.Run(by.String(), func(t *testing.T) {
			bubble(t, lives(time.Minute, 5), func(t *testing.T, b *bench) {
				b.Tune(func(k *ecstest.Knobs) { k.Ingestion = 9 * time.Second })
				c := b.clients()
				inClock, ofLogs := clockECS{c.ecs, by}, clockLogs{c.logs, by}
				c.ecs.DescribeTasks, c.ecs.RunTask = inClock.DescribeTasks, inClock.RunTask
				c.logs = logsAPI{FilterLogEvents: ofLogs.FilterLogEvents, GetLogEvents: ofLogs.GetLogEvents}
				out := runnertest.NewRecorder()
				e := b.start(b.workerWith("w", runners.Config{}, c, ""), b.spec("r.1", out, nil))
				<-e.Begun()
				time.Sleep(50 * time.Second)
				b.Write(e.ID(), lines(3)...)
				b.Exit(e.ID(), 5)
				<-e.over
				ended := time.Now()
				if res := b.wait(e); res.ExitCode != 5 {
					t.Errorf("got %+v, want exit code 5", res)
				}
				if took := time.Since(ended); took > 20*time.Second {
					t.Errorf("the end took %s", took)
				}
				if diff := cmp.Diff(lines(3), out.Lines("")); diff != "" {
					t.Errorf("output (-want +got):\n%s", diff)
				}
			})
		})
	}
}
