package streams_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

func TestDeleteQueue_takesItsRequestsAndNoOthers(t *testing.T) {
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "dev", WorkQueues: []schemas.WorkQueue{{Name: "urgent"}, {Name: "slow"}}})
	for _, q := range []string{"urgent", "urgent", "slow", "default"} {
		submit(t, c, streams.Request{Pool: "dev", Queue: q, Deployment: "hello"})
	}
	later := nats.NewMsg("weir.schedule.dev.urgent.hello.later")
	later.Header.Set("Nats-Schedule", "@at 2099-01-01T00:00:00Z")
	later.Header.Set("Nats-Schedule-Target", "weir.run.dev.urgent.hello")
	if _, err := c.JS.PublishMsg(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteQueue(t.Context(), "dev", "urgent"); err != nil {
		t.Fatal(err)
	}
	s, err := c.JS.Stream(t.Context(), "WEIR_POOL_dev")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("got %d messages left, want those of the other two queues", n)
	}
	if _, err := c.Submit(t.Context(), streams.Request{Pool: "dev", Queue: "urgent", Deployment: "hello"}); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("a request to it: got %v, want ErrNotFound", err)
	}
	if err := c.DeleteQueue(t.Context(), "dev", "urgent"); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("deleted again: got %v, want ErrNotFound", err)
	}
	if err := c.DeleteQueue(t.Context(), "dev", schemas.DefaultQueue); !errors.Is(err, streams.ErrRefused) {
		t.Errorf("the default queue: got %v, want ErrRefused", err)
	}
}

func TestDeleteQueue_waitsForTheRunsThatWorkersHold(t *testing.T) {
	c := streamstest.Connect(t)
	p := createPool(t, c, schemas.Pool{Name: "dev", WorkQueues: []schemas.WorkQueue{{Name: "urgent"}}})
	submit(t, c, streams.Request{Pool: "dev", Queue: "urgent", Deployment: "hello"})
	slots := make(chan struct{}, 1)
	slots <- struct{}{}
	d := receive(t, pulled(t, c, p, slots))
	if err := c.DeleteQueue(t.Context(), "dev", "urgent"); !errors.Is(err, streams.ErrRefused) {
		t.Errorf("while a run is held: got %v, want ErrRefused", err)
	}
	if err := d.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteQueue(t.Context(), "dev", "urgent"); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

// A delete that was cut short after the record was written leaves a subject that collects in silence.
func TestDeleteQueue_finishesWhatWasCutShort(t *testing.T) {
	c := streamstest.Connect(t)
	p := createPool(t, c, schemas.Pool{Name: "dev", WorkQueues: []schemas.WorkQueue{{Name: "urgent"}}})
	p.WorkQueues = nil
	if _, err := c.UpdatePool(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteQueue(t.Context(), "dev", "urgent"); err != nil {
		t.Error(err)
	}
	if _, err := c.JS.Consumer(t.Context(), "WEIR_POOL_dev", "urgent"); err == nil {
		t.Error("its consumer is still there")
	}
}
