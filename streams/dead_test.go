package streams_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// graveyard is a pool whose requests can be buried.
type graveyard struct {
	*streams.Conn
	slots      chan struct{}
	deliveries <-chan *streams.Delivery
}

func newGraveyard(t *testing.T) *graveyard {
	t.Helper()
	c := streamstest.Connect(t)
	p := createPool(t, c, schemas.Pool{Name: "dev"})
	g := &graveyard{Conn: c, slots: make(chan struct{}, 1)}
	g.deliveries = pulled(t, c, p, g.slots)
	return g
}

func (g *graveyard) next(t *testing.T) *streams.Delivery {
	t.Helper()
	g.slots <- struct{}{}
	return receive(t, g.deliveries)
}

// bury publishes a request and puts it among the dead letters, as a worker does.
func (g *graveyard) bury(t *testing.T, msg *nats.Msg, reason schemas.Reason) streams.DeadLetter {
	t.Helper()
	msg.Subject = streams.RunSubject("dev", "default", "hello")
	if _, err := g.JS.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	d := g.next(t)
	for range 2 {
		if err := d.Bury(t.Context(), reason, "parameters: got a number,\nwant an object"); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	dead, err := g.DeadLetters(t.Context(), "dev", 1)
	if err != nil || len(dead) != 1 {
		t.Fatalf("newest dead letter: got %+v, %v, want one", dead, err)
	}
	return dead[0]
}

func (g *graveyard) ids(t *testing.T, pool string, reason schemas.Reason) []uint64 {
	t.Helper()
	ids, err := g.DeadLetterIDs(t.Context(), pool, reason)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestBury_keepsTheRequestOnce(t *testing.T) {
	g := newGraveyard(t)
	got := g.bury(t, &nats.Msg{Data: []byte(`{"parameters": 1}`), Header: nats.Header{"X-Mine": {"kept"}}}, schemas.ReasonRejected)
	want := streams.DeadLetter{
		ID: 1, Subject: "weir.run.dev.default.hello", Pool: "dev", Queue: "default", Deployment: "hello", Sequence: 1, Run: "dev-1",
		Reason: schemas.ReasonRejected, Message: "parameters: got a number,; want an object", Time: got.Time, Headers: map[string]string{"X-Mine": "kept"},
		Body: `{"parameters": 1}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dead letter (-want +got):\n%s", diff)
	}
	if ids := g.ids(t, "", ""); len(ids) != 1 {
		t.Errorf("buried twice: got letters %v, want one", ids)
	}
}

func TestRetryDeadLetter_asksForANewRunThatNamesTheOriginal(t *testing.T) {
	g := newGraveyard(t)
	l := g.bury(t, &nats.Msg{Data: []byte(`{"tags": ["x"]}`), Header: nats.Header{
		streams.HeaderRunID: {"nightly"}, "Nats-Msg-Id": {"order-7"}, "Nats-Expected-Stream": {"WEIR_POOL_dev"},
		"X-Mine": {"one", "two"}, streams.HeaderTrace: {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}}, schemas.ReasonRejected)
	r, err := g.RetryDeadLetter(t.Context(), l.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := g.next(t)
	if d.Run != r.Run || d.Named || d.Run != "dev-2" || d.Parent != "nightly" || d.Trace == "" || string(d.Body) != `{"tags": ["x"]}` {
		t.Errorf("delivery: got run %q, parent %q, trace %q, body %s", d.Run, d.Parent, d.Trace, d.Body)
	}
	s, err := g.JS.Stream(t.Context(), "WEIR_POOL_dev")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), r.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	for _, direct := range []string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"} { // of the answer, not the message
		m.Header.Del(direct)
	}
	want := nats.Header{
		"X-Mine": {"one", "two"}, streams.HeaderTrace: {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		streams.HeaderParent: {"nightly"}, "Nats-Msg-Id": {"WEIR_DEAD-1"},
	}
	if diff := cmp.Diff(want, m.Header); diff != "" {
		t.Errorf("headers of the new request (-want +got):\n%s", diff)
	}
	if _, err := g.RetryDeadLetter(t.Context(), l.ID, nil); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("a second retry: got %v, want that the letter is gone", err)
	}
}

// A retry that died between storing the request and removing the letter is made again.
func TestRetryDeadLetter_twiceStoresOneRequest(t *testing.T) {
	g := newGraveyard(t)
	l := g.bury(t, &nats.Msg{Data: []byte(`1`)}, schemas.ReasonRejected)
	half, err := g.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "hello", DedupeID: fmt.Sprintf("WEIR_DEAD-%d", l.ID)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.RetryDeadLetter(t.Context(), l.ID, []byte(`{}`))
	if err != nil || r.Run != half.Run || !r.Duplicate {
		t.Errorf("got %+v, %v, want the stored request %s again", r, err, half.Run)
	}
	if ids := g.ids(t, "", ""); len(ids) != 0 {
		t.Errorf("letters: got %v, want none", ids)
	}
}

func TestRetryDeadLetter_refusesABodyThatWasCut(t *testing.T) {
	g := newGraveyard(t)
	whole := bytes.Repeat([]byte("x"), int(g.NC.MaxPayload())-200)
	l := g.bury(t, &nats.Msg{Data: whole}, schemas.ReasonRejected)
	if l.Size != len(whole) || len(l.Body) >= len(whole) || len(l.Body) < len(whole)-1000 {
		t.Fatalf("got %d of %d bytes, size %d, want the most that fits and its whole size", len(l.Body), len(whole), l.Size)
	}
	if _, err := g.RetryDeadLetter(t.Context(), l.ID, nil); !errors.Is(err, streams.ErrCut) {
		t.Errorf("got %v, want ErrCut", err)
	}
	if ids := g.ids(t, "", ""); len(ids) != 1 {
		t.Errorf("letters: got %v, want it still there", ids)
	}
	if _, err := g.RetryDeadLetter(t.Context(), l.ID, []byte("{}")); err != nil {
		t.Errorf("with a body: %v", err)
	}
}

func TestDeadLetterIDs_areChosenByPoolAndReason(t *testing.T) {
	g := newGraveyard(t)
	if ids := g.ids(t, "", ""); ids != nil {
		t.Errorf("of an empty stream: got %v", ids)
	}
	g.bury(t, &nats.Msg{}, schemas.ReasonRejected)
	g.bury(t, &nats.Msg{}, schemas.ReasonExpired)
	g.bury(t, &nats.Msg{}, schemas.ReasonRejected)
	if err := g.DeleteDeadLetter(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := g.DeleteDeadLetter(t.Context(), 1); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("deleted twice: got %v, want ErrNotFound", err)
	}
	for _, tt := range []struct {
		pool   string
		reason schemas.Reason
		want   []uint64
	}{
		{"", "", []uint64{2, 3}},
		{"dev", schemas.ReasonRejected, []uint64{3}},
		{"", schemas.ReasonExpired, []uint64{2}},
		{"prod", "", nil},
	} {
		if diff := cmp.Diff(tt.want, g.ids(t, tt.pool, tt.reason)); diff != "" {
			t.Errorf("pool %q, reason %q (-want +got):\n%s", tt.pool, tt.reason, diff)
		}
	}
}
