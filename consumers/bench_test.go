package consumers_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

// until reads the run's events until one is as wanted.
func (b *bench) until(t *testing.T, run, what string, wanted func(schemas.RunEvent) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen := errors.New("seen")
	err := b.WatchRun(ctx, run, func(e streams.Recorded) error {
		if wanted(e.RunEvent) {
			return seen
		}
		return nil
	})
	if !errors.Is(err, seen) {
		t.Fatalf("run %s is not %s within %s: %v", run, what, patience, err)
	}
}

// holding starts the worker w1, with one slot, and a run that it holds.
func (b *bench) holding(t *testing.T, body string) (w *started, run string) {
	t.Helper()
	w = b.start(t, consumers.Config{Name: "w1", Slots: 1})
	run = b.request(t, body)
	b.runs(t, run)
	return w, run
}

// runs waits until the run is recorded as running.
func (b *bench) runs(t *testing.T, run string) {
	t.Helper()
	b.reaches(t, run, schemas.Running)
}

func (b *bench) reaches(t *testing.T, run string, state schemas.State) {
	t.Helper()
	b.until(t, run, string(state), func(e schemas.RunEvent) bool { return e.State == state })
}

func (b *bench) heldBy(t *testing.T, run, worker string) {
	t.Helper()
	b.until(t, run, "held by "+worker, func(e schemas.RunEvent) bool { return e.Worker == worker })
}

// ended waits until the worker has ended by itself.
func (b *bench) ended(t *testing.T, w *started) {
	t.Helper()
	select {
	case <-w.done:
	case <-time.After(patience):
		t.Fatalf("the worker does not end within %s", patience)
	}
}

// quiet demands that no execution begins for that long.
func (b *bench) quiet(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case e := <-b.infra.began:
		t.Fatalf("%s was started", e.spec.Name)
	case <-time.After(d):
	}
}

// settles waits until nothing waits in the queue and that many requests are held.
func (b *bench) settles(t *testing.T, held int) {
	t.Helper()
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; { // an acknowledgement follows the state that it is for
		st, err := b.QueueStatuses(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if st[0].Depth == 0 && st[0].Running == held {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the queue holds something else: %+v", st[0])
		}
	}
}

// waiting waits until that many requests are in the queue and none is held.
func (b *bench) waiting(t *testing.T, want uint64) {
	t.Helper()
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; { // a request is deleted after its run's last event
		st, err := b.QueueStatuses(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if st[0].Depth == want && st[0].Running == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the queue holds something else than %d: %+v", want, st[0])
		}
	}
}

// empty waits until the queue holds nothing.
func (b *bench) empty(t *testing.T) {
	t.Helper()
	b.settles(t, 0)
}

// pulls waits until so many pull requests wait in the server.
func (b *bench) pulls(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		c, err := b.JS.Consumer(t.Context(), "WEIR_POOL_dev", "default")
		if err != nil {
			t.Fatal(err)
		}
		got := c.CachedInfo().NumWaiting
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d pull requests that wait, want %d", got, want)
		}
	}
}

// status waits until the worker is listed with it.
func (b *bench) status(t *testing.T, worker string, status schemas.WorkerStatus) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		workers, err := b.Workers(t.Context(), "dev")
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range workers {
			if w.Name == worker && w.Status == status {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("worker %s is not listed as %s: %+v", worker, status, workers)
		}
	}
}

// deaf cuts the worker's connection, and returns while it is away.
func (b *bench) deaf(t *testing.T, nc *nats.Conn) {
	t.Helper()
	away := nc.StatusChanged(nats.RECONNECTING)
	id, err := nc.GetClientID()
	if err == nil {
		err = b.server.DisconnectClientByID(id)
	}
	if err != nil {
		t.Fatal(err)
	}
	<-away
}

// takeAndLose takes a request as a worker does that dies with it.
func (b *bench) takeAndLose(t *testing.T) *streams.Delivery {
	t.Helper()
	pool, err := b.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	puller, err := b.Puller(pool, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	slots := make(chan struct{}, 1)
	slots <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var taken *streams.Delivery
	if err := puller.Run(ctx, slots, func(d *streams.Delivery) { taken = d; cancel() }); err != nil || taken == nil {
		t.Fatalf("got delivery %v, %v", taken, err)
	}
	return taken
}

// write appends an event after the one with that sequence.
func (b *bench) write(t *testing.T, e schemas.RunEvent, last uint64) uint64 {
	t.Helper()
	sequence, err := b.Append(e, last, "").Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sequence
}

// copyAttempt publishes what JetStream publishes when the run's next attempt is due.
func (b *bench) copyAttempt(t *testing.T, e schemas.RunEvent, attempt int) {
	t.Helper()
	msg := nats.NewMsg(streams.RunSubject(e.Pool, e.Queue, e.Deployment))
	msg.Header.Set(streams.HeaderRunID, e.Run)
	msg.Header.Set("Weir-Attempt", strconv.Itoa(attempt))
	msg.Header.Set("Weir-Requested", e.Requested.Format(time.RFC3339Nano))
	if _, err := b.JS.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}
