package streams_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	p := streamstest.NewProxy(t, srv.Addr().String(), 1)
	c, err := streams.Connect(t.Context(), streams.Config{Server: p.URL(), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.Rate.Store(1 << 20) // all of it takes longer than the connection's timeout
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
	p := streamstest.NewProxy(t, srv.Addr().String(), 1)
	c, err := streams.Connect(t.Context(), streams.Config{Server: p.URL(), Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.Rate.Store(100)
	err = c.Requests(t.Context(), "dev", 1, func(streams.Stored) error { return nil })
	if err == nil {
		t.Error("got no error, want that nothing answers")
	}
}

// publish stores a message with these headers, each name before its value, and returns its sequence.
func publish(t *testing.T, c *streams.Conn, subject string, header ...string) uint64 {
	t.Helper()
	msg := nats.NewMsg(subject)
	for i := 0; i+1 < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	ack, err := c.JS.PublishMsg(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// The run of a request is the one that a worker would claim for it, wherever requests are read; what a worker would reject is no
// other request's run.
func TestRequests_haveTheirOwnRunsIDs(t *testing.T) {
	t.Parallel()
	const subject = "weir.run.dev.default.hello"
	requested := time.Now().UTC().Format(time.RFC3339Nano)
	for _, tc := range []struct {
		name    string
		subject string
		header  []string
		want    string // the run, as every reader has it
		first   bool   // it waits for its first attempt
	}{
		{"plain", subject, nil, "dev-1", true},
		{"named", subject, []string{streams.HeaderRunID, "nightly"}, "nightly", true},
		{"with a schedule's header", subject, []string{"Nats-Schedule-Target", "weir.run.dev.default.other"}, "dev-1", true},
		{"named like another request", subject, []string{streams.HeaderRunID, "dev-99"}, "", false},
		{"named by a wildcard", subject, []string{streams.HeaderRunID, "*"}, "", false},
		{"of a wildcard", "weir.run.dev.default.*", nil, "", false},
		{"another attempt", subject, []string{streams.HeaderRunID, "dev-99", "Weir-Attempt", "2", "Weir-Requested", requested}, "dev-99", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := streamstest.Connect(t)
			pool := createPool(t, c, schemas.Pool{Name: "dev"})
			sequence := publish(t, c, tc.subject, tc.header...)
			s, err := c.RequestAt(t.Context(), "dev", sequence)
			if err != nil || s.Run != tc.want {
				t.Errorf("request: got run %q, %v, want %q", s.Run, err, tc.want)
			}
			var want []string
			if tc.first {
				want = []string{tc.want + " of hello"}
			}
			if waiting, listed := wait(t, c, pool); !cmp.Equal(waiting, want) || !cmp.Equal(listed, want) {
				t.Errorf("got %v waiting and %v listed, want %v", waiting, listed, want)
			}
		})
	}
}

// wait returns the runs that wait for their first attempt: those that could be cancelled, and those that are due and listed.
func wait(t *testing.T, c *streams.Conn, pool schemas.Pool) (waiting, listed []string) {
	t.Helper()
	if err := c.EachWaiting(t.Context(), pool.Name, func(s streams.Stored) error { waiting = append(waiting, s.Run+" of "+s.Deployment); return nil }); err != nil {
		t.Fatal(err)
	}
	list, err := c.Waiting(t.Context(), pool, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		listed = append(listed, r.Run+" of "+r.Deployment)
	}
	return waiting, listed
}

// JetStream's own firings of a repeating schedule.
func TestRequests_ofARepeatingScheduleHaveItsFiringsIDs(t *testing.T) {
	t.Parallel()
	c := streamstest.Connect(t)
	pool := createPool(t, c, schemas.Pool{Name: "dev"})
	publish(t, c, "weir.schedule.dev.default.hello.tick", "Nats-Schedule", "@every 1s", "Nats-Schedule-Target", "weir.run.dev.default.hello")
	var listed []string
	for deadline := time.Now().Add(10 * time.Second); len(listed) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the schedule has not fired within 10 s")
		}
		_, listed = wait(t, c, pool)
	}
	waiting, _ := wait(t, c, pool)
	if len(waiting) == 0 || listed[0] != waiting[0] || !strings.HasPrefix(listed[0], "dev-tick-") {
		t.Errorf("got %v waiting and %v listed, want the firing", waiting, listed)
	}
}

// A schedule whose runs have IDs of their own is no run that waits.
func TestEachWaiting_passesOverRepeatingSchedules(t *testing.T) {
	t.Parallel()
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "dev"})
	publish(t, c, "weir.schedule.dev.default.hello.tick", "Nats-Schedule", "@every 1h", "Nats-Schedule-Target", "weir.run.dev.default.hello")
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	publish(t, c, "weir.schedule.dev.default.hello.later", "Nats-Schedule", "@at "+later, "Nats-Schedule-Target", "weir.run.dev.default.hello", streams.HeaderRunID, "later")
	var got []string
	if err := c.EachWaiting(t.Context(), "dev", func(s streams.Stored) error { got = append(got, s.Run); return nil }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"later"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
