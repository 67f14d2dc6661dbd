package streams_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// fill publishes so many requests with bodies of that size and returns the newest one's sequence.
func fill(t testing.TB, c *streams.Conn, n, size int, header ...string) (last uint64) {
	t.Helper()
	body := bytes.Repeat([]byte(" "), size)
	for range n {
		msg := nats.NewMsg(streams.RunSubject("dev", "default", "hello"))
		msg.Data = body
		for i := 0; i+1 < len(header); i += 2 {
			msg.Header.Set(header[i], header[i+1])
		}
		ack, err := c.JS.PublishMsg(t.Context(), msg)
		if err != nil {
			t.Fatal(err)
		}
		last = ack.Sequence
	}
	return last
}

// sees demands that every request of sequence 1 to n is read, once and in order.
func sees(t *testing.T, c *streams.Conn, n uint64) {
	t.Helper()
	var got []uint64
	err := c.Requests(t.Context(), "dev", 1, func(s streams.Stored) error {
		got = append(got, s.Sequence)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if uint64(len(got)) != n {
		t.Fatalf("got %d requests, want %d", len(got), n)
	}
	for i, seq := range got {
		if seq != uint64(i+1) {
			t.Fatalf("request %d has sequence %d", i+1, seq)
		}
	}
}

// An answer of the server has few messages where they are large.
func TestRequests_readsAllOfMoreThanFitsIntoOneAnswer(t *testing.T) {
	t.Parallel()
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "dev"})
	fill(t, c, 10, 200<<10)
	sees(t, c, fill(t, c, 1100, 0)) // and none more than is asked for
}

func TestRequests_readsAllOverASlowConnection(t *testing.T) {
	t.Parallel()
	srv := streamstest.Listen(t)
	direct := streamstest.Dial(t, srv)
	if err := direct.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	createPool(t, direct, schemas.Pool{Name: "dev"})
	n := fill(t, direct, 300, 4<<10)
	p := newProxy(t, srv.Addr().String(), 1)
	c, err := streams.Connect(t.Context(), streams.Config{Server: p.url(), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.rate.Store(1 << 20) // all of it takes longer than the connection's timeout
	sees(t, c, n)
}

// A request may have any header, such as those that the server describes the messages of a batch with.
func TestRequests_areNotMisledByARequestsHeaders(t *testing.T) {
	t.Parallel()
	for _, h := range [][]string{
		{"Nats-Sequence", "1"},
		{"Nats-Sequence", "x"},
		{"Nats-Subject", "weir.run.dev.default.other"},
		{"Nats-Last-Sequence", "77"},
		{"Status", "204", "Description", "EOB"},
		{"Status", "404"},
	} {
		t.Run(fmt.Sprint(h), func(t *testing.T) {
			t.Parallel()
			c := streamstest.Connect(t)
			createPool(t, c, schemas.Pool{Name: "dev"})
			fill(t, c, 3, 0)
			fill(t, c, 2, 0, h...)
			sees(t, c, fill(t, c, 3, 0))
		})
	}
}

// Where nothing answers, that is an error, not the end of what there is.
func TestRequests_withoutAnAnswerAreAnError(t *testing.T) {
	t.Parallel()
	srv := streamstest.Listen(t)
	direct := streamstest.Dial(t, srv)
	if err := direct.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	createPool(t, direct, schemas.Pool{Name: "dev"})
	fill(t, direct, 10, 1<<10)
	p := newProxy(t, srv.Addr().String(), 1)
	c, err := streams.Connect(t.Context(), streams.Config{Server: p.url(), Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.rate.Store(100)
	err = c.Requests(t.Context(), "dev", 1, func(streams.Stored) error { return nil })
	if err == nil {
		t.Error("got no error, want that nothing answers")
	}
}
