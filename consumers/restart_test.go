package consumers_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// A worker that is killed and started again under its name, twenty times: one attempt, one execution, and the request is
// never delivered to another worker that waits for it.
func TestRestart_goesOnWithWhatWasLeft(t *testing.T) {
	const ackWait = 2 * time.Second
	b := newBench(t, ackWait, nil)
	w, run := b.holding(t, "")
	execution := <-b.infra.began
	b.worker(t, "w2", 1)
	for range 20 {
		w.kill()
		w = b.start(t, consumers.Config{Name: "w1", Slots: 1})
	}
	b.quiet(t, 2*ackWait)
	execution.end(runners.Result{})
	events := b.events(t, run)
	for _, e := range events {
		if e.Attempt != 1 || e.Worker != "w1" {
			t.Fatalf("got %s in attempt %d by %s, want one attempt by w1", e.State, e.Attempt, e.Worker)
		}
	}
	if last := events[len(events)-1]; last.State != schemas.Completed {
		t.Errorf("got %s, want completed", last.State)
	}
	if got, want := b.infra.started(), []string{run + ".1"}; !cmp.Equal(got, want) {
		t.Errorf("got %v started, want %v", got, want)
	}
	b.empty(t)
}

// What ended while there was no worker is reported by the next one.
func TestRestart_reportsWhatEndedMeanwhile(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	w, run := b.holding(t, "")
	w.kill()
	(<-b.infra.began).end(runners.Result{ExitCode: 3})
	b.worker(t, "w1", 1)
	events := b.events(t, run)
	if last := events[len(events)-1]; last.State != schemas.Failed || *last.ExitCode != 3 || last.Attempt != 1 {
		t.Errorf("got %v, want failed with exit code 3 in attempt 1", states(events))
	}
	b.empty(t)
}

// An execution of an attempt that another worker has gone on from is not taken back.
func TestRestart_leavesWhatOthersHaveTaken(t *testing.T) {
	b := newBench(t, time.Second, nil)
	w, run := b.holding(t, "")
	w.kill()
	b.worker(t, "w2", 1)
	b.heldBy(t, run, "w2")
	b.worker(t, "w1", 1)
	(<-b.infra.began).end(runners.Result{})
	events := b.events(t, run)
	if last := events[len(events)-1]; last.State != schemas.Completed || last.Worker != "w2" || last.Attempt != 1 {
		t.Errorf("got %v by %s, want completed by w2", states(events), last.Worker)
	}
}

func TestRestart_goesOnWithACancel(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	w, run := b.holding(t, "")
	w.kill()
	b.cancel(t, run)
	b.worker(t, "w1", 1)
	events := b.events(t, run)
	if last := events[len(events)-1]; last.State != schemas.Cancelled || last.Attempt != 1 {
		t.Errorf("got %v, want cancelled", states(events))
	}
	b.empty(t)
}

// The timeout counts from the start of the attempt, whoever holds it.
func TestRestart_keepsTheDeadline(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	w, run := b.holding(t, `{"timeout": "1500ms"}`)
	w.kill()
	b.worker(t, "w1", 1)
	events := b.events(t, run)
	last := events[len(events)-1]
	if last.State != schemas.Failed || last.Reason != schemas.ReasonTimedOut {
		t.Fatalf("got %v, want timed_out", states(events))
	}
	if took := last.Time.Sub(*last.Started); took > 3*time.Second {
		t.Errorf("the run ended %s after its start, want about 1.5s", took)
	}
}

func TestWorker_takesOneRunAndEnds(t *testing.T) {
	b := newBench(t, time.Minute, ends(runners.Result{}))
	first, second := b.request(t, ""), b.request(t, "")
	w := b.start(t, consumers.Config{Name: "w1", Slots: 1, Once: true})
	b.events(t, first)
	b.ended(t, w)
	if _, err := b.Request(t.Context(), "dev", second); err != nil {
		t.Errorf("the second request is not there any more: %v", err)
	}
	if got := b.infra.started(); len(got) != 1 {
		t.Errorf("got %v started, want one", got)
	}
}

func TestWorker_endsWhenItHasBeenIdle(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	w := b.start(t, consumers.Config{Name: "w1", Slots: 2, IdleExit: 300 * time.Millisecond})
	run := b.request(t, "")
	b.runs(t, run)
	select {
	case <-w.done:
		t.Fatal("the worker ended with a run in its hands")
	case <-time.After(time.Second): // longer than it may idle
	}
	(<-b.infra.began).end(runners.Result{})
	b.events(t, run)
	b.ended(t, w)
}

func TestWorker_drainsWhenItIsAskedTo(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	w := b.start(t, consumers.Config{Name: "w1", Slots: 2})
	run := b.request(t, "")
	b.runs(t, run)
	answer, err := b.DrainWorker(t.Context(), "dev", "w1")
	if err != nil || answer.Running != 1 || answer.Status != schemas.WorkerDraining {
		t.Fatalf("got %+v, %v, want draining with 1 run", answer, err)
	}
	b.status(t, "w1", schemas.WorkerDraining)
	waiting := b.request(t, "")
	(<-b.infra.began).end(runners.Result{})
	b.events(t, run)
	b.ended(t, w)
	if _, err := b.Request(t.Context(), "dev", waiting); err != nil {
		t.Errorf("the request that came after is gone: %v", err)
	}
	if _, err := b.DrainWorker(t.Context(), "dev", "w1"); err == nil {
		t.Error("got no error for a worker that has ended")
	}
}

// A drain that takes too long hands the run back: the next worker starts it again, and it is no crash.
func TestWorker_handsBackWhatADrainCannotWaitFor(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	w := b.start(t, consumers.Config{Name: "w1", Slots: 1, DrainTimeout: 200 * time.Millisecond})
	run := b.request(t, "")
	b.runs(t, run)
	w.drain()
	b.ended(t, w)
	b.worker(t, "w2", 1)
	<-b.infra.began
	(<-b.infra.began).end(runners.Result{})
	events := b.events(t, run)
	last := events[len(events)-1]
	if last.State != schemas.Completed || last.Attempt != 2 || last.Crashes != 0 || last.Worker != "w2" {
		t.Errorf("got %v with %d crashes, want completed by w2 in attempt 2 without a crash", states(events), last.Crashes)
	}
}

func TestWorker_recoversLostRunsWhileThePoolIsPaused(t *testing.T) {
	b := newBench(t, time.Second, nil)
	_, kill := b.worker(t, "w1", 1)
	run := b.request(t, "")
	b.runs(t, run)
	b.worker(t, "w2", 1)
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	pool.Paused = true
	if _, err := b.UpdatePool(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	b.pulls(t, 0)
	waiting := b.request(t, "")
	b.infra.lose(run + ".1")
	kill()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	<-b.infra.began
	select {
	case again := <-b.infra.began:
		if again.spec.Run != run || again.spec.Attempt != 2 {
			t.Fatalf("got %s started, want attempt 2 of %s", again.spec.Name, run)
		}
		again.end(runners.Result{})
	case <-ctx.Done():
		t.Fatal("the lost run is not started again within 30 s")
	}
	b.events(t, run)
	if _, err := b.Request(t.Context(), "dev", waiting); err != nil {
		t.Errorf("the waiting request is gone: %v", err)
	}
}

// A redelivery does not prove that the lease has run out: whoever gives a request back late makes one. The second worker,
// whose infrastructure does not have the execution, leaves the run to its owner.
func TestRun_isNotTakenFromAnOwnerThatLives(t *testing.T) {
	const ackWait = time.Second
	b := newBench(t, ackWait, nil)
	b.worker(t, "w1", 1)
	run := b.request(t, "")
	b.runs(t, run)
	execution := <-b.infra.began
	other := &bench{Conn: b.Conn, server: b.server, infra: newInfrastructure(nil), homes: t.TempDir()}
	other.worker(t, "w2", 1)
	for range 15 { // for three ack waits
		if err := b.NC.Publish("$JS.ACK.WEIR_POOL_dev.default.1.1.1.0.0", []byte("-NAK")); err != nil {
			t.Fatal(err)
		}
		other.quiet(t, ackWait/5)
	}
	execution.end(runners.Result{})
	events := b.events(t, run)
	if got, want := states(events), []string{"pending 1", "running 1", "completed 1"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	b.empty(t)
}

// The execution ended with its lease while there was no worker, and its run had been cancelled: it is not tried again.
func TestRestart_cancelsWhatWasLostMeanwhile(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	w, run := b.holding(t, "")
	w.kill()
	b.cancel(t, run)
	(<-b.infra.began).end(runners.Result{Reason: schemas.ReasonLeaseLost})
	b.worker(t, "w1", 1)
	events := b.events(t, run)
	if last := events[len(events)-1]; last.State != schemas.Cancelled || last.Attempt != 1 {
		t.Errorf("got %v, want cancelled", states(events))
	}
	b.empty(t)
}

// Its worker died after it had recorded that the run is retrying: the next one of its name does not report that attempt again.
func TestRestart_reportsNoAttemptTwice(t *testing.T) {
	b := newBench(t, time.Minute, nil)
	w, run := b.holding(t, `{"retries": {"max": 1, "backoff": 1, "jitter": 0}}`)
	first := <-b.infra.began
	w.kill()
	last, err := b.LastEvent(t.Context(), "dev", "hello", run)
	if err != nil {
		t.Fatal(err)
	}
	e := last.RunEvent
	e.State, e.Reason, e.RetryAt = schemas.Retrying, schemas.ReasonExitCode, new(time.Now().UTC())
	b.write(t, e, last.Sequence)
	first.end(runners.Result{ExitCode: 1})
	b.copyAttempt(t, e, 2)
	b.worker(t, "w1", 1)
	(<-b.infra.began).end(runners.Result{})
	want := []string{"pending 1", "running 1", "retrying 1 exit_code", "pending 2", "running 2", "completed 2"}
	if got := states(b.events(t, run)); !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A worker that starts when another one is lost already has not heard its last record, but finds it, and waits no longer than one that did.
func TestRun_isTakenOverInTimeByAWorkerThatCameLater(t *testing.T) {
	t.Parallel()
	const ackWait = 6 * time.Second
	b := newBench(t, ackWait, nil)
	first, run := b.holding(t, "")
	e := <-b.infra.began
	first.kill()
	lost := time.Now()
	b.worker(t, "w2", 1)
	b.heldBy(t, run, "w2")
	if waited := time.Since(lost); waited > ackWait*4/3 {
		t.Errorf("it was taken over after %s, with an ack wait of %s", waited, ackWait)
	}
	e.end(runners.Result{})
	b.events(t, run)
}

// Each machine has a container engine of its own: what a lost worker left on its engine goes on there, and nobody starts another attempt
// beside it before that worker had time to come back. When it does not, the run goes on without it.
func TestRun_isNotTriedAgainBesideWhatIsElsewhere(t *testing.T) {
	t.Parallel()
	const ackWait = time.Second
	b := newBench(t, ackWait, nil)
	b.infra.place = "here"
	w, run := b.holding(t, "")
	w.kill()
	other := &bench{Conn: b.Conn, server: b.server, infra: newInfrastructure(nil), homes: t.TempDir()}
	other.infra.place = "there"
	other.worker(t, "w2", 1)
	other.quiet(t, 5*ackWait)
	(<-other.infra.began).end(runners.Result{})
	events := b.events(t, run)
	if got, want := states(events), []string{"pending 1", "running 1", "retrying 1 worker_lost", "pending 2", "running 2", "completed 2"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if first, last := events[1].Place, events[len(events)-1].Place; first != "here" || last != "there" {
		t.Errorf("the attempts were at %q and %q, want here and there", first, last)
	}
}

// A machine gets another name, or an engine takes the place of another at the same address, while a worker lives: its events say where
// each execution is.
func TestRun_isAtThePlaceWhereItWasStarted(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	b.infra.place = "here"
	b.infra.script = func(_ runners.Spec, e *scripted) { b.infra.place = "there" }
	_, run := b.holding(t, "")
	(<-b.infra.began).end(runners.Result{})
	events := b.events(t, run)
	if first, last := events[0].Place, events[len(events)-1].Place; first != "here" || last != "there" {
		t.Errorf("the run was claimed at %q and ended at %q, want here and there", first, last)
	}
}

// What a run's events say of the place is no reason not to look: an execution that is found is not started a second time beside it.
func TestRun_isFoundAtAPlaceThatHasAnotherNameNow(t *testing.T) {
	t.Parallel()
	const ackWait = 2 * time.Second
	b := newBench(t, ackWait, nil)
	b.infra.place = "here"
	w, run := b.holding(t, "")
	e := <-b.infra.began
	w.kill()
	lost := time.Now()
	b.infra.move("there")
	b.worker(t, "w2", 1)
	b.endWhenHeldBy(t, "w2", run, e)
	events := b.events(t, run)
	if last := events[len(events)-1]; last.State != schemas.Completed || last.Attempt != 1 || last.Place != "there" {
		t.Errorf("got %+v, want the first attempt to go on there", last)
	}
	if waited := time.Since(lost); waited > 8*ackWait {
		t.Errorf("it was found after %s, want it to be looked for as soon as its lease was over", waited)
	}
}

// A worker that lost its right to a run, and let a container go that is still the run's, does not say with its end that it left nothing.
func TestWorker_thatLeavesAnExecutionKeepsItsRecord(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		owner string
		taken bool
	}{{"w1", false}, {"w2", true}} {
		b := newBench(t, time.Minute, nil)
		run := b.request(t, "")
		lost := b.takeAndLose(t)
		b.write(t, schemas.RunEvent{
			Run: run, Pool: "dev", Queue: "default", Deployment: "hello", State: schemas.Running, Attempt: 1, Worker: tc.owner, Time: time.Now().UTC(),
			Requested: lost.Requested, Sequence: lost.Sequence,
		}, 0)
		w := b.start(t, consumers.Config{Name: "w1", Slots: 1})
		if _, err := b.infra.start(t.Context(), runners.Spec{Name: run + ".1", Worker: "w1"}); err != nil {
			t.Fatal(err)
		}
		w.drain()
		b.ended(t, w)
		if r, err := b.WorkerRecord(t.Context(), "dev", "w1"); err != nil || r.TakenBack != tc.taken {
			t.Errorf("run of %s: got record taken back %t, %v, want %t", tc.owner, r.TakenBack, err, tc.taken)
		}
	}
}

// A worker that is lost between the start and its record leaves a job that has been at work for a while: its timeout counts from its start.
func TestRun_foundBeforeItsStartWasRecordedKeepsItsStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	run := b.request(t, "")
	lost := b.takeAndLose(t)
	claimed := time.Now().Add(-10 * time.Second).UTC()
	b.write(t, schemas.RunEvent{
		Run: run, Pool: "dev", Queue: "default", Deployment: "hello", State: schemas.Pending, Attempt: 1, Worker: "w1", Time: claimed, Claimed: &claimed,
		Requested: lost.Requested, Sequence: lost.Sequence,
	}, 0)
	e, err := b.infra.start(t.Context(), runners.Spec{Name: run + ".1", Worker: "w1"})
	if err != nil {
		t.Fatal(err)
	}
	e.started = claimed.Add(time.Second)
	b.worker(t, "w1", 1)
	b.endWhenHeldBy(t, "w1", run, e)
	events := b.events(t, run)
	if last := events[len(events)-1]; last.Started == nil || !last.Started.Equal(e.started) || *last.ProvisionMS != 1000 || *last.RunningMS < 9000 {
		t.Errorf("got %+v, want it to have started at %s", last, e.started)
	}
}

// Whoever took a run over died before its claim: another delivery of the same request goes on, and nothing else is published.
func TestRun_isCarriedOnByTheRequestThatWasTakenOver(t *testing.T) {
	b := newBench(t, time.Second, nil)
	run := b.request(t, "")
	lost := b.takeAndLose(t)
	e := schemas.RunEvent{
		Run: run, Pool: "dev", Queue: "default", Deployment: "hello", State: schemas.Pending, Attempt: 1, Worker: "gone", Time: time.Now().UTC(),
		Requested: lost.Requested, Sequence: lost.Sequence,
	}
	last := b.write(t, e, 0)
	e.State, e.Reason, e.Crashes = schemas.Retrying, schemas.ReasonWorkerLost, 1
	b.write(t, e, last)
	b.worker(t, "w1", 1)
	again := <-b.infra.began
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	if st, err := b.QueueStatuses(t.Context(), pool); err != nil || st[0].Running != 1 || st[0].Depth != 0 {
		t.Errorf("got %+v, %v, want the one request held", st, err)
	}
	again.end(runners.Result{})
	if got, want := states(b.events(t, run)), []string{"pending 1", "retrying 1 worker_lost", "pending 2", "running 2", "completed 2"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	b.empty(t)
}

// A worker that stood still between its claim and the start finds, when it goes on, that another one has given the attempt up: what
// it has started beside the next attempt is stopped. An attempt that the other one goes on with is left alone.
func TestStart_isUndoneWhereTheRunHasMovedOn(t *testing.T) {
	for _, tc := range []struct {
		name  string
		next  []schemas.RunEvent // what the other worker has recorded
		stops bool
	}{
		{"next attempt", []schemas.RunEvent{
			{State: schemas.Retrying, Reason: schemas.ReasonWorkerLost, Attempt: 1}, {State: schemas.Pending, Attempt: 2},
		}, true},
		{"given up", []schemas.RunEvent{{State: schemas.Crashed, Reason: schemas.ReasonWorkerLost, Attempt: 1}}, true},
		{"taken over", []schemas.RunEvent{{State: schemas.Running, Reason: schemas.ReasonHeld, Attempt: 1}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var b *bench
			stoodStill := func(s runners.Spec, _ *scripted) {
				last, err := b.LastEvent(t.Context(), "dev", "hello", s.Run)
				if err != nil {
					t.Error(err)
					return
				}
				sequence := last.Sequence
				for _, n := range tc.next {
					e := last.RunEvent
					e.State, e.Reason, e.Attempt, e.Worker = n.State, n.Reason, n.Attempt, "other"
					sequence = b.write(t, e, sequence)
				}
			}
			b = newBench(t, time.Minute, stoodStill)
			b.worker(t, "w1", 1)
			b.request(t, "")
			e := <-b.infra.began
			if !tc.stops {
				b.quiet(t, time.Second/2)
			}
			select {
			case <-e.stopped:
				if !tc.stops {
					t.Error("the execution was stopped that another worker goes on with")
				}
			case <-after(tc.stops):
				if tc.stops {
					t.Error("the execution goes on beside what the run has become")
				}
			}
		})
	}
}

// after is a channel that a test waits on which wants something, or one that is ready at once.
func after(wait bool) <-chan time.Time {
	if wait {
		return time.After(10 * time.Second)
	}
	return time.After(0)
}
