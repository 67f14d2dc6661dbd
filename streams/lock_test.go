package streams_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

// testAge is how long locks outlast their holders in these tests.
const testAge = 2 * time.Second

// quickLocks makes the bucket of locks before Setup would, which changes nothing that is there.
func quickLocks(t *testing.T, c *streams.Conn, replicas int) {
	t.Helper()
	_, err := c.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: streams.LocksBucket, TTL: testAge, History: 1, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
}

// lockOf takes a lock, or fails the test.
func lockOf(t *testing.T, c *streams.Conn, key string) (unlock func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	unlock, err := c.Lock(ctx, key, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}

// lockLater takes a lock and says when it has it.
func lockLater(t *testing.T, c *streams.Conn, key string) <-chan time.Time {
	t.Helper()
	got := make(chan time.Time, 1)
	go func() {
		unlock, err := c.Lock(t.Context(), key, t.Name())
		if err != nil {
			return // the test has ended
		}
		got <- time.Now()
		unlock()
	}()
	return got
}

// busy demands that the lock is not taken for a while.
func busy(t *testing.T, got <-chan time.Time, d time.Duration) {
	t.Helper()
	select {
	case <-got:
		t.Error("a lock that is held was taken")
	case <-time.After(d):
	}
}

// freed demands that the lock is taken soon, and says when.
func freed(t *testing.T, got <-chan time.Time) time.Time {
	t.Helper()
	select {
	case at := <-got:
		return at
	case <-time.After(30 * time.Second):
		t.Fatal("a lock that is free was not taken within 30 s")
		return time.Time{}
	}
}

func TestLock_hasOneHolder(t *testing.T) {
	t.Parallel()
	s := streamstest.Server(t)
	first, second := streamstest.Dial(t, s), streamstest.Dial(t, s)
	quickLocks(t, first, 1)
	unlock := lockOf(t, first, "ecs/eu-west-1/família") // any text
	other := lockLater(t, second, "ecs/eu-west-1/família")
	same := lockLater(t, first, "ecs/eu-west-1/família")
	lockOf(t, second, "ecs/eu-west-1/another")()
	busy(t, other, 2*testAge) // it is renewed
	busy(t, same, 0)
	let := time.Now()
	unlock()
	unlock() // a second call does nothing
	a, b := freed(t, other), freed(t, same)
	if took := max(a.Sub(let), b.Sub(let)); took > time.Second {
		t.Errorf("the last of two waiters had the lock after %s", took)
	}
}

// Many at once, in two processes: never two have it.
func TestLock_isNeverHeldTwice(t *testing.T) {
	t.Parallel()
	s := streamstest.Server(t)
	conns := []*streams.Conn{streamstest.Dial(t, s), streamstest.Dial(t, s)}
	quickLocks(t, conns[0], 1)
	inside := make(chan struct{}, 1)
	done := make(chan error, 40)
	for n := range cap(done) {
		go func() {
			unlock, err := conns[n%2].Lock(t.Context(), "key", "x")
			if err == nil {
				select {
				case inside <- struct{}{}:
					<-inside
				default:
					err = errors.New("two have the lock")
				}
				unlock()
			}
			done <- err
		}()
	}
	for range cap(done) {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("somebody waits for ever")
		}
	}
}

func TestLock_outlastsALostHolderByItsAge(t *testing.T) {
	t.Parallel()
	s := streamstest.Server(t)
	first, second := streamstest.Dial(t, s), streamstest.Dial(t, s)
	quickLocks(t, first, 1)
	lockOf(t, first, "key")
	other := lockLater(t, second, "key")
	busy(t, other, testAge/2)
	first.NC.Close()
	lost := time.Now()
	if took := freed(t, other).Sub(lost); took > testAge+2*time.Second {
		t.Errorf("the next one had the lock after %s", took)
	}
}

func TestLock_endsWithItsContext(t *testing.T) {
	t.Parallel()
	s := streamstest.Server(t)
	first, second := streamstest.Dial(t, s), streamstest.Dial(t, s)
	quickLocks(t, first, 1)
	defer lockOf(t, first, "key")()
	why := errors.New("enough")
	for name, c := range map[string]*streams.Conn{"in another process": second, "in the same one": first} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
		if _, err := c.Lock(ctx, "key", "x"); !errors.Is(err, why) {
			t.Errorf("%s: got %v, want the context's cause", name, err)
		}
	}
}

// A NATS that is away for a moment takes no lock from its holder, and keeps nobody from waiting for it.
func TestLock_survivesANATSThatGoesAway(t *testing.T) {
	t.Parallel()
	s := streamstest.Listen(t)
	p := streamstest.NewProxy(t, s.Addr().String(), 1)
	dial := func() *streams.Conn {
		c, err := streams.Connect(t.Context(), streams.Config{Server: p.URL(), Timeout: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	first, second := dial(), dial()
	quickLocks(t, first, 1)
	unlock := lockOf(t, first, "key")
	other := lockLater(t, second, "key")
	busy(t, other, 100*time.Millisecond)
	p.Block()
	back := first.NC.StatusChanged(nats.CONNECTED)
	busy(t, other, testAge/4)
	p.Unblock(t)
	<-back
	busy(t, other, 2*testAge)
	unlock()
	freed(t, other)
}

// A system that an older version set up has no bucket of locks.
func TestLock_makesItsBucketWhereItIsMissing(t *testing.T) {
	t.Parallel()
	c := streamstest.Connect(t)
	if err := c.JS.DeleteKeyValue(t.Context(), streams.LocksBucket); err != nil {
		t.Fatal(err)
	}
	defer lockOf(t, c, "key")()
	kv, err := c.JS.KeyValue(t.Context(), streams.LocksBucket)
	if err != nil {
		t.Fatal(err)
	}
	status, err := kv.Status(t.Context())
	if err != nil || status.TTL() != 30*time.Second {
		t.Errorf("got %v, %v, want entries that age out after 30 s", status, err)
	}
}

func TestLock_inAClusterOutlivesANode(t *testing.T) {
	t.Parallel()
	nodes := streamstest.Cluster(t)
	first, second := streamstest.Dial(t, nodes[0]), streamstest.Dial(t, nodes[1])
	quickLocks(t, first, 3)
	unlock := lockOf(t, first, "key")
	other := lockLater(t, second, "key")
	busy(t, other, testAge/2)
	leader := leaderOf(t, first, nodes)
	if leader == nodes[0] || leader == nodes[1] {
		leader = nodes[2] // whose clients are not those of the test
	}
	leader.Shutdown()
	busy(t, other, 2*testAge)
	unlock()
	freed(t, other)
}

// leaderOf is the node that leads the stream of locks.
func leaderOf(t *testing.T, c *streams.Conn, nodes []*server.Server) *server.Server {
	t.Helper()
	s, err := c.JS.Stream(t.Context(), "KV_"+streams.LocksBucket)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Name() == s.CachedInfo().Cluster.Leader {
			return n
		}
	}
	t.Fatalf("nobody leads: %+v", s.CachedInfo().Cluster)
	return nil
}
