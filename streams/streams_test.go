package streams_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

func createPool(t testing.TB, c *streams.Conn, p schemas.Pool) schemas.Pool {
	t.Helper()
	if p.Type == "" {
		p.Type = "process"
	}
	p, err := c.CreatePool(t.Context(), p)
	if err != nil {
		t.Fatalf("create pool %s: %v", p.Name, err)
	}
	return p
}

func submit(t testing.TB, c *streams.Conn, r streams.Request) streams.Requested {
	t.Helper()
	got, err := c.Submit(t.Context(), r)
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	return got
}

func event(run string, state schemas.State, worker string) schemas.RunEvent {
	return schemas.RunEvent{Run: run, Pool: "dev", Queue: "default", Deployment: "hello", State: state, Attempt: 1, Worker: worker, Time: time.Now().UTC()}
}

func TestAppend_oneOfManyWritersWins(t *testing.T) {
	c := streamstest.Connect(t)
	for run := range 50 {
		id := fmt.Sprintf("dev-%d", run+1)
		var wg sync.WaitGroup
		won := make(chan string, 4)
		for w := range 4 {
			wg.Go(func() {
				name := fmt.Sprintf("w%d", w)
				_, err := c.Append(event(id, schemas.Pending, name), 0, "").Wait(t.Context())
				switch {
				case err == nil:
					won <- name
				case !errors.Is(err, streams.ErrOvertaken):
					t.Errorf("append: got %v, want ErrOvertaken", err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("run %s: got %d winners, want 1", id, len(won))
		}
		last, err := c.LastEvent(t.Context(), "dev", "hello", id)
		if err != nil || last.Worker != <-won {
			t.Fatalf("last event of %s: got %+v, %v, want the winner's", id, last, err)
		}
	}
}

func TestAppend_afterAnothersEventIsOvertaken(t *testing.T) {
	c := streamstest.Connect(t)
	seq, err := c.Append(event("dev-1", schemas.Pending, "a"), 0, "").Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Append(event("dev-1", schemas.Running, "b"), seq, "").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Append(event("dev-1", schemas.Completed, "a"), seq, "").Wait(t.Context()); !errors.Is(err, streams.ErrOvertaken) {
		t.Errorf("append after another's event: got %v, want ErrOvertaken", err)
	}
}

func TestSubmit_namesTheRunFromTheAcknowledgement(t *testing.T) {
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "dev"})
	got := submit(t, c, streams.Request{Pool: "dev", Deployment: "hello"})
	if got.Run != "dev-1" || got.Sequence != 1 {
		t.Errorf("submit: got %+v, want run dev-1", got)
	}
	run, err := c.Run(t.Context(), got.Run)
	if err != nil || run.State != schemas.Scheduled || run.Deployment != "hello" {
		t.Errorf("run %s: got %+v, %v, want scheduled", got.Run, run, err)
	}
}

func TestSubmit_twiceWithOneDedupeIDIsOneRequest(t *testing.T) {
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "dev"})
	r := streams.Request{Pool: "dev", Deployment: "hello", DedupeID: "order-17"}
	first, second := submit(t, c, r), submit(t, c, r)
	if !second.Duplicate || second.Run != first.Run {
		t.Errorf("second submit: got %+v, want the duplicate of %+v", second, first)
	}
}

func TestSubmit_toAPoolOrQueueThatDoesNotExistIsNotFound(t *testing.T) {
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "dev"})
	for _, r := range []streams.Request{{Pool: "prod", Deployment: "hello"}, {Pool: "dev", Queue: "slow", Deployment: "hello"}} {
		if _, err := c.Submit(t.Context(), r); !errors.Is(err, streams.ErrNotFound) {
			t.Errorf("submit %+v: got %v, want ErrNotFound", r, err)
		}
	}
	// A subject with a token too many is refused by NATS as well, not collected in silence.
	if _, err := c.JS.Publish(t.Context(), streams.RunSubject("dev", "default", "a.b"), nil); err == nil {
		t.Error("publish to a subject with a token too many: got no error")
	}
}

func TestSubmit_refusesARunNameThatASequenceWillHave(t *testing.T) {
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "dev"})
	if _, err := c.Submit(t.Context(), streams.Request{Pool: "dev", Deployment: "hello", RunID: "dev-7"}); err == nil {
		t.Error("submit with run name dev-7: got no error")
	}
}

func TestCreatePool_afterADeleteGoesOnCounting(t *testing.T) {
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "dev"})
	first := submit(t, c, streams.Request{Pool: "dev", Deployment: "hello"})
	if err := c.DeletePool(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	createPool(t, c, schemas.Pool{Name: "dev"})
	if second := submit(t, c, streams.Request{Pool: "dev", Deployment: "hello"}); second.Sequence <= first.Sequence {
		t.Errorf("after the pool was made anew: got sequence %d, want more than %d", second.Sequence, first.Sequence)
	}
}

func TestPool_unknownNamesTheNearest(t *testing.T) {
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "development"})
	_, err := c.Pool(t.Context(), "developement")
	nf, ok := errors.AsType[*streams.NotFoundError](err)
	if !ok || nf.Nearest != "development" {
		t.Errorf("pool developement: got %v, want a NotFoundError that offers development", err)
	}
}

// pulled runs a puller with a slot for each value of slots and returns what it delivers.
func pulled(t *testing.T, c *streams.Conn, p schemas.Pool, slots <-chan struct{}) <-chan *streams.Delivery {
	t.Helper()
	puller, err := c.Puller(p, nil, 16)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, done := make(chan *streams.Delivery, 1000), make(chan error, 1)
	go func() { done <- puller.Run(ctx, slots, func(d *streams.Delivery) { out <- d }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("puller: %v", err)
		}
	})
	return out
}

func receive(t *testing.T, ch <-chan *streams.Delivery) *streams.Delivery {
	t.Helper()
	select {
	case d := <-ch:
		return d
	case <-time.After(10 * time.Second):
		t.Fatal("no delivery within 10 s")
		return nil
	}
}

func TestPuller_takesOneRequestForEachSlot(t *testing.T) {
	for _, queues := range [][]schemas.WorkQueue{nil, {{Name: "default", Priority: 2}, {Name: "high", Priority: 1}}} {
		c := streamstest.Connect(t)
		p := createPool(t, c, schemas.Pool{Name: "dev", WorkQueues: queues})
		for range 5 {
			submit(t, c, streams.Request{Pool: "dev", Deployment: "hello"})
		}
		slots := make(chan struct{}, 16)
		slots <- struct{}{}
		slots <- struct{}{}
		got := pulled(t, c, p, slots)
		for _, want := range []string{"dev-1", "dev-2"} {
			if d := receive(t, got); d.Run != want {
				t.Errorf("delivery: got %s, want %s", d.Run, want)
			}
		}
		// The server counts a stored request for its consumers a moment after it has acknowledged it.
		for deadline := time.Now().Add(10 * time.Second); ; {
			st, err := c.QueueStatuses(t.Context(), p)
			if err == nil && st[0].Depth == 3 && st[0].Running == 2 && st[0].Oldest != nil {
				break
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("queue status: got %+v, %v, want depth 3, running 2 and the oldest's time", st, err)
			}
		}
	}
}

func TestPuller_takesTheQueueWithThePriorityFirst(t *testing.T) {
	c := streamstest.Connect(t)
	p := createPool(t, c, schemas.Pool{Name: "dev", WorkQueues: []schemas.WorkQueue{{Name: "default"}, {Name: "low", Priority: 5}, {Name: "high", Priority: 1}}})
	for _, q := range []string{"default", "low", "high", "default", "low", "high"} {
		submit(t, c, streams.Request{Pool: "dev", Queue: q, Deployment: "hello"})
	}
	for counted, deadline := false, time.Now().Add(10*time.Second); !counted; { // a moment after the acknowledgement
		st, err := c.QueueStatuses(t.Context(), p)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("queue status: got %+v, %v, want depth 2 for each", st, err)
		}
		counted = !slices.ContainsFunc(st, func(q streams.QueueStatus) bool { return q.Depth != 2 })
	}
	slots := make(chan struct{}, 16)
	got := pulled(t, c, p, slots)
	var order []string
	for range 6 {
		slots <- struct{}{}
		order = append(order, receive(t, got).Queue)
	}
	if diff := cmp.Diff([]string{"high", "high", "low", "low", "default", "default"}, order); diff != "" {
		t.Errorf("order of deliveries (-want +got):\n%s", diff)
	}
	// A slot that waited while all queues were empty takes what comes first, and gives back what came beside it.
	slots <- struct{}{}
	submit(t, c, streams.Request{Pool: "dev", Queue: "low", Deployment: "hello"})
	if d := receive(t, got); d.Queue != "low" {
		t.Errorf("after a wait: got queue %s, want low", d.Queue)
	}
}

// overTCP returns two connections to one server: setup, in the test's process, and c, over a socket that can be cut.
func overTCP(t *testing.T) (setup, c *streams.Conn) {
	t.Helper()
	s := streamstest.Listen(t)
	setup = streamstest.Dial(t, s)
	if err := setup.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if c, err = streams.Open(nc, "", ""); err != nil {
		t.Fatal(err)
	}
	return setup, c
}

// reconnect cuts the connection and waits until it is back.
func reconnect(t *testing.T, c *streams.Conn) {
	t.Helper()
	back := c.NC.StatusChanged(nats.CONNECTED)
	defer c.NC.RemoveStatusListener(back)
	if err := c.NC.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	<-back
}

func TestPuller_goesOnAfterAReconnect(t *testing.T) {
	setup, c := overTCP(t)
	p := createPool(t, setup, schemas.Pool{Name: "dev"})
	slots := make(chan struct{}, 1)
	slots <- struct{}{}
	got := pulled(t, c, p, slots)
	if err := c.NC.Flush(); err != nil {
		t.Fatal(err)
	}
	reconnect(t, c)
	submit(t, setup, streams.Request{Pool: "dev", Deployment: "hello"})
	if d := receive(t, got); d.Run != "dev-1" {
		t.Errorf("delivery after a reconnect: got %s, want dev-1", d.Run)
	}
}

func TestPuller_asksForNothingWithoutAFreeSlot(t *testing.T) {
	setup, c := overTCP(t)
	p := createPool(t, setup, schemas.Pool{Name: "dev"})
	slots := make(chan struct{}, 2)
	slots <- struct{}{}
	got := pulled(t, c, p, slots)
	submit(t, setup, streams.Request{Pool: "dev", Deployment: "hello"})
	receive(t, got) // the one slot is taken
	for range 3 {
		reconnect(t, c)
	}
	submit(t, setup, streams.Request{Pool: "dev", Deployment: "hello"})
	slots <- struct{}{}
	if d := receive(t, got); d.Run != "dev-2" {
		t.Fatalf("delivery for the second slot: got %s, want dev-2", d.Run)
	}
	cons, err := setup.JS.Consumer(t.Context(), "WEIR_POOL_dev", "default")
	if err != nil {
		t.Fatal(err)
	}
	if info := cons.CachedInfo(); info.NumWaiting != 0 || info.NumAckPending != 2 {
		t.Errorf("with both slots taken: got %d pull requests waiting and %d requests held, want 0 and 2", info.NumWaiting, info.NumAckPending)
	}
}

func TestUpdatePool_doesNotCutTheAckWaitUnderHeldRuns(t *testing.T) {
	c := streamstest.Connect(t)
	p := createPool(t, c, schemas.Pool{Name: "dev"})
	submit(t, c, streams.Request{Pool: "dev", Deployment: "hello"})
	slots := make(chan struct{}, 1)
	slots <- struct{}{}
	d := receive(t, pulled(t, c, p, slots))
	p.AckWait = schemas.Duration(time.Second)
	if _, err := c.UpdatePool(t.Context(), p); err == nil {
		t.Error("a shorter ack wait under a held run: got no error")
	}
	if err := d.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpdatePool(t.Context(), p); err != nil {
		t.Errorf("a shorter ack wait when nothing is held: got %v", err)
	}
}

func TestRuns_areTheViewThatNATSKeeps(t *testing.T) {
	c := streamstest.Connect(t)
	for i := range 30 {
		id := fmt.Sprintf("dev-%d", i+1)
		seq, err := c.Append(event(id, schemas.Pending, "w"), 0, "").Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		state := schemas.Completed
		if i%10 == 0 {
			state = schemas.Failed
		}
		if _, err := c.Append(event(id, state, "w"), seq, "").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// The view follows the log: wait until it holds the last run's last state.
	kv, err := c.JS.KeyValue(t.Context(), streams.RunsBucket)
	if err != nil {
		t.Fatal(err)
	}
	w, err := kv.Watch(t.Context(), "dev.hello.dev-30")
	if err != nil {
		t.Fatal(err)
	}
	for e := range w.Updates() {
		if e == nil {
			continue
		}
		if ev, err := schemas.DecodeRunEvent(e.Value()); err == nil && ev.State == schemas.Completed {
			break
		}
	}
	newest, err := c.Runs(t.Context(), streams.Filter{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range newest {
		ids = append(ids, r.Run)
	}
	if diff := cmp.Diff([]string{"dev-30", "dev-29", "dev-28"}, ids); diff != "" {
		t.Errorf("newest runs (-want +got):\n%s", diff)
	}
	failed, err := c.Runs(t.Context(), streams.Filter{Pool: "dev", States: []schemas.State{schemas.Failed}})
	if err != nil || len(failed) != 3 {
		t.Errorf("failed runs: got %d, %v, want 3", len(failed), err)
	}
}

func TestLogs_followEndsWithTheLastLine(t *testing.T) {
	c := streamstest.Connect(t)
	seq, err := c.Append(event("dev-1", schemas.Pending, "w"), 0, "").Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := c.Logs("dev", "hello", "dev-1", 1)
	w.Write(streams.LogEntry{Stream: "stdout", Position: 1, Line: []byte("first")})
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := make(chan streams.LogLine, 10)
	done := make(chan error, 1)
	go func() {
		done <- c.ReadLogs(t.Context(), "dev-1", true, func(l streams.LogLine) error { lines <- l; return nil })
	}()
	if l := <-lines; l.Line != "first" {
		t.Errorf("line: got %q, want first", l.Line)
	}
	w.Write(streams.LogEntry{Stream: "stderr", Position: 2, Line: []byte("last")})
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Append(event("dev-1", schemas.Completed, "w"), seq, "").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	close(lines)
	var rest []string
	for l := range lines {
		rest = append(rest, l.Stream+" "+l.Line)
	}
	if diff := cmp.Diff([]string{"stderr last"}, rest); diff != "" {
		t.Errorf("lines after the first (-want +got):\n%s", diff)
	}
}

// Only the run's final state ends its log: a watch for it that breaks is an error.
func TestLogs_followOfALostWatchIsNotTheEnd(t *testing.T) {
	c := streamstest.Connect(t)
	if _, err := c.Append(event("dev-1", schemas.Running, "w"), 0, "").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := c.Logs("dev", "hello", "dev-1", 1)
	w.Write(streams.LogEntry{Stream: "stdout", Position: 1, Line: []byte("first")})
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- c.ReadLogs(t.Context(), "dev-1", true, func(streams.LogLine) error { close(first); return nil })
	}()
	<-first
	if _, err := c.JS.Publish(t.Context(), "weir.event.run.dev.hello.dev-1.running", []byte("no event")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("got the end of the log, want an error: the run goes on")
	}
}

// A long log is read as it arrives: what the reader refuses ends the reading, whatever is stored after it.
func TestLogs_areReadOneByOne(t *testing.T) {
	c := streamstest.Connect(t)
	w := c.Logs("dev", "hello", "dev-1", 1)
	for i := range 3000 {
		w.Write(streams.LogEntry{Stream: "stdout", Position: int64(i + 1), Line: []byte(strconv.Itoa(i))})
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, enough := 0, errors.New("enough")
	err := c.ReadLogs(t.Context(), "dev-1", false, func(l streams.LogLine) error {
		if l.Line != strconv.Itoa(n) {
			t.Fatalf("line %d: got %q", n, l.Line)
		}
		if n++; n == 2500 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 2500 {
		t.Errorf("got %v after %d lines, want the reader's own error after 2500", err, n)
	}
}

func TestWorkers_areListedWithWhatTheyHold(t *testing.T) {
	c := streamstest.Connect(t)
	w := schemas.Worker{Name: "w1", Pool: "dev", Status: schemas.WorkerOnline, Slots: 4, Used: 1, Runs: []string{"dev-1"}, Instance: "a"}
	first, err := c.PutWorker(t.Context(), w, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutWorker(t.Context(), w, 0); !errors.Is(err, streams.ErrOvertaken) {
		t.Errorf("a record after none, where there is one: got %v, want overtaken", err)
	}
	if _, err := c.PutWorker(t.Context(), w, first); err != nil {
		t.Error(err)
	}
	got, err := c.Workers(t.Context(), "dev")
	if err != nil || len(got) != 1 || got[0].Status != schemas.WorkerOnline || got[0].Used != 1 {
		t.Fatalf("workers: got %+v, %v, want w1 online", got, err)
	}
	other := w
	other.Instance = "b"
	if err := c.RemoveWorker(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.Workers(t.Context(), ""); len(got) != 1 {
		t.Error("the record went although another instance of that name stopped")
	}
	if err := c.RemoveWorker(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.Workers(t.Context(), ""); len(got) != 0 {
		t.Errorf("workers after the stop: got %+v, want none", got)
	}
}

func TestWatchConfig_bringsWhatIsThereAndWhatChanges(t *testing.T) {
	c := streamstest.Connect(t)
	createPool(t, c, schemas.Pool{Name: "dev"})
	ctx, cancel := context.WithCancel(t.Context())
	ready, changes := make(chan struct{}), make(chan streams.ConfigChange, 10)
	done := make(chan error, 1)
	go func() { done <- c.WatchConfig(ctx, ready, func(ch streams.ConfigChange) { changes <- ch }) }()
	<-ready
	if ch := <-changes; ch.Pool != "dev" || ch.PoolRecord == nil {
		t.Errorf("first change: got %+v, want pool dev", ch)
	}
	d := schemas.Deployment{Name: "hello", Pool: "dev", Queue: "default", JobVariables: map[string]json.RawMessage{"cpu": json.RawMessage("1")}}
	if _, err := c.PutDeployment(ctx, d); err != nil {
		t.Fatal(err)
	}
	if ch := <-changes; ch.Deployment != "hello" || ch.Record == nil || string(ch.Record.JobVariables["cpu"]) != "1" {
		t.Errorf("second change: got %+v, want deployment hello", ch)
	}
	if err := c.DeleteDeployment(ctx, "hello"); err != nil {
		t.Fatal(err)
	}
	if ch := <-changes; ch.Deployment != "hello" || ch.Record != nil {
		t.Errorf("third change: got %+v, want hello deleted", ch)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("watch: got %v, want nil when its context ends", err)
	}
}

func TestPuller_namesEachFiringOfASchedule(t *testing.T) {
	c := streamstest.Connect(t)
	p := createPool(t, c, schemas.Pool{Name: "dev"})
	m := nats.NewMsg("weir.schedule.dev.default.hello.tick")
	m.Header.Set("Nats-Schedule", "@every 1s")
	m.Header.Set("Nats-Schedule-Target", streams.RunSubject("dev", "default", "hello"))
	if _, err := c.JS.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	slots := make(chan struct{}, 2)
	slots <- struct{}{}
	slots <- struct{}{}
	got := pulled(t, c, p, slots)
	first, second := receive(t, got), receive(t, got)
	if first.Run == second.Run || !schemas.ValidName(first.Run) || !strings.HasPrefix(first.Run, "dev-tick-") || !first.Named {
		t.Errorf("firings: got runs %q and %q, want two names that begin with dev-tick-", first.Run, second.Run)
	}
}
