package ecs

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
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

// refuse has calls end with an error, without being made, where why says so. n counts them from 1.
func refuse[In, Out, Opt any](op *operation[In, Out, Opt], why func(n int64, in *In) error) {
	var calls atomic.Int64
	theirs := *op
	*op = func(ctx context.Context, in *In, options ...func(*Opt)) (*Out, error) {
		if err := why(calls.Add(1), in); err != nil {
			return nil, err
		}
		return theirs(ctx, in, options...)
	}
}

// change has requests and answers of a call changed on their way.
func change[In, Out, Opt any](op *operation[In, Out, Opt], request func(In) In, answer func(*Out)) {
	theirs := *op
	*op = func(ctx context.Context, in *In, options ...func(*Opt)) (*Out, error) {
		changed := request(*in)
		out, err := theirs(ctx, &changed, options...)
		if err == nil {
			answer(out)
		}
		return out, err
	}
}

// ECS breaks the first request, which started nothing, and refuses all that follow: that is an answer, after a while.
func TestStart_brokenAndThenRefused(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		c := b.clients()
		refuse(&c.ecs.RunTask, func(n int64, _ *ecs.RunTaskInput) error {
			if n == 1 {
				return &smithy.GenericAPIError{Code: "ServerException", Message: "Service Unavailable. Please try again later."}
			}
			return &types.ClientException{Message: aws.String("TaskDefinition is inactive")}
		})
		r := b.workerWith("w", runners.Config{}, c, "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := r.Start(ctx, b.spec("r.1", nil, nil))
		if _, ok := runners.IsPermanent(err); !ok || ctx.Err() != nil {
			t.Errorf("start = %v (%v), want ECS's refusal", err, ctx.Err())
		}
	})
}

// ECS has the task, and does not say which one it is.
func TestStart_conflictWithoutTheTask(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		id := b.start(b.worker("w"), b.spec("r.1", nil, nil)).ID()
		c := b.clients()
		refuse(&c.ecs.RunTask, func(int64, *ecs.RunTaskInput) error { return &types.ConflictException{Message: aws.String("in use")} })
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
		"deleted": &types.ClientException{Message: aws.String("Unable to describe task definition.")}, "denied": &types.AccessDeniedException{},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, lives(time.Minute, 5), func(t *testing.T, b *bench) {
				r := b.worker("w")
				id := b.start(r, b.spec("r.1", nil, nil)).ID()
				b.close(r)
				c := b.clients()
				refuse(&c.ecs.DescribeTaskDefinition, func(int64, *ecs.DescribeTaskDefinitionInput) error { return refusal })
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
		refuse(&c.ecs.ListTasks, func(int64, *ecs.ListTasksInput) error {
			return &types.AccessDeniedException{Message: aws.String("not authorized to perform: ecs:ListTasks")}
		})
		if names, err := b.workerWith("w", runners.Config{}, c, "").List(t.Context()); err != nil || len(names) != 0 {
			t.Errorf("list = %v, %v, want nothing", names, err)
		}
	})
}

// ECS is away as a worker starts, which waits for the list: it starts all the same.
func TestList_whileECSIsAway(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		c := b.clients()
		refuse(&c.ecs.ListTasks, func(int64, *ecs.ListTasksInput) error {
			return &net.OpError{Op: "dial", Err: errors.New("no route to host")}
		})
		r := b.workerWith("w", runners.Config{}, c, "")
		began := time.Now()
		if _, err := r.List(t.Context()); err == nil || time.Since(began) > 2*time.Minute {
			t.Errorf("list = %v after %s, want an error after a minute", err, time.Since(began))
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
				refuse(&c.ecs.ListTasks, func(_ int64, in *ecs.ListTasksInput) error {
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

// What ECS refuses to look for is asked along with others, which are found all the same.
func TestFind_anotherAccountsAmongMany(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		const foreign = "arn:aws:ecs:us-east-1:999999999999:task/default/0123456789abcdef0123456789abcdef"
		r := b.worker("w")
		all := b.startAll(r, 20)
		b.close(r)
		c := b.clients()
		refuse(&c.ecs.DescribeTasks, func(_ int64, in *ecs.DescribeTasksInput) error {
			if slices.Contains(in.Tasks, foreign) {
				return &types.InvalidParameterException{Message: aws.String("Invalid identifier: Identifier is for 999999999999. Your accountId is 123456789012")}
			}
			return nil
		})
		next := b.workerWith("next", runners.Config{}, c, "")
		var wg sync.WaitGroup
		for _, e := range all {
			wg.Go(func() { b.find(next, runners.Sought{Name: e.name, ID: e.ID()}) })
		}
		wg.Go(func() {
			if _, err := next.Find(t.Context(), runners.Sought{Name: "theirs.1", ID: foreign}); err == nil || errors.Is(err, runners.ErrGone) {
				t.Errorf("find = %v, want an error that is not ErrGone", err)
			}
		})
		wg.Wait()
	})
}

// ECS does not know a task for half a minute that runs all the time: its job is not ended for that.
func TestWatch_unknownForAMoment(t *testing.T) {
	bubble(t, lives(time.Hour, 4), func(t *testing.T, b *bench) {
		c := b.clients()
		var unknown atomic.Bool
		change(&c.ecs.DescribeTasks, func(in ecs.DescribeTasksInput) ecs.DescribeTasksInput { return in }, func(out *ecs.DescribeTasksOutput) {
			if unknown.Load() {
				out.Tasks = nil
			}
		})
		e := b.start(b.workerWith("w", runners.Config{}, c, ""), b.spec("r.1", nil, nil))
		<-e.Begun()
		time.Sleep(20 * time.Minute)
		unknown.Store(true)
		time.Sleep(30 * time.Second)
		unknown.Store(false)
		if res := b.wait(e); res.ExitCode != 4 {
			t.Errorf("got %+v, want exit code 4: the task was %s", res, b.one().StoppedReason)
		}
	})
}

// CloudWatch cannot be reached, as from a network that has an endpoint for ECS alone.
func TestLogs_neverReached(t *testing.T) {
	bubble(t, lives(time.Minute, 5), func(t *testing.T, b *bench) {
		c := b.clients()
		away := &net.OpError{Op: "dial", Err: errors.New("no route to host")}
		refuse(&c.logs.FilterLogEvents, func(int64, *cloudwatchlogs.FilterLogEventsInput) error { return away })
		refuse(&c.logs.GetLogEvents, func(int64, *cloudwatchlogs.GetLogEventsInput) error { return away })
		e := b.start(b.workerWith("w", runners.Config{}, c, ""), b.spec("r.1", nil, nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if res, err := e.Wait(ctx); err != nil || res.ExitCode != 5 {
			t.Errorf("wait = %+v, %v, want exit code 5", res, err)
		}
	})
}

// The output of hundreds that were taken over is read stream by stream, since much may have been written. Those whose jobs end meanwhile do not
// wait for all others.
func TestLogs_anEndComesBeforeWhatIsOnlyBehind(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		all := b.startAll(r, 400)
		time.Sleep(15 * time.Minute)
		b.close(r)
		next := b.worker("next")
		found := make([]*execution, len(all))
		var wg sync.WaitGroup
		for i, e := range all {
			wg.Go(func() { found[i] = b.find(next, runners.Sought{Name: e.name, ID: e.ID()}) })
		}
		wg.Wait()
		time.Sleep(time.Second)
		if got := b.Calls("ecs:DescribeTaskDefinition"); got > 3 {
			t.Errorf("the definition was looked up %d times", got)
		}
		began := b.Calls("logs:GetLogEvents")
		for _, e := range found[len(found)-20:] {
			b.Exit(e.ID(), 3)
		}
		for _, e := range found[len(found)-20:] {
			<-e.over
		}
		ended := time.Now()
		for _, e := range found[len(found)-20:] {
			b.wait(e)
		}
		if took := time.Since(ended); took > 12*time.Second {
			t.Errorf("the ends were told after %s", took)
		}
		if read := b.Calls("logs:GetLogEvents"); began > 50 || read == len(all) {
			t.Errorf("of %d streams %d were read at the beginning and %d at the end: nothing was to be waited for", len(all), began, read)
		}
	})
}

// ahead has AWS tell times of a clock that is so much ahead of the worker's.
func ahead(c *clients, by time.Duration) {
	shift := func(tasks []types.Task) {
		for i := range tasks {
			t := &tasks[i]
			for _, at := range []*time.Time{t.CreatedAt, t.PullStartedAt, t.PullStoppedAt, t.StartedAt, t.StoppingAt, t.ExecutionStoppedAt, t.StoppedAt} {
				if at != nil {
					*at = at.Add(by)
				}
			}
		}
	}
	shifted := func(ms *int64, by time.Duration) *int64 {
		if ms != nil {
			ms = aws.Int64(*ms + by.Milliseconds())
		}
		return ms
	}
	change(&c.ecs.RunTask, func(in ecs.RunTaskInput) ecs.RunTaskInput { return in }, func(out *ecs.RunTaskOutput) { shift(out.Tasks) })
	change(&c.ecs.DescribeTasks, func(in ecs.DescribeTasksInput) ecs.DescribeTasksInput { return in }, func(out *ecs.DescribeTasksOutput) { shift(out.Tasks) })
	change(&c.logs.FilterLogEvents, func(in cloudwatchlogs.FilterLogEventsInput) cloudwatchlogs.FilterLogEventsInput {
		in.StartTime = shifted(in.StartTime, -by)
		return in
	}, func(out *cloudwatchlogs.FilterLogEventsOutput) {
		for i := range out.Events {
			out.Events[i].Timestamp = shifted(out.Events[i].Timestamp, by)
		}
	})
	change(&c.logs.GetLogEvents, func(in cloudwatchlogs.GetLogEventsInput) cloudwatchlogs.GetLogEventsInput {
		in.StartTime = shifted(in.StartTime, -by)
		return in
	}, func(out *cloudwatchlogs.GetLogEventsOutput) {
		for i := range out.Events {
			out.Events[i].Timestamp = shifted(out.Events[i].Timestamp, by)
		}
	})
}

// The worker's clock is wrong by five minutes, which is what AWS allows. No line is lost for it, and the end is told as soon.
func TestLogs_clocksDiffer(t *testing.T) {
	for _, by := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
		t.Run(by.String(), func(t *testing.T) {
			bubble(t, lives(time.Minute, 5), func(t *testing.T, b *bench) {
				b.Tune(func(k *ecstest.Knobs) { k.Ingestion = 9 * time.Second })
				c := b.clients()
				ahead(c, by)
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

// Two deployments share a family: neither takes away what the other one has in use.
func TestResolve_sharedFamily(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		for i := range 6 {
			d := []string{"one", "two"}[i%2]
			spec := b.spec("r"+string(rune('a'+i))+".1", nil, map[string]any{"family": "shared", "auto_deregister_task_definition": true, "image": d + ":1"})
			spec.Deployment = d
			b.start(r, spec)
		}
		if got := b.Calls("ecs:RegisterTaskDefinition"); got != 2 {
			t.Errorf("registered %d, want 2", got)
		}
	})
}
