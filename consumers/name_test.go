package consumers_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

func TestWorker_refusesANameThatAnotherHas(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	b.worker(t, "w1", 1)
	b.refusesAnother(t)
}

// refusesAnother demands that a worker w1 with another state folder is refused.
func (b *bench) refusesAnother(t *testing.T) {
	t.Helper()
	second, nc := b.newWorker(t, consumers.Config{Name: "w1", Slots: 1, Dir: t.TempDir()})
	defer nc.Close()
	err := second.Run(t.Context(), t.Context(), func(consumers.Ready) { t.Error("a second worker of the name takes runs") })
	if !errors.Is(err, streams.ErrRefused) || !strings.Contains(err.Error(), "--name") {
		t.Errorf("got %v, want a refusal that says what to do", err)
	}
}

// What a worker of the same name left elsewhere, this one's own supervisor cannot know.
func TestWorker_waitsForTheLeasesOfALostOneOfItsName(t *testing.T) {
	t.Parallel()
	const ackWait = 3 * time.Second
	b := newBench(t, ackWait, nil)
	first, run := b.holding(t, "")
	<-b.infra.began
	first.kill()
	b.infra.lose(run + ".1") // its host is another one
	lost := time.Now()
	b.start(t, consumers.Config{Name: "w1", Slots: 1, Dir: t.TempDir()})
	if waited := time.Since(lost); waited < ackWait*2/3 {
		t.Errorf("the other worker's leases may last for %s, it took runs after %s", ackWait*2/3, waited)
	}
	second := <-b.infra.began
	second.end(runners.Result{})
	b.events(t, run)
}

// A worker that could not write its record for so long that another took its name ends, and hands back what it holds.
func TestWorker_endsWhenAnotherHasTakenItsName(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Second, nil)
	b.deploy(t, schemas.Deployment{Name: "hello", Command: schemas.Command{"true"}})
	w, nc := b.newWorker(t, consumers.Config{Name: "w1", Slots: 1})
	defer nc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx, ctx, func(consumers.Ready) {}) }()
	run := b.request(t, "")
	b.runs(t, run)
	b.replaceRecord(t, func(r *schemas.Worker) { r.Instance, r.Host, r.Home = "another", "elsewhere", "another" })
	if err := <-ended; !errors.Is(err, streams.ErrRefused) || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("got %v, want it to end since its name is taken", err)
	}
	b.reaches(t, run, schemas.Retrying)
	if last, err := b.WorkerRecord(t.Context(), "dev", "w1"); err != nil || last.Instance != "another" {
		t.Errorf("record: got %+v, %v, want the other one's", last, err)
	}
	if diff := cmp.Diff([]string{run + ".1"}, b.infra.started()); diff != "" {
		t.Errorf("started (-want +got):\n%s", diff)
	}
}

// replaceRecord writes a record in the place of the one that worker w1 wrote last.
func (b *bench) replaceRecord(t *testing.T, change func(*schemas.Worker)) {
	t.Helper()
	for {
		last, err := b.WorkerRecord(t.Context(), "dev", "w1")
		if err != nil {
			t.Fatal(err)
		}
		change(&last.Worker)
		_, err = b.PutWorker(t.Context(), last.Worker, last.Sequence)
		if err == nil {
			return
		}
		if !errors.Is(err, streams.ErrOvertaken) { // w1 has written another one in between
			t.Fatal(err)
		}
	}
}

// What a worker sent before it was killed may be stored after its successor in the same folder has begun.
func TestWorker_isNotEndedByItsPredecessorsLastRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Second, nil)
	w, run := b.holding(t, "")
	b.replaceRecord(t, func(r *schemas.Worker) { r.Instance = "predecessor" })
	for {
		last, err := b.WorkerRecord(t.Context(), "dev", "w1")
		if err != nil {
			t.Fatal(err)
		}
		if last.Instance != "predecessor" {
			break
		}
	}
	(<-b.infra.began).end(runners.Result{})
	b.events(t, run)
	select {
	case <-w.done:
		t.Error("the worker has ended")
	default:
	}
}

func TestWorker_goesOnAtOnceWithWhatOneOfAnEarlierVersionLeft(t *testing.T) {
	t.Parallel()
	const ackWait = 6 * time.Second
	b := newBench(t, ackWait, nil)
	first, run := b.holding(t, "")
	e := <-b.infra.began
	first.kill()
	b.replaceRecord(t, func(r *schemas.Worker) { r.Home = "" })
	at := time.Now()
	b.start(t, consumers.Config{Name: "w1", Slots: 1})
	if waited := time.Since(at); waited > ackWait/3 {
		t.Errorf("it took %s until it took its jobs back, whose leases last %s", waited, ackWait*2/3)
	}
	e.end(runners.Result{})
	b.events(t, run)
}

func (b *bench) purgeRecords(t *testing.T) {
	t.Helper()
	kv, err := b.JS.Stream(t.Context(), "KV_"+streams.WorkersBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A record can age out under a holder that lives: by the clock of a NATS node that jumped. Who then gets the name does not take the
// holder's run for lost.
func TestWorker_asksWhereNoRecordIsLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	b.worker(t, "w1", 1)
	b.purgeRecords(t)
	b.refusesAnother(t)
}

func TestWorker_waitsBeforeItTakesARunOfItsNameForLost(t *testing.T) {
	t.Parallel()
	const ackWait = 3 * time.Second
	b := newBench(t, ackWait, nil)
	first, run := b.holding(t, "")
	<-b.infra.began
	first.kill()
	lost := time.Now()
	b.infra.lose(run + ".1") // its host is another one
	b.purgeRecords(t)
	last, err := b.LastEventIn(t.Context(), "dev", run)
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.Held(t.Context(), last.RunEvent)
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, consumers.Config{Name: "w1", Slots: 1, Dir: t.TempDir()})
	if err := d.GiveBack(0); err != nil {
		t.Fatal(err)
	}
	next := <-b.infra.began
	if waited := time.Since(lost); waited < ackWait*2/3 {
		t.Errorf("%s was started after %s, while leases of %s may last", next.spec.Name, waited, ackWait*2/3)
	}
	next.end(runners.Result{})
	b.events(t, run)
}

func TestWorker_ofTwoThatBeginAtOnceOneTakesRuns(t *testing.T) {
	t.Parallel()
	for range 5 {
		b := newBench(t, time.Second, nil)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		ready, ended := make(chan struct{}, 2), make(chan error, 2)
		for range 2 {
			w, nc := b.newWorker(t, consumers.Config{Name: "w1", Slots: 1, Dir: t.TempDir()})
			defer nc.Close()
			go func() { ended <- w.Run(ctx, ctx, func(consumers.Ready) { ready <- struct{}{} }) }()
		}
		if err := <-ended; !errors.Is(err, streams.ErrRefused) {
			t.Errorf("got %v, want a refusal", err)
		}
		<-ready
		cancel()
		<-ended
		if len(ready) > 0 {
			t.Error("both said that they take runs")
		}
	}
}

// The record that says that a worker drains is on its way when the worker ends.
func TestWorker_thatHasDrainedTakesItsRecordBack(t *testing.T) {
	b := newBenchOn(t, streamstest.Cluster(t)[0], 3, 30*time.Second, nil)
	for i := range 20 {
		w := b.start(t, consumers.Config{Name: "w" + strconv.Itoa(i), Slots: 1})
		w.drain()
		b.ended(t, w)
		if r, err := b.WorkerRecord(t.Context(), "dev", w.Name); err != nil || !r.TakenBack {
			t.Errorf("worker %s: got record %+v, %v, want it taken back", w.Name, r.Worker, err)
		}
	}
}
