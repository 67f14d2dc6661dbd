package streams_test

import (
	"context"
	"testing"
	"time"

	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// hears makes a peer that means what is said.
func hears(t *testing.T, c *streams.Conn, kind, self, meant string) <-chan string {
	t.Helper()
	heard := make(chan string, 10)
	stop, err := c.HearPeers(kind, self, func(m []byte) bool {
		heard <- string(m)
		return string(m) == meant
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	if err := c.NC.Flush(); err != nil {
		t.Fatal(err)
	}
	return heard
}

func TestPeers_whoIsMeantSaysSo(t *testing.T) {
	t.Parallel()
	s := streamstest.Server(t)
	conns := []*streams.Conn{streamstest.Dial(t, s), streamstest.Dial(t, s), streamstest.Dial(t, s)}
	own := hears(t, conns[0], "ecs", "a", "for a")
	second, third := hears(t, conns[1], "ecs", "b", "for b"), hears(t, conns[2], "ecs", "c", "for c")
	stranger := hears(t, conns[2], "docker", "d", "for b")
	began := time.Now()
	if !conns[0].TellPeers(t.Context(), "ecs", "a", []byte("for b")) {
		t.Error("b did not say that it was meant")
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("that took %s", took)
	}
	if got := <-second; got != "for b" {
		t.Errorf("b heard %q", got)
	}
	if got := <-third; got != "for b" {
		t.Errorf("c heard %q, want it told to all", got)
	}
	began = time.Now()
	if conns[0].TellPeers(t.Context(), "ecs", "a", []byte("for a")) {
		t.Error("somebody was meant, want nobody: who tells does not hear it")
	}
	if took := time.Since(began); took < time.Second || took > 3*time.Second {
		t.Errorf("it was found after %s that nobody is meant, want 1s", took)
	}
	for _, h := range []<-chan string{own, stranger} {
		select {
		case m := <-h:
			t.Errorf("got %q heard by one who is told nothing", m)
		default:
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if conns[0].TellPeers(ctx, "ecs", "a", []byte("for b")) {
		t.Error("somebody was meant after the context's end")
	}
}

func TestPeers_whoStopsHearsNothing(t *testing.T) {
	t.Parallel()
	s := streamstest.Server(t)
	teller, c := streamstest.Dial(t, s), streamstest.Dial(t, s)
	stop, err := c.HearPeers("ecs", "b", func([]byte) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := c.NC.Flush(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if teller.TellPeers(t.Context(), "ecs", "a", nil) || time.Since(began) > 500*time.Millisecond {
		t.Errorf("somebody was meant, or it took %s to find that nobody is there", time.Since(began))
	}
	if _, err := c.HearPeers("ecs:push", "b", nil); err == nil {
		t.Error("a kind that is no token was accepted")
	}
}
