package consumers_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func TestWorker_refusesANameThatAnotherHas(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	b.worker(t, "w1", 1)
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
	for done := false; !done; { // between two of its own
		last, err := b.WorkerRecord(t.Context(), "dev", "w1")
		if err != nil {
			t.Fatal(err)
		}
		other := last.Worker
		other.Instance, other.Host = "another", "elsewhere"
		_, err = b.PutWorker(t.Context(), other, last.Sequence)
		if done = err == nil; !done && !errors.Is(err, streams.ErrOvertaken) {
			t.Fatal(err)
		}
	}
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
