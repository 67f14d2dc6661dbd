package ecs

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

// A worker is killed between RunTask and its event: nothing is recorded of the task but where it would be.
func TestFind_withoutItsARN(t *testing.T) {
	for name, visible := range map[string]time.Duration{"seen at once": 0, "seen late": 17 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, lives(time.Minute, 3, lines(2)...), func(t *testing.T, b *bench) {
				b.AddCluster("jobs")
				b.Tune(func(k *ecstest.Knobs) { k.Visible = visible })
				r := b.worker("w")
				spec := b.spec("r.1", nil, map[string]any{"cluster": "jobs"})
				spec.Tell = func(runners.Progress) { go b.close(r) }
				_, err := r.Start(t.Context(), spec)
				if !errors.Is(err, errClosed) {
					t.Fatalf("start = %v, want errClosed", err)
				}
				time.Sleep(16 * time.Second) // no worker looks for it before the lease of the first can be over
				out := runnertest.NewRecorder()
				next := b.worker("next")
				e := b.find(next, runners.Sought{Name: "r.1", Place: r.Place(spec.Job), Output: out})
				if e.ID() != b.one().ARN {
					t.Errorf("found %s, want %s", e.ID(), b.one().ARN)
				}
				if res := b.wait(e); res.ExitCode != 3 {
					t.Errorf("got %+v, want exit code 3", res)
				}
				if diff := cmp.Diff(lines(2), out.Lines("")); diff != "" {
					t.Errorf("output (-want +got):\n%s", diff)
				}
				if got := b.Calls("ecs:RunTask"); got != 1 {
					t.Errorf("got %d RunTask calls, want 1", got)
				}
			})
		})
	}
}

func TestFind_unknown(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		began := time.Now()
		if _, err := b.worker("w").Find(t.Context(), runners.Sought{Name: "never.1", Place: ecstest.Region + "/default"}); !errors.Is(err, runners.ErrGone) {
			t.Errorf("find = %v, want ErrGone", err)
		}
		if took := time.Since(began); took > 8*time.Second { // a third of an ack wait of 24 s: after that its request is another's
			t.Errorf("took %s", took)
		}
	})
}

func TestFind_forgottenByECS(t *testing.T) {
	bubble(t, lives(time.Minute, 0), func(t *testing.T, b *bench) {
		r := b.worker("w")
		id := b.start(r, b.spec("r.1", nil, nil)).ID()
		b.close(r)
		time.Sleep(2 * time.Hour)
		_, err := b.worker("next").Find(t.Context(), runners.Sought{Name: "r.1", ID: id, Place: ecstest.Region + "/default"})
		if !errors.Is(err, runners.ErrGone) || runners.ReasonOf(err, "") != schemas.ReasonExecutionLost {
			t.Errorf("find = %v, want ErrGone and execution_lost", err)
		}
	})
}

func TestFind_ended(t *testing.T) {
	bubble(t, lives(time.Minute, 5, lines(4)...), func(t *testing.T, b *bench) {
		r := b.worker("w")
		id := b.start(r, b.spec("r.1", nil, nil)).ID()
		b.close(r)
		time.Sleep(30 * time.Minute)
		out := runnertest.NewRecorder()
		e := b.find(b.worker("next"), runners.Sought{Name: "r.1", ID: id, Output: out})
		if !isClosed(e.Begun()) {
			t.Error("the job is not said to have run")
		}
		if res := b.wait(e); res.ExitCode != 5 {
			t.Errorf("got %+v, want exit code 5", res)
		}
		if diff := cmp.Diff(lines(4), out.Lines("")); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
	})
}

// What was recorded is the first try's task, which had no room; another was started after it.
func TestFind_theTryThatCounts(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.NoCapacity = map[string]ecstest.Refusal{fargateSpot: ecstest.InTask} })
		r := b.worker("w")
		spec := b.spec("r.1", nil, map[string]any{"capacity": []string{fargateSpot, fargate}})
		first := ""
		spec.Tell = func(p runners.Progress) {
			if first == "" {
				first = p.ID
			}
		}
		second := b.start(r, spec).ID()
		b.close(r)
		if e := b.find(b.worker("next"), runners.Sought{Name: "r.1", ID: first}); e.ID() != second || first == second {
			t.Errorf("found %s, want %s", e.ID(), second)
		}
	})
}

func TestFind_noRoomWhileNobodyHeldIt(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.NoCapacity = map[string]ecstest.Refusal{fargate: ecstest.InTask} })
		r := b.worker("w")
		spec := b.spec("r.1", nil, nil)
		spec.Tell = func(runners.Progress) { go b.close(r) }
		_, _ = r.Start(t.Context(), spec)
		time.Sleep(time.Minute)
		_, err := b.find(b.worker("next"), runners.Sought{Name: "r.1"}).Wait(t.Context())
		if runners.ReasonOf(err, "") != schemas.ReasonCapacity {
			t.Errorf("got %v, want capacity_unavailable", err)
		}
	})
}

func TestFind_clusterIsGone(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		_, err := b.worker("w").Find(t.Context(), runners.Sought{Name: "r.1", Place: ecstest.Region + "/gone"})
		if !errors.Is(err, runners.ErrGone) || runners.ReasonOf(err, "") != schemas.ReasonExecutionLost {
			t.Errorf("find = %v, want ErrGone and execution_lost", err)
		}
	})
}

// A worker with another account's credentials has no such cluster, or one of the same name. That says nothing of the task.
func TestFind_inAnotherAccount(t *testing.T) {
	const foreign = "arn:aws:ecs:us-east-1:999999999999:task/jobs/0123456789abcdef0123456789abcdef"
	for name, test := range map[string]struct {
		sought  runners.Sought
		refused bool // AWS does not say whose credentials they are
		gone    bool // it is known to be elsewhere, and left to those who are there
	}{
		"by its ARN":                          {runners.Sought{Name: "r.1", ID: foreign, Place: "us-east-1/jobs"}, false, false},
		"by its ARN, of an unknown account":   {runners.Sought{Name: "r.1", ID: foreign, Place: "us-east-1/jobs"}, true, false},
		"by its place":                        {runners.Sought{Name: "r.1", Place: "us-east-1/999999999999/default"}, false, true},
		"by its place, of an unknown account": {runners.Sought{Name: "r.1", Place: "us-east-1/999999999999/default"}, true, false},
		"by both":                             {runners.Sought{Name: "r.1", ID: foreign, Place: "us-east-1/999999999999/jobs"}, false, true},
		"in another region":                   {runners.Sought{Name: "r.1", Place: "eu-central-1/default"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, forever, func(t *testing.T, b *bench) {
				c := b.clients()
				if test.refused {
					refuse(&c.sts.GetCallerIdentity, func(int64, *sts.GetCallerIdentityInput) error { return &smithy.GenericAPIError{Code: "AccessDenied"} })
				}
				r := b.workerWith("w", runners.Config{}, c, "")
				_, err := r.Find(t.Context(), test.sought)
				if err == nil || errors.Is(err, runners.ErrGone) != test.gone {
					t.Errorf("find = %v, want that it is gone: %t", err, test.gone)
				}
				if test.gone == r.Reaches(test.sought.Place) {
					t.Errorf("the place is said to be reached: %t", !test.gone)
				}
				if got := b.Calls("ecs:ListTasks"); got != 0 {
					t.Errorf("got %d looks into a cluster that is another one", got)
				}
			})
		})
	}
}

// The worker's profile comes to name another account: its runs are kept, and go on when it names theirs again.
func TestWatch_anotherAccountsCredentials(t *testing.T) {
	bubble(t, lives(2*time.Hour, 4), func(t *testing.T, b *bench) {
		c := b.clients()
		var wrong atomic.Bool
		refuse(&c.ecs.DescribeTasks, func(int64, *ecs.DescribeTasksInput) error {
			if wrong.Load() {
				return &types.ClusterNotFoundException{}
			}
			return nil
		})
		change(&c.sts.GetCallerIdentity, func(in sts.GetCallerIdentityInput) sts.GetCallerIdentityInput { return in }, func(out *sts.GetCallerIdentityOutput) {
			if wrong.Load() {
				out.Account = aws.String("999999999999")
			}
		})
		e := b.start(b.workerWith("w", runners.Config{}, c, ""), b.spec("r.1", nil, nil))
		<-e.Begun()
		time.Sleep(30 * time.Minute)
		wrong.Store(true)
		time.Sleep(30 * time.Minute)
		wrong.Store(false)
		if res := b.wait(e); res.ExitCode != 4 {
			t.Errorf("got %+v, want exit code 4", res)
		}
	})
}

// While ECS cannot be asked, it is not known that there is nothing.
func TestFind_whileECSRefuses(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		id := b.start(r, b.spec("r.1", nil, nil)).ID()
		b.close(r)
		b.Expire(adminKey)
		for _, sought := range []runners.Sought{{Name: "r.1"}, {Name: "r.1", ID: id}} {
			if _, err := b.worker("next").Find(t.Context(), sought); err == nil || errors.Is(err, runners.ErrGone) {
				t.Errorf("find = %v, want an error that is not ErrGone", err)
			}
		}
	})
}

func TestPlace(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		if got := r.Place(jobWith(t, nil)); got != "us-east-1/default" || !r.Reaches("us-east-1/999999999999/default") {
			t.Errorf("place while the account is not known: got %q", got)
		}
		synctest.Wait()
		for cluster, want := range map[string]string{
			"": "us-east-1/123456789012/default", "jobs": "us-east-1/123456789012/jobs",
			"arn:aws:ecs:us-east-1:123456789012:cluster/jobs": "us-east-1/123456789012/arn:aws:ecs:us-east-1:123456789012:cluster/jobs",
		} {
			got := r.Place(jobWith(t, map[string]any{"cluster": cluster}))
			if got != want || !r.Reaches(got) {
				t.Errorf("place of %q: got %q (reached: %t), want %q", cluster, got, r.Reaches(got), want)
			}
		}
		if r.Place(nil) != "" || r.Reaches("eu-central-1/default") || r.Reaches("us-east-1/999999999999/default") || !r.Reaches("us-east-1/default") {
			t.Error("a place is reached in another region or account, or of no job")
		}
	})
}

func TestList_onlyThePoolsOwn(t *testing.T) {
	bubble(t, func(task ecstest.Task) ecstest.Plan {
		if task.Tags[tagRun] == "ended" {
			return ecstest.Plan{Runs: time.Second}
		}
		return ecstest.Plan{Runs: ecstest.Forever}
	}, func(t *testing.T, b *bench) {
		b.AddCluster("jobs")
		r := b.worker("w")
		var wg sync.WaitGroup
		for i := range 120 { // more than a page
			wg.Go(func() { b.start(r, b.spec(fmt.Sprintf("r%d.1", i), nil, map[string]any{"cluster": "jobs"})) })
		}
		wg.Wait()
		b.wait(b.start(r, b.spec("ended.1", nil, map[string]any{"cluster": "jobs"})))
		b.start(r, b.spec("here.1", nil, nil))
		other := b.worker("other")
		other.config.Pool = "another"
		spec := b.spec("theirs.1", nil, nil)
		spec.Pool = "another"
		b.start(other, spec)
		b.close(r)

		next := b.worker("w") // it knows the clusters of its life before
		names, err := next.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, name := range names {
			found[name] = true
		}
		if len(names) != 122 || !found["r0.1"] || !found["r119.1"] || !found["ended.1"] || !found["here.1"] || found["theirs.1"] {
			t.Errorf("got %d names: %v", len(names), names)
		}
	})
}

// An orphan is a task whose run has gone on without it, and whose worker was killed before it could see that.
func TestForget_stopsAnOrphan(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		b.start(r, b.spec("r.1", nil, nil))
		kept := b.start(r, b.spec("kept.1", nil, nil)).ID()
		b.close(r)
		next := b.worker("next")
		if names, err := next.List(t.Context()); err != nil || len(names) != 2 {
			t.Fatalf("list = %v, %v", names, err)
		}
		next.Forget("r.1")
		next.stops.Wait()
		time.Sleep(time.Minute)
		for _, task := range b.Tasks() {
			if alive := task.Status == running; alive != (task.ARN == kept) {
				t.Errorf("task of %s is %s (%s)", task.Tags[tagExecution], task.Status, task.StoppedReason)
			}
		}
		if names, _ := next.List(t.Context()); !cmp.Equal(names, []string{"kept.1"}) {
			t.Errorf("list = %v, want what was not forgotten", names)
		}
		if _, err := next.Find(t.Context(), runners.Sought{Name: "r.1"}); !errors.Is(err, runners.ErrGone) {
			t.Errorf("find what was forgotten = %v, want ErrGone", err)
		}
	})
}

// All runs of a lost server are looked for at the same time.
func TestFind_manyAtOnce(t *testing.T) {
	for name, known := range map[string]bool{"by their ARNs": true, "by their names": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, forever, func(t *testing.T, b *bench) {
				const tasks = 300
				b.Tune(func(k *ecstest.Knobs) { k.Limits = map[string]ecstest.Bucket{"ecs:*": {Rate: 20, Burst: 40}} })
				r := b.worker("w")
				all := b.startAll(r, tasks)
				b.close(r)
				next := b.worker("next")
				began := time.Now()
				calls := b.Calls("ecs:DescribeTasks") + b.Calls("ecs:ListTasks")
				var wg sync.WaitGroup
				for _, e := range all {
					wg.Go(func() {
						sought := runners.Sought{Name: e.name, Place: ecstest.Region + "/default"}
						if known {
							sought.ID = e.ID()
						}
						if found := b.find(next, sought); found.ID() != e.ID() {
							t.Errorf("found %s, want %s", found.ID(), e.ID())
						}
					})
				}
				wg.Wait()
				got := b.Calls("ecs:DescribeTasks") + b.Calls("ecs:ListTasks") - calls
				if took := time.Since(began); took > 2*time.Second || got > 12 {
					t.Errorf("took %s and %d calls", took, got)
				}
			})
		})
	}
}

// A busy hour leaves more stopped tasks than can be listed soon. Who is looked for by his name is found among them all the same.
func TestFind_manyAtOnceAmongManyMore(t *testing.T) {
	bubble(t, func(task ecstest.Task) ecstest.Plan {
		if strings.HasSuffix(task.Tags[tagRun], "0") {
			return ecstest.Plan{Runs: ecstest.Forever}
		}
		return ecstest.Plan{Runs: time.Second, Exit: 3}
	}, func(t *testing.T, b *bench) {
		r := b.worker("w")
		all := b.startAll(r, 125) // of which 112 are stopped soon
		time.Sleep(time.Minute)
		b.close(r)
		next := b.worker("next")
		next.stoppedPages = 1
		var wg sync.WaitGroup
		for _, e := range all[:40] {
			wg.Go(func() {
				if found := b.find(next, runners.Sought{Name: e.name}); found.ID() != e.ID() {
					t.Errorf("found %s, want %s", found.ID(), e.ID())
				}
			})
		}
		wg.Wait()
	})
}

// A worker that was moved to another machine, or got another name, lists the clusters of what is deployed.
func TestList_whereOthersWere(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.AddCluster("jobs")
		r := b.worker("w")
		spec := b.spec("r.1", nil, map[string]any{"cluster": "jobs"})
		b.start(r, spec)
		b.close(r)
		b.dir = t.TempDir()
		next := b.worker("next")
		if names, err := next.List(t.Context()); err != nil || len(names) > 0 {
			t.Fatalf("list = %v, %v, want nothing: nobody says where", names, err)
		}
		next.Survey([]string{next.Place(spec.Job), "eu-central-1/elsewhere", ""})
		if names, err := next.List(t.Context()); err != nil || !cmp.Equal(names, []string{"r.1"}) {
			t.Errorf("list = %v, %v, want r.1", names, err)
		}
		if diff := cmp.Diff([]string{"jobs"}, next.clusters()); diff != "" {
			t.Errorf("clusters (-want +got):\n%s", diff)
		}
	})
}
