package ecs

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

func TestInterval(t *testing.T) {
	p := &watchPace
	for _, c := range []struct{ age, most, want time.Duration }{
		{0, 0, time.Second},
		{10 * time.Second, 0, time.Second},
		{time.Minute, 0, 3 * time.Second},
		{200 * time.Second, 0, 10 * time.Second},
		{time.Hour, 0, 10 * time.Second},
		{time.Hour, 30 * time.Second, 30 * time.Second},
		{time.Hour, 5 * time.Second, 5 * time.Second},
		{time.Minute, 30 * time.Second, 3 * time.Second},
		{time.Hour, time.Millisecond, time.Second},
		{1000 * time.Hour, 24 * time.Hour, 50 * time.Minute}, // ECS forgets a stopped task after an hour
		{-time.Hour, 0, time.Second},                         // ECS's clock is another one
	} {
		if got := p.interval(c.age, c.most); got != c.want {
			t.Errorf("interval(%s, %s) = %s, want %s", c.age, c.most, got, c.want)
		}
	}
}

// startAll starts tasks named r0.1, r1.1 and so on.
func (b *bench) startAll(r *runner, n int) []*execution {
	b.t.Helper()
	list := make([]*execution, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { list[i] = b.start(r, b.spec(fmt.Sprintf("r%d.1", i), nil, nil)) })
	}
	wg.Wait()
	return list
}

func TestWatch_oneCallForAHundred(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		b.startAll(r, 250)
		time.Sleep(10 * time.Minute)
		before := b.Calls("ecs:DescribeTasks")
		time.Sleep(5 * time.Minute)
		if got := b.Calls("ecs:DescribeTasks") - before; got > 3*30+3 || got < 3*30-3 {
			t.Errorf("got %d DescribeTasks calls in 5 minutes for 250 tasks, want 3 every 10 s", got)
		}
	})
}

func TestWatch_endIsSeenSoon(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.Pace = ecstest.Pace{} })
		r := b.worker("w")
		list := b.startAll(r, 20)
		for i, e := range list {
			time.Sleep(time.Duration(i) * time.Second)
			b.Exit(e.ID(), 0)
			ended := time.Now()
			<-e.over
			if took := time.Since(ended); took > 12*time.Second {
				t.Fatalf("the end of task %d was seen after %s", i, took)
			}
		}
	})
}

func TestWatch_forgottenByECS(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		e := b.start(r, b.spec("r.1", nil, nil))
		other := b.start(r, b.spec("other.1", nil, nil))
		<-e.Begun()
		b.Forget(e.ID())
		_, err := e.Wait(t.Context())
		if !errors.Is(err, runners.ErrGone) || runners.ReasonOf(err, "") != schemas.ReasonExecutionLost {
			t.Errorf("wait = %v, want ErrGone and execution_lost", err)
		}
		if isClosed(other.done) {
			t.Error("another task is lost as well")
		}
	})
}

// ECS may say for a while that a task is not there which it has just started.
func TestWatch_startedAndNotSeenYet(t *testing.T) {
	bubble(t, lives(time.Minute, 0), func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.Visible = 2 * time.Minute })
		if res := b.wait(b.start(b.worker("w"), b.spec("r.1", nil, nil))); res.ExitCode != 0 || res.NoCode {
			t.Errorf("got %+v", res)
		}
	})
}

func TestWatch_neverSeen(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.Visible = time.Hour })
		_, err := b.worker("w").Start(t.Context(), b.spec("r.1", nil, nil))
		if !errors.Is(err, runners.ErrGone) {
			t.Errorf("start = %v, want ErrGone", err)
		}
	})
}

// Credentials run out in the middle of runs, which go on, and their ends are seen once there are new ones.
func TestWatch_credentialsRunOut(t *testing.T) {
	bubble(t, lives(time.Minute, 4, lines(2)...), func(t *testing.T, b *bench) {
		if err := b.AddUser("AKIASECOND", "second", `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`); err != nil {
			t.Fatal(err)
		}
		c := b.clients()
		keys := &changing{key: adminKey}
		keys.into(b, c)
		r := b.workerWith("w", runners.Config{}, c, "")
		list := b.startAll(r, 20)
		b.Expire(adminKey)
		time.Sleep(30 * time.Minute)
		for _, e := range list {
			if isClosed(e.done) {
				t.Fatalf("a run ended while ECS refused: %v", e.err)
			}
		}
		keys.set("AKIASECOND")
		for _, e := range list {
			if res := b.wait(e); res.ExitCode != 4 {
				t.Errorf("got %+v, want exit code 4", res)
			}
		}
		if got := b.log.count("ECS does not tell of the tasks"); got != 1 {
			t.Errorf("warned %d times, want once", got)
		}
		if got := b.log.count("ECS tells of the tasks of the cluster again"); got != 1 {
			t.Errorf("told %d times that it is over, want once", got)
		}
	})
}

// Answers and events come in any order.
func TestWatch_olderNews(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		e := b.start(b.worker("w"), b.spec("r.1", nil, nil))
		before := e.known()
		<-e.Begun()
		if e.see(before) || e.known().Status != running {
			t.Errorf("older news made it %s", e.known().Status)
		}
	})
}

// The end is told when the containers have ended, a quarter of a minute before ECS says STOPPED.
func TestWatch_endIsToldBeforeTheNetworkIsGone(t *testing.T) {
	bubble(t, lives(time.Minute, 3, lines(2)...), func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.Pace.Deprovisioning = time.Hour })
		out := runnertest.NewRecorder()
		e := b.start(b.worker("w"), b.spec("r.1", out, nil))
		<-e.Begun()
		res := b.wait(e)
		if late := time.Since(res.Ended); res.ExitCode != 3 || late > 15*time.Second {
			t.Errorf("got %+v, %s after the end", res, late)
		}
		if got := out.Lines(""); len(got) != 2 {
			t.Errorf("got output %q", got)
		}
	})
}

func TestWatch_interrupted(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		e := b.start(b.worker("w"), b.spec("r.1", nil, map[string]any{"capacity": []string{fargateSpot}}))
		<-e.Begun()
		b.Interrupt(e.ID())
		if res := b.wait(e); res.Reason != schemas.ReasonSpotInterrupted || res.ExitCode != 143 {
			t.Errorf("got %+v, want spot_interrupted", res)
		}
	})
}

// A watcher has nothing to do when there are no tasks, and begins anew with the next one.
func TestWatch_endsWithItsTasks(t *testing.T) {
	bubble(t, lives(time.Second, 0), func(t *testing.T, b *bench) {
		r := b.worker("w")
		for i := range 3 {
			b.wait(b.start(r, b.spec(fmt.Sprintf("r%d.1", i), nil, nil)))
			r.Forget(fmt.Sprintf("r%d.1", i))
			synctest.Wait()
			calls := b.Calls("ecs:DescribeTasks")
			time.Sleep(time.Hour)
			if got := b.Calls("ecs:DescribeTasks"); got != calls {
				t.Errorf("got %d more calls with no task", got-calls)
			}
		}
		if len(r.held) > 0 {
			t.Errorf("%d executions are still held", len(r.held))
		}
	})
}

func TestStop(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		e := b.start(b.worker("w"), b.spec("r.1", nil, nil))
		<-e.Begun()
		time.Sleep(time.Hour)
		began := time.Now()
		var stops sync.WaitGroup
		for range 2 {
			stops.Go(func() {
				if err := e.Stop(t.Context(), time.Minute); err != nil {
					t.Errorf("stop: %v", err)
				}
			})
		}
		stops.Wait()
		if one := b.one(); rankOf(one.Status) < rankOf(deprovisioning) || one.StopCode != codeUser || !strings.HasPrefix(one.StoppedReason, stoppedByWeir) {
			t.Errorf("got %+v, want it STOPPED by Weir", one)
		}
		if took := time.Since(began); took > 5*time.Second { // though the task was looked at every 10 s until then
			t.Errorf("the stop was seen after %s", took)
		}
		if res := b.wait(e); res.ExitCode != 143 || res.Signal != "SIGTERM" || res.Reason == schemas.ReasonStoppedByUser {
			t.Errorf("got %+v, want 143", res)
		}
		if err := e.Stop(t.Context(), 0); err != nil {
			t.Errorf("stop what has ended: %v", err)
		}
	})
}

func TestStop_whilePulling(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		e := b.start(b.worker("w"), b.spec("r.1", nil, nil))
		if err := e.Stop(t.Context(), time.Minute); err != nil {
			t.Errorf("stop: %v", err)
		}
		if _, err := e.Wait(t.Context()); runners.ReasonOf(err, "") == "" || isClosed(e.Begun()) {
			t.Errorf("wait = %v, want that the job never ran", err)
		}
	})
}

func TestStop_forgottenByECS(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		e := b.start(b.worker("w"), b.spec("r.1", nil, nil))
		<-e.Begun()
		b.Forget(e.ID())
		if err := e.Stop(t.Context(), 0); !errors.Is(err, runners.ErrGone) {
			t.Errorf("stop = %v, want ErrGone", err)
		}
	})
}

func TestStop_byOthers(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		e := b.start(r, b.spec("r.1", nil, nil))
		<-e.Begun()
		if err := r.stopTask(t.Context(), "", e.ID(), "Ann wants it so"); err != nil {
			t.Fatal(err)
		}
		if res := b.wait(e); res.Reason != schemas.ReasonStoppedByUser || !strings.Contains(res.Message, "Ann wants it so") {
			t.Errorf("got %+v, want stopped_by_user with Ann's words", res)
		}
	})
}

func TestWait_endsWithTheWorker(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		r := b.worker("w")
		e := b.start(r, b.spec("r.1", nil, nil))
		go b.close(r)
		if _, err := e.Wait(t.Context()); !errors.Is(err, errClosed) || runners.ReasonOf(err, "") != "" {
			t.Errorf("wait = %v, want errClosed: the run goes on", err)
		}
	})
}
