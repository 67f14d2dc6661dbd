package consumers_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// A worker stands still between the last look at its right to the run and the request that makes the task. Its run has gone on to another
// attempt when it wakes, so that nobody looks for what it starts then: it stops that itself.
func TestProvisioned_whatIsStartedTooLateIsStopped(t *testing.T) {
	s := streamstest.Listen(t)
	b := newBenchOn(t, s, 1, time.Second, nil)
	p := streamstest.NewProxy(t, s.Addr().String(), 1)
	conn, err := streams.Connect(t.Context(), streams.Config{Server: p.URL()})
	if err != nil {
		t.Fatal(err)
	}
	wakes := make(chan struct{})
	var c *cloud
	c = b.newCloud(t, func(ctx context.Context, s runners.Spec, e *task) error {
		if s.Attempt > 1 {
			return nil
		}
		c.lose(s.Name)
		<-wakes
		c.mu.Lock()
		c.tasks[s.Name] = e
		c.mu.Unlock()
		s.Tell(runners.Progress{ID: e.ID()})
		<-ctx.Done()
		return context.Cause(ctx)
	})
	b.through = conn
	b.start(t, consumers.Config{Name: "w1", Slots: 1})
	run := b.request(t, "")
	late := c.next(t)
	b.reaches(t, run, schemas.Pending)
	back := conn.NC.StatusChanged(nats.CONNECTED)
	p.Block()
	b.worker(t, "w2", 1)
	second := c.next(t)
	second.begin()
	b.runs(t, run)
	p.Unblock(t)
	<-back
	close(wakes)
	select {
	case <-late.stopped:
	case <-time.After(patience):
		t.Error("the task of the first attempt goes on beside the second's")
	}
	second.end(runners.Result{}, nil)
	if events := b.events(t, run); events[len(events)-1].State != schemas.Completed {
		t.Errorf("got %v", states(events))
	}
}
