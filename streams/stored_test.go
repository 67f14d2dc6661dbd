package streams_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// Who reads a stream leaves nothing behind in it, whether or not there was something to read.
func TestStored_readersLeaveNoConsumerBehind(t *testing.T) {
	c := streamstest.Connect(t)
	if _, err := c.Append(event("dev-1", schemas.Pending, "a"), 0, "").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.JS.PublishMsg(t.Context(), nats.NewMsg("weir.log.dev.hello.dev-1")); err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{"dev-1", "dev-2"} {
		if _, err := c.Runs(t.Context(), streams.Filter{Deployment: run}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.DeadLetters(t.Context(), "", 1); err != nil {
			t.Fatal(err)
		}
		if err := c.ReadLogs(t.Context(), run, false, func(streams.LogLine) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{streams.EventStream, streams.LogStream, streams.DeadStream, "KV_" + streams.RunsBucket} {
		s, err := c.JS.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().State.Consumers; n > 0 {
			t.Errorf("stream %s: got %d consumers left behind, want none", name, n)
		}
	}
}
