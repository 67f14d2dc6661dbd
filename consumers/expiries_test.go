package consumers

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

func newTestExpiries(t *testing.T) *expiries {
	t.Helper()
	conn := streamstest.Connect(t)
	if _, err := conn.CreatePool(t.Context(), schemas.Pool{Name: "dev", Type: "process"}); err != nil {
		t.Fatal(err)
	}
	x := newExpiries(conn, "server1", slog.New(slog.NewTextHandler(t.Output(), nil)))
	x.apply(streams.ConfigChange{Deployment: "hello", Record: &schemas.Deployment{Name: "hello", Pool: "dev", ExpiresAfter: schemas.Duration(time.Hour)}})
	return x
}

// However often the whole stream is looked at, each request is known once; one that is gone is known no longer.
func TestExpiries_knowEachRequestOnce(t *testing.T) {
	t.Parallel()
	x := newTestExpiries(t)
	for range 20 {
		if _, err := x.conn.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "hello"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		x.plan("dev", 0, true)
		x.step(t.Context())
	}
	if got := len(x.waiting); got != 20 {
		t.Errorf("got %d known requests after five looks at 20, want 20", got)
	}
	first, err := x.conn.RequestAt(t.Context(), "dev", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.conn.Remove(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	x.plan("dev", 0, true)
	x.step(t.Context())
	if got := len(x.waiting); got != 19 {
		t.Errorf("got %d known requests, want 19", got)
	}
}

// A pool is looked at again and again while it has schedules, and no longer.
func TestExpiries_lookAgainWhileThereAreSchedules(t *testing.T) {
	t.Parallel()
	x := newTestExpiries(t)
	msg := nats.NewMsg("weir.schedule.dev.default.hello.tick")
	msg.Header.Set("Nats-Schedule", "@every 1h")
	msg.Header.Set("Nats-Schedule-Target", streams.RunSubject("dev", "default", "hello"))
	ack, err := x.conn.JS.PublishMsg(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		x.plan("dev", 0, false)
		x.step(t.Context())
		if _, again := x.looks["dev"]; !again {
			t.Fatal("no other look is planned")
		}
	}
	s, err := x.conn.JS.Stream(t.Context(), ack.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), ack.Sequence); err != nil {
		t.Fatal(err)
	}
	x.plan("dev", 0, false)
	x.step(t.Context())
	if _, again := x.looks["dev"]; again {
		t.Error("another look is planned, though the schedule is gone")
	}
}

// A deleted pool's requests are let go.
func TestExpiries_letADeletedPoolGo(t *testing.T) {
	t.Parallel()
	x := newTestExpiries(t)
	if _, err := x.conn.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "hello"}); err != nil {
		t.Fatal(err)
	}
	x.step(t.Context())
	if err := x.conn.DeletePool(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	x.waiting[0].at = time.Now()
	x.step(t.Context())
	x.plan("dev", 0, true)
	x.step(t.Context())
	if len(x.waiting) > 0 || len(x.looks) > 0 {
		t.Errorf("got %v known and %v planned, want nothing", x.waiting, x.looks)
	}
}
