package consumers_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// publish sends a request for hello as anybody may, with these headers.
func (b *bench) publish(t *testing.T, body string, header nats.Header) string {
	t.Helper()
	m := &nats.Msg{Subject: streams.RunSubject("dev", "default", "hello"), Data: []byte(body), Header: header}
	ack, err := b.JS.PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return streams.RunID(ack.Stream, ack.Sequence)
}

// dead waits for that many dead letters and returns them, newest first.
func (b *bench) dead(t *testing.T, want int) []streams.DeadLetter {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		dead, err := b.DeadLetters(t.Context(), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(dead) == want {
			return dead
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d dead letters, want %d: %+v", len(dead), want, dead)
		}
	}
}

// shrink makes a stream refuse messages of more than so many bytes.
func (b *bench) shrink(t *testing.T, stream string, bytes int32) {
	t.Helper()
	s, err := b.JS.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxMsgSize = bytes
	if _, err := b.JS.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// Headers are written by whoever publishes. None of them holds a slot for ever, and none is dropped without a word.
func TestRun_whoseHeadersMeanNothingHoldsNoSlot(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	b.worker(t, "w1", 1)
	far := "9999-12-31T23:59:59-01:00" // in UTC the year 10000, which RFC 3339 does not have
	run := b.publish(t, "", nats.Header{"Weir-Attempt": {"2"}, "Weir-Requested": {far}})
	if got := states(b.events(t, run)); !cmp.Equal(got, []string{"pending 1", "running 1", "completed 1"}) {
		t.Errorf("requested in the year 10000: got %v, want it to run", got)
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for i, tc := range []struct {
		name, want string
		header     nats.Header
	}{
		{"next attempt of what is no name", "no token!", nats.Header{"Weir-Attempt": {"2"}, "Weir-Requested": {now}, streams.HeaderRunID: {"no token!"}}},
		{"next attempt of an unknown run", "no event of it is kept", nats.Header{"Weir-Attempt": {"3"}, "Weir-Requested": {now}, streams.HeaderRunID: {"nightly"}}},
		{"headers that leave no room for others", "headers have", nats.Header{"Large": {strings.Repeat("x", 64_900)}}},
		{"many headers", "headers have", nats.Header{"A": {strings.Repeat("x", 30_000)}, "B": {strings.Repeat("x", 30_000)}}},
		{"a name that leaves no room for others", "xxx", nats.Header{streams.HeaderRunID: {strings.Repeat("x", 64_900)}}},
	} {
		b.publish(t, `{"retries": 1}`, tc.header)
		if got := b.dead(t, i+1)[0]; !strings.Contains(got.Message, tc.want) || got.Body != `{"retries": 1}` {
			t.Errorf("%s: got %+v, want %q", tc.name, got, tc.want)
		}
	}
	b.events(t, b.request(t, "")) // the slot is free
	b.empty(t)
}

func TestBury_saysThatHeadersAreLeftOut(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, nil)
	b.worker(t, "w1", 1)
	b.publish(t, "", nats.Header{"A": {"kept"}, "B": {strings.Repeat("x", 64_000)}, "C": {"kept, too"}})
	got := b.dead(t, 1)[0]
	if diff := cmp.Diff(map[string]string{"A": "kept", "C": "kept, too"}, got.Headers); diff != "" || !strings.Contains(got.Message, "1 of its headers") {
		t.Errorf("message %q, headers (-want +got):\n%s", got.Message, diff)
	}
}

// What NATS refuses for what it is it will refuse again: the run ends, and says why.
func TestRun_whoseNextAttemptIsRefusedEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{ExitCode: 3}))
	run := b.request(t, `{"retries": 2}`)
	b.shrink(t, "WEIR_POOL_dev", 100)
	b.worker(t, "w1", 1)
	got := b.events(t, run)
	if diff := cmp.Diff([]string{"pending 1", "running 1", "retrying 1 exit_code", "failed 1 exit_code"}, states(got)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if last := got[len(got)-1]; !strings.Contains(last.Message, "cannot be requested") {
		t.Errorf("message: got %q", last.Message)
	}
	b.empty(t)
}

// The same where another worker finds out.
func TestRun_whoseNextAttemptIsRefusedToWhoeverFindsItMissingEnds(t *testing.T) {
	b := newBench(t, time.Second, nil)
	run := b.request(t, `{"retries": 1}`)
	lost := b.takeAndLose(t)
	at := time.Now().UTC()
	e := schemas.RunEvent{
		Run: run, Pool: "dev", Queue: "default", Deployment: "hello", State: schemas.Pending, Attempt: 1, Worker: "gone", Time: at,
		Requested: lost.Requested, Sequence: lost.Sequence,
	}
	last := b.write(t, e, 0)
	e.State, e.Reason, e.RetryAt = schemas.Retrying, schemas.ReasonExitCode, &at
	b.write(t, e, last)
	b.shrink(t, "WEIR_POOL_dev", 100)
	b.worker(t, "w1", 1)
	if got := states(b.events(t, run)); !cmp.Equal(got, []string{"pending 1", "retrying 1 exit_code", "failed 1 exit_code"}) {
		t.Errorf("got %v", got)
	}
	b.empty(t)
}

func TestRun_whoseResultIsRefusedFails(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{Value: json.RawMessage(`"` + strings.Repeat("x", 8<<10) + `"`)}))
	b.shrink(t, streams.EventStream, 4<<10)
	b.worker(t, "w1", 1)
	if got := states(b.events(t, b.request(t, ""))); !cmp.Equal(got, []string{"pending 1", "running 1", "failed 1 result_too_large"}) {
		t.Errorf("got %v", got)
	}
	b.empty(t)
}

// What is known of a run is not thrown away with its request: it is recorded once there is room for it.
func TestRun_whoseEndIsRefusedIsReportedLater(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Second, nil)
	_, run := b.holding(t, "")
	e := <-b.infra.began
	b.shrink(t, streams.EventStream, 100)
	e.end(runners.Result{})
	b.quiet(t, 2*time.Second) // delivered again, it is not made again
	b.shrink(t, streams.EventStream, -1)
	if got := states(b.events(t, run)); got[len(got)-1] != "completed 1" {
		t.Errorf("got %v", got)
	}
	b.empty(t)
	if left, err := b.infra.runners["w1"].List(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("the runner keeps %v, %v", left, err)
	}
}

func TestRun_whoseStatesAreRefusedIsADeadLetter(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	b.shrink(t, streams.EventStream, 100)
	b.worker(t, "w1", 1)
	b.publish(t, `{"tags": ["a"]}`, nil)
	if got := b.dead(t, 1)[0]; got.Body != `{"tags": ["a"]}` || !strings.Contains(got.Message, "record pending of run dev-1") {
		t.Errorf("got %+v", got)
	}
	b.empty(t)
	if got := b.infra.started(); len(got) != 0 {
		t.Errorf("got %v started", got)
	}
}

// On three nodes a claim that loses is told so before the winner's event can be read.
func TestRun_thatLosesARaceInAClusterIsNotRefused(t *testing.T) {
	b := newBenchOn(t, streamstest.Cluster(t)[0], 3, 30*time.Second, ends(runners.Result{}))
	b.worker(t, "w1", 20)
	b.worker(t, "w2", 20)
	const runs = 200
	for i := range runs {
		for range 2 {
			m := &nats.Msg{Subject: streams.RunSubject("dev", "default", "hello"), Header: nats.Header{streams.HeaderRunID: {fmt.Sprintf("nightly_%d", i)}}}
			if _, err := b.JS.PublishMsgAsync(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-b.JS.PublishAsyncComplete()
	b.empty(t)
	if dead := b.dead(t, 0); len(dead) > 0 {
		t.Errorf("got %d dead letters, the newest: %+v", len(dead), dead[0])
	}
	if got := len(b.infra.started()); got != runs {
		t.Errorf("got %d started, want %d", got, runs)
	}
}

// An ID is taken once in a pool, whatever the deployment: it is all that people and events have to tell runs apart.
func TestRun_ofAnotherDeploymentDoesNotGetTheSameID(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30*time.Second, ends(runners.Result{}))
	b.deploy(t, schemas.Deployment{Name: "other", Command: schemas.Command{"true"}})
	b.worker(t, "w1", 4)
	b.worker(t, "w2", 4)
	const rounds = 20
	for i := range rounds {
		var futures []jetstream.PubAckFuture
		for _, deployment := range []string{"hello", "other"} { // at once
			f, err := b.JS.PublishMsgAsync(&nats.Msg{
				Subject: streams.RunSubject("dev", "default", deployment), Header: nats.Header{streams.HeaderRunID: {fmt.Sprintf("clash_%d", i)}},
			})
			if err != nil {
				t.Fatal(err)
			}
			futures = append(futures, f)
		}
		for _, f := range futures {
			select {
			case <-f.Ok():
			case err := <-f.Err():
				t.Fatal(err)
			}
		}
	}
	b.empty(t)
	for _, l := range b.dead(t, rounds) {
		if !strings.Contains(l.Message, "belongs to a run of deployment") {
			t.Errorf("dead letter of run %s: %s", l.Run, l.Message)
		}
	}
	if got := len(b.infra.started()); got != rounds {
		t.Errorf("got %d started, want %d", got, rounds)
	}
}
