package ecs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/smithy-go"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/schemas"
)

// broken opens a worker whose nth RunTask call ends as run says. What it asks for is done.
func (b *bench) broken(name string, run func(n int64, err error) error) *runner {
	c := b.clients()
	var runs atomic.Int64
	theirs := c.ecs.RunTask
	c.ecs.RunTask = func(ctx context.Context, in *ecs.RunTaskInput, options ...func(*ecs.Options)) (*ecs.RunTaskOutput, error) {
		n := runs.Add(1)
		out, err := theirs(ctx, in, options...)
		if err := run(n, err); err != nil {
			return nil, err
		}
		return out, nil
	}
	return b.workerWith(name, runners.Config{}, c, "")
}

func TestStart_twiceFindsTheFirst(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		first := b.start(r, b.spec("r.1", nil, nil))
		if second := b.start(r, b.spec("r.1", nil, nil)); second.ID() != first.ID() {
			t.Errorf("started twice: got %s and %s", first.ID(), second.ID())
		}
		b.one()
	})
}

func TestStart_twoWorkersAtOnceHaveOneTask(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		var wg sync.WaitGroup
		ids := make([]string, 5)
		for i := range ids {
			r := b.worker("w" + string(rune('0'+i)))
			wg.Go(func() {
				spec := b.spec("r.1", nil, nil)
				spec.Worker = r.config.Worker // its name is in the tags: the same token with another request
				ids[i] = b.start(r, spec).ID()
			})
		}
		wg.Wait()
		one := b.one().ARN
		for _, id := range ids {
			if id != one {
				t.Errorf("got tasks %v, want all %s", ids, one)
			}
		}
	})
}

func TestStart_answerLost(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.LoseAnswers("ecs:RunTask", 3)
		e := b.start(b.worker("w"), b.spec("r.1", nil, nil))
		if one := b.one().ARN; one != e.ID() {
			t.Errorf("got %s, want %s", e.ID(), one)
		}
		if got := b.Calls("ecs:RunTask"); got != 4 {
			t.Errorf("got %d calls, want 4", got)
		}
	})
}

// ECS has started the task, says 500, and refuses the next requests: the start goes on until it is known what became of it.
func TestStart_answerLostAndThenRefused(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.broken("w", func(n int64, err error) error {
			switch n {
			case 1:
				return &smithy.GenericAPIError{Code: "ServerException", Message: "Service Unavailable. Please try again later."}
			case 2, 3:
				return &smithy.GenericAPIError{Code: "ExpiredTokenException", Message: "The security token included in the request is expired"}
			}
			return err
		})
		if e := b.start(r, b.spec("r.1", nil, nil)); e.ID() != b.one().ARN {
			t.Errorf("got %s", e.ID())
		}
	})
}

func TestStart_refusedIsAnError(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		spec := b.spec("r.1", nil, map[string]any{"cluster": "nowhere"})
		_, err := b.worker("w").Start(t.Context(), spec)
		if reason, ok := runners.IsPermanent(err); !ok || reason != schemas.ReasonStartFailed || !strings.Contains(err.Error(), "nowhere") {
			t.Errorf("start = %v, want a permanent error that names the cluster", err)
		}
	})
}

// What only another job, or a change of the account, can mend is said once, by name, and with the way out.
func TestStart_refusedSaysTheWayOut(t *testing.T) {
	for name, tt := range map[string]struct {
		job   map[string]any
		words []string
	}{
		"provider": {map[string]any{"capacity": []string{"gpu"}}, []string{"start the task on gpu in cluster default: the cluster does not have that capacity provider", "aws ecs put-cluster-capacity-providers"}},
		"role":     {nil, []string{"ECS cannot take on execution_role_arn", "arn:aws:iam::123456789012:role/exec"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, forever, func(t *testing.T, b *bench) {
				b.SetRoles("arn:aws:iam::123456789012:role/other")
				_, err := b.worker("w").Start(t.Context(), b.spec("r.1", nil, tt.job))
				if _, final := runners.IsPermanent(err); !final {
					t.Fatalf("%v is not permanent", err)
				}
				for _, words := range tt.words {
					if !strings.Contains(err.Error(), words) {
						t.Errorf("got %v, want %s in it", err, words)
					}
				}
			})
		})
	}
}

// A cluster without machines is waited for, as for room, and the run says what is missing.
func TestStart_withoutMachines(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		spec := b.spec("r.1", nil, map[string]any{"launch_type": "EC2", "start_timeout": 60})
		var told []runners.Progress
		spec.Tell = func(p runners.Progress) { told = append(told, p) }
		_, _ = b.worker("w").Start(t.Context(), spec)
		if len(told) == 0 || told[0].Reason != schemas.ReasonCapacity || !strings.Contains(told[0].Message, "register container instances in it, or run the task on Fargate by launch_type FARGATE") {
			t.Errorf("told %+v", told)
		}
	})
}

func TestStart_throttled(t *testing.T) {
	const starts = 2000
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) {
			k.Limits = map[string]ecstest.Bucket{"ecs:RunTask": {Rate: 10, Burst: 10}, "ecs:DescribeTasks": {Rate: 10, Burst: 20}}
		})
		r := b.worker("w")
		var wg sync.WaitGroup
		for i := range starts {
			wg.Go(func() {
				if _, err := r.Start(t.Context(), b.spec(fmt.Sprintf("r%d.1", i), nil, nil)); err != nil {
					t.Errorf("start %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if got := len(b.Tasks()); got != starts {
			t.Errorf("got %d tasks, want %d", got, starts)
		}
		t.Logf("%d starts took %d RunTask and %d DescribeTasks calls", starts, b.Calls("ecs:RunTask"), b.Calls("ecs:DescribeTasks"))
	})
}

func TestStart_withoutTheRightToTheRun(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		spec := b.spec("r.1", nil, nil)
		spec.Held = func() bool { return false }
		if _, err := b.worker("w").Start(t.Context(), spec); !errors.Is(err, errTaken) {
			t.Errorf("start = %v, want errTaken", err)
		}
		if got := b.Calls("ecs:RunTask"); got != 0 {
			t.Errorf("got %d RunTask calls, want none", got)
		}
	})
}

// The right ends while it is not known whether the task was started: whoever has the run now may not have found it, so it is found
// here, for the worker to see that it is no more its.
func TestStart_rightLostWhileTheAnswerIs(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.Visible = 10 * time.Second })
		b.LoseAnswers("ecs:RunTask", 1)
		spec := b.spec("r.1", nil, nil)
		asked := 0
		spec.Held = func() bool { asked++; return asked == 1 }
		e := b.start(b.worker("w"), spec)
		if e.ID() != b.one().ARN || asked != 2 {
			t.Errorf("got %s after %d questions", e.ID(), asked)
		}
	})
}

func TestStart_cancelledWhileProvisioning(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		ctx, cancel := context.WithCancelCause(t.Context())
		spec := b.spec("r.1", nil, nil)
		spec.Tell = func(runners.Progress) { cancel(errTest) }
		if _, err := r.Start(ctx, spec); !errors.Is(err, errTest) {
			t.Errorf("start = %v, want the cause", err)
		}
		if one := b.one(); one.Status != stopped || !strings.HasPrefix(one.StoppedReason, stoppedByWeir) {
			t.Errorf("got task %+v, want it STOPPED by Weir when Start returns", one)
		}
	})
}

func TestStart_cancelledWhileTheAnswerIsLost(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.Visible = 3 * time.Second })
		ctx, cancel := context.WithCancelCause(t.Context())
		r := b.broken("w", func(int64, error) error {
			cancel(errTest)
			return &smithy.GenericAPIError{Code: "ServerException"}
		})
		if _, err := r.Start(ctx, b.spec("r.1", nil, nil)); !errors.Is(err, errTest) {
			t.Errorf("start = %v, want the cause", err)
		}
		if one := b.one(); one.Status != stopped {
			t.Errorf("got task %+v, want it STOPPED", one)
		}
	})
}

func TestStart_letGo(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		ctx, cancel := context.WithCancelCause(t.Context())
		spec := b.spec("r.1", nil, nil)
		spec.Tell = func(runners.Progress) { cancel(runners.ErrLetGo) }
		if _, err := r.Start(ctx, spec); !errors.Is(err, runners.ErrLetGo) {
			t.Errorf("start = %v, want ErrLetGo", err)
		}
		b.close(r)
		one := b.one()
		if found := b.find(b.worker("next"), runners.Sought{Name: "r.1"}); found.ID() != one.ARN || one.StopCode != "" {
			t.Errorf("found %s, want %+v, which goes on", found.ID(), one)
		}
	})
}

func TestStart_timesOut(t *testing.T) {
	for name, test := range map[string]struct {
		slow  func(p *ecstest.Pace)
		words string
	}{
		"while PROVISIONING": {func(p *ecstest.Pace) { p.Provisioning = time.Hour }, provisioning},
		"while ACTIVATING":   {func(p *ecstest.Pace) { p.Activating = time.Hour }, activating},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, forever, func(t *testing.T, b *bench) {
				b.Tune(func(k *ecstest.Knobs) { test.slow(&k.Pace) })
				began := time.Now()
				e, err := b.worker("w").Start(t.Context(), b.spec("r.1", nil, map[string]any{"task_start_timeout_seconds": 60}))
				if err == nil {
					_, err = e.Wait(t.Context())
				}
				if reason, ok := runners.IsPermanent(err); !ok || reason != schemas.ReasonStartTimedOut {
					t.Fatalf("got %v, want start_timed_out", err)
				}
				if !strings.Contains(err.Error(), test.words) || !strings.Contains(err.Error(), "1m0s") {
					t.Errorf("got %q, want the time and %s in it", err, test.words)
				}
				if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
					t.Errorf("took %s, want a minute and the time that a stop takes", took)
				}
				if one := b.one(); one.Status != stopped {
					t.Errorf("got %+v, want it STOPPED", one)
				}
			})
		})
	}
}

// The one who finds the task knows its job's start timeout by its tags.
func TestStart_timesOutAfterTheWorkersDeath(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.Pace.Activating = time.Hour })
		r := b.worker("w")
		b.start(r, b.spec("r.1", nil, map[string]any{"start_timeout": 60}))
		b.close(r)
		_, err := b.find(b.worker("next"), runners.Sought{Name: "r.1"}).Wait(t.Context())
		if reason, ok := runners.IsPermanent(err); !ok || reason != schemas.ReasonStartTimedOut {
			t.Errorf("got %v, want start_timed_out", err)
		}
	})
}

func TestStart_fallsBack(t *testing.T) {
	for name, how := range map[string]ecstest.Refusal{"in the answer": ecstest.InAnswer, "in the task": ecstest.InTask} {
		t.Run(name, func(t *testing.T) {
			bubble(t, forever, func(t *testing.T, b *bench) {
				b.Tune(func(k *ecstest.Knobs) { k.NoCapacity = map[string]ecstest.Refusal{fargateSpot: how} })
				spec := b.spec("r.1", nil, map[string]any{"capacity": []string{fargateSpot, fargate}})
				var told []runners.Progress
				spec.Tell = func(p runners.Progress) { told = append(told, p) }
				e := b.start(b.worker("w"), spec)
				tasks := b.Tasks()
				last := tasks[len(tasks)-1]
				if last.ARN != e.ID() || last.Provider != fargate {
					t.Errorf("got %s of %+v, want one on FARGATE", e.ID(), tasks)
				}
				if n := len(told); n < 2 || told[n-2].Reason != schemas.ReasonCapacity || told[n-1].Reason != "" {
					t.Errorf("told %+v, want capacity_unavailable and then the task", told)
				}
			})
		})
	}
}

func TestStart_waitsForRoom(t *testing.T) {
	for name, how := range map[string]ecstest.Refusal{"in the answer": ecstest.InAnswer, "in the task": ecstest.InTask} {
		t.Run(name, func(t *testing.T) {
			bubble(t, forever, func(t *testing.T, b *bench) {
				b.Tune(func(k *ecstest.Knobs) {
					k.NoCapacity = map[string]ecstest.Refusal{fargateSpot: how, fargate: how}
				})
				go func() {
					time.Sleep(20 * time.Minute)
					b.Tune(func(k *ecstest.Knobs) { k.NoCapacity = nil })
				}()
				began := time.Now()
				r := b.worker("w")
				b.start(r, b.spec("r.1", nil, map[string]any{"capacity": []string{fargateSpot, fargate}}))
				if took := time.Since(began); took < 20*time.Minute || took > 22*time.Minute {
					t.Errorf("took %s, want 20 minutes and a little", took)
				}
				alive := 0
				for _, task := range b.Tasks() {
					if task.Status != stopped {
						alive++
					}
				}
				if alive != 1 {
					t.Errorf("got %d tasks that live, want one", alive)
				}
				if got := b.Calls("ecs:RunTask"); got > 150 {
					t.Errorf("got %d RunTask calls in 20 minutes", got)
				}
			})
		})
	}
}

func TestStart_noRoomInTime(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.NoCapacity = map[string]ecstest.Refusal{fargate: ecstest.InAnswer} })
		_, err := b.worker("w").Start(t.Context(), b.spec("r.1", nil, map[string]any{"start_timeout": 300}))
		if reason, ok := runners.IsPermanent(err); !ok || reason != schemas.ReasonStartTimedOut || !strings.Contains(err.Error(), "Capacity is unavailable") {
			t.Errorf("got %v, want start_timed_out with ECS's words", err)
		}
	})
}

// Workers that have the same run in hand find room under different numbers of tries, and have one task all the same.
func TestStart_roomFoundByAnother(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.NoCapacity = map[string]ecstest.Refusal{fargate: ecstest.InAnswer} })
		var wg sync.WaitGroup
		for i, delay := range []time.Duration{0, time.Minute, 2 * time.Minute, 5 * time.Minute} {
			r := b.worker("w" + string(rune('0'+i)))
			wg.Go(func() {
				time.Sleep(delay)
				b.start(r, b.spec("r.1", nil, nil))
			})
		}
		time.Sleep(10 * time.Minute)
		b.Tune(func(k *ecstest.Knobs) { k.NoCapacity = nil })
		wg.Wait()
		synctest.Wait()
		b.one()
	})
}

func TestStart_imageIsNotThere(t *testing.T) {
	const words = "CannotPullContainerError: failed to resolve ref docker.io/library/none:1: docker.io/library/none:1: not found"
	bubble(t, func(ecstest.Task) ecstest.Plan { return ecstest.Plan{Fails: words} }, func(t *testing.T, b *bench) {
		e, err := b.worker("w").Start(t.Context(), b.spec("r.1", nil, nil))
		if err == nil {
			_, err = e.Wait(t.Context())
		}
		if reason, ok := runners.IsPermanent(err); !ok || reason != schemas.ReasonImageNotFound || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want image_not_found with ECS's words", err)
		}
	})
}
