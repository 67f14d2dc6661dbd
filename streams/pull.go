package streams

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
)

const (
	// pullHeartbeat is how often the server says at least that a waiting pull request is still there. Two missed ones, and it is
	// asked again.
	pullHeartbeat = 10 * time.Second
	// noWaitExpires is how long a queue that has nothing to give, or is at its limit, keeps the queues after it waiting.
	noWaitExpires = 5 * time.Millisecond
	// firstPause is the time before a pull request that nobody answered is sent again; it doubles up to pullHeartbeat.
	firstPause = 100 * time.Millisecond
)

// A Delivery is a run request in this worker's hands. Unless it is acknowledged or renewed within the pool's ack wait, NATS
// gives it to the next worker.
type Delivery struct {
	conn *Conn
	msg  *nats.Msg

	Pool, Queue, Deployment string
	Run                     string    // the run's ID: from the request's header or its schedule's, or made of pool and sequence
	Named                   bool      // another request may name the same run: its ID is not made of the sequence
	Sequence                uint64    // of the request in the pool's stream
	Horizon                 uint64    // of a request that the stream had reached when this one was delivered: this one, or a later one
	Deliveries              uint64    // how often it has been delivered, this time included
	Attempt                 int       // the attempt that it asks for, from 1
	Requested               time.Time // when the run was requested: when this message was stored, or the run's first
	Received                time.Time // when this worker got it
	Body                    []byte
	Trace                   string // traceparent, or empty
	Parent                  string // run that this one repeats, by the request's header; empty: none, or what the body says
}

// Renew asks NATS for another ack wait and returns once it has confirmed.
func (d *Delivery) Renew(ctx context.Context) error {
	return d.confirm(ctx, "renew the lease of", "+WPI")
}

// Ack ends the request: it is gone from the pool's stream once this returns nil.
func (d *Delivery) Ack(ctx context.Context) error { return d.confirm(ctx, "acknowledge", "+ACK") }

// AckLater ends the request without waiting for NATS to confirm. Lost, the request is delivered again: only for one whose
// final state is recorded, which its next delivery finds.
func (d *Delivery) AckLater() error {
	if err := d.conn.NC.Publish(d.msg.Reply, []byte("+ACK")); err != nil {
		return fmt.Errorf("acknowledge run %s: %w", d.Run, err)
	}
	return nil
}

func (d *Delivery) confirm(ctx context.Context, what, verb string) error {
	if _, err := d.conn.NC.RequestWithContext(ctx, d.msg.Reply, []byte(verb)); err != nil {
		return fmt.Errorf("%s run %s: %w", what, d.Run, err)
	}
	return nil
}

// GiveBack lets NATS deliver the request again after delay. It does not wait.
func (d *Delivery) GiveBack(delay time.Duration) error {
	verb := "-NAK"
	if delay > 0 {
		verb = fmt.Sprintf(`-NAK {"delay": %d}`, delay.Nanoseconds())
	}
	return d.conn.NC.Publish(d.msg.Reply, []byte(verb))
}

// A Puller takes requests from a pool's work queues, one for each slot it is told of and never more, the queue with the
// lowest priority number first.
type Puller struct {
	conn   *Conn
	pool   string
	queues []string      // in the order in which they are asked
	slots  int           // how many requests may be asked for at once
	wait   time.Duration // how long a pull request waits in the NATS server before it is renewed
}

// Puller makes one for the named queues, or for all of the pool's when none is named. slots is how many requests may be asked
// for at once.
func (c *Conn) Puller(p schemas.Pool, names []string, slots int) (*Puller, error) {
	queues := slices.Clone(p.Queues())
	slices.SortStableFunc(queues, func(a, b schemas.WorkQueue) int {
		return cmp.Compare(uint(a.Priority-1), uint(b.Priority-1)) // none (0) comes last
	})
	var known []string
	for _, q := range queues {
		known = append(known, q.Name)
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, notFound("work queue", n, known, "")
		}
	}
	if len(names) > 0 {
		known = slices.DeleteFunc(known, func(q string) bool { return !slices.Contains(names, q) })
	}
	return &Puller{conn: c, pool: p.Name, queues: known, slots: slots, wait: p.Lease() / 2}, nil // what a frozen worker lost must not be given to it again
}

// Queues are the queues' names in the order in which they are asked.
func (p *Puller) Queues() []string { return p.queues }

// Run calls deliver for each request, from one goroutine, until ctx ends. slots yields a value for each free slot; one
// request is asked for each. A delivery that is already under way when ctx ends is given back. The error says why NATS
// will deliver no more: the pool is gone.
func (p *Puller) Run(ctx context.Context, slots <-chan struct{}, deliver func(*Delivery)) error {
	if len(p.queues) == 1 {
		return p.runOne(ctx, p.queues[0], slots, deliver)
	}
	return p.runMany(ctx, slots, deliver)
}

// runOne keeps a pull request waiting in the server for every free slot: a slot that gets free costs one message out and
// the request's message in.
func (p *Puller) runOne(ctx context.Context, queue string, slots <-chan struct{}, deliver func(*Delivery)) error {
	in := newInbox(p, 2*p.slots+64)
	defer func() { in.close(p.giveBack) }()
	reconnected := p.conn.NC.StatusChanged(nats.CONNECTED)
	defer p.conn.NC.RemoveStatusListener(reconnected)

	// A delivery carries the request's subject, not the inbox it was sent to: its subscription tells which pull it is of.
	waiting := map[*nats.Subscription]*pull{}
	failed := 0 // asked again at the next tick
	ask := func(n int) {
		if sub, pl, err := in.pull(p.pool, queue, n, false); err == nil {
			waiting[sub] = pl
		} else {
			failed += n
		}
	}
	again := func(stale func(*pull) bool) {
		n := failed
		failed = 0
		for sub, pl := range waiting {
			if stale(pl) {
				n += pl.left
				delete(waiting, sub)
				in.withdraw(sub) // what is under way is given back below
			}
		}
		if n > 0 {
			ask(n)
		}
	}
	tick := time.NewTicker(pullHeartbeat)
	defer tick.Stop()
	var refused <-chan time.Time // when to ask again after the server had nobody to answer
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-refused:
			refused, pause = nil, min(2*pause, pullHeartbeat)
			again(func(pl *pull) bool { return pl.refused })
		case <-slots:
			n := 1
			for more := true; more; {
				select {
				case <-slots:
					n++
				default:
					more = false
				}
			}
			ask(n)
		case <-reconnected: // whether the server still has what waited there is not known
			again(func(*pull) bool { return true })
		case <-tick.C:
			again(func(pl *pull) bool { return time.Since(pl.seen) > 2*pullHeartbeat+pullHeartbeat/2 })
		case m := <-in.msgs:
			pl := waiting[m.Sub]
			if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 && m.Reply == "" || status == "100" {
				switch {
				case pl == nil:
				case status == "100":
					pl.seen = time.Now()
				case status == "404", status == "408", status == "409":
					if err := gone(m); err != nil {
						return fmt.Errorf("pull from work queue %s of work pool %s: %w", queue, p.pool, err)
					}
					delete(waiting, m.Sub)
					in.spare = append(in.spare, m.Sub)
					ask(pl.left)
				case status == "503": // no such consumer, no leader for it, or not yet: a server that has just started
					if pl.refused = true; refused == nil {
						refused = time.After(pause)
					}
				}
				continue
			}
			pause = firstPause
			if pl == nil { // of a pull request that was asked for again meanwhile: there is no slot for it
				p.giveBack(m)
				continue
			}
			pl.seen = time.Now()
			if pl.left--; pl.left == 0 {
				delete(waiting, m.Sub)
				in.spare = append(in.spare, m.Sub)
			}
			if d, err := p.delivery(m); err == nil {
				deliver(d)
			}
		}
	}
}

// runMany asks the queues one after the other for each slot, so that a request of a later queue is taken only while the
// earlier ones are empty; when all are, it waits on all of them at once and gives back what it cannot use.
func (p *Puller) runMany(ctx context.Context, slots <-chan struct{}, deliver func(*Delivery)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-slots:
		}
		d, err := p.next(ctx)
		if err != nil {
			return err
		}
		if d == nil {
			return nil
		}
		deliver(d)
	}
}

func (p *Puller) next(ctx context.Context) (*Delivery, error) {
	for {
		for _, q := range p.queues {
			if d, err := p.round(ctx, []string{q}, true); d != nil || err != nil {
				return d, err
			}
		}
		if d, err := p.round(ctx, p.queues, false); d != nil || err != nil || ctx.Err() != nil {
			return d, err
		}
	}
}

// round asks the queues for one request and returns the first that comes; those that came beside it are given back. nil
// without an error: there was none, or it is time to ask again.
func (p *Puller) round(ctx context.Context, queues []string, noWait bool) (*Delivery, error) {
	in := newInbox(p, 4*len(queues)+64)
	defer func() { in.close(p.giveBack) }()
	reconnected := p.conn.NC.StatusChanged(nats.CONNECTED)
	defer p.conn.NC.RemoveStatusListener(reconnected)
	for _, q := range queues {
		if _, _, err := in.pull(p.pool, q, 1, noWait); err != nil {
			break // not connected: the time below decides
		}
	}
	silence := time.NewTimer(2*pullHeartbeat + pullHeartbeat/2)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case <-silence.C:
			return nil, nil
		case <-reconnected:
			return nil, nil
		case m := <-in.msgs:
			switch status := m.Header.Get("Status"); {
			case status == "100":
				silence.Reset(2*pullHeartbeat + pullHeartbeat/2)
			case m.Reply == "" && status == "503":
				select { // no such queue, no leader for it, or not yet: a server that has just started
				case <-ctx.Done():
				case <-time.After(5 * firstPause):
				}
				return nil, nil
			case m.Reply == "":
				in.idle = len(queues) == 1
				return nil, gone(m)
			default:
				in.idle = len(queues) == 1
				return p.delivery(m)
			}
		}
	}
}

// Redelivered calls deliver for up to most requests that whoever had them lost, and returns when there are no more. JetStream
// delivers those first; one that nobody has had is given back, and ends the search.
func (p *Puller) Redelivered(ctx context.Context, most int, deliver func(*Delivery)) error {
	for _, q := range p.queues {
		for ; most > 0; most-- {
			d, err := p.round(ctx, []string{q}, true)
			if err != nil || ctx.Err() != nil {
				return err
			}
			if d == nil {
				break
			}
			if d.Deliveries == 1 {
				_ = d.GiveBack(0) // lost: the ack wait gives it back
				break
			}
			deliver(d)
		}
	}
	return nil
}

func (p *Puller) giveBack(m *nats.Msg) {
	if d, err := p.delivery(m); err == nil {
		_ = d.GiveBack(0) // lost: the ack wait gives it back
	}
}

// gone tells a status that ends a pull for good from one that asks to try again.
func gone(m *nats.Msg) error {
	switch m.Header.Get("Description") {
	case "Consumer Deleted", "Stream Deleted":
		return ErrDeleted
	}
	return nil
}

func (p *Puller) delivery(m *nats.Msg) (*Delivery, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	d, err := p.conn.delivery(m, meta.Sequence.Stream, meta.NumDelivered, meta.Timestamp.UTC())
	if err == nil {
		d.Horizon += meta.NumPending // so many more of its queue wait, each with a sequence of its own
	}
	return d, err
}

// delivery reads a request: the message with that sequence in its pool's stream, stored at that time.
func (c *Conn) delivery(m *nats.Msg, sequence, deliveries uint64, stored time.Time) (*Delivery, error) {
	pool, queue, deployment, err := parseRunSubject(m.Subject)
	if err != nil {
		return nil, err
	}
	d := &Delivery{
		conn: c, msg: m, Pool: pool, Queue: queue, Deployment: deployment,
		Sequence: sequence, Horizon: sequence, Deliveries: deliveries, Received: time.Now(), Body: m.Data, Trace: m.Header.Get(HeaderTrace),
	}
	d.Run, d.Named = requestedRun(pool, sequence, m.Header)
	d.Attempt, d.Requested = requestedAttempt(m.Header, stored)
	if parent := m.Header.Get(HeaderParent); schemas.ValidName(parent) {
		d.Parent = parent
	}
	return d, nil
}

// requestedRun is the ID of the run that a message in a pool's stream asks for, and whether another may ask for the same.
func requestedRun(pool string, sequence uint64, h nats.Header) (run string, named bool) {
	if len(h) > 0 {
		if run = cmp.Or(h.Get(HeaderRunID), firingRun(pool, h)); run != "" {
			return run, true
		}
	}
	return naturalRun(pool, sequence), false
}

// firingRun names the run of a repeating schedule's firing, the same for a firing that is stored twice: Nats-Scheduler is
// the schedule's subject and Nats-Schedule-Next the time of the firing after it (ADR-51). Empty: no such firing.
func firingRun(pool string, h nats.Header) string {
	schedule, next := h.Get("Nats-Scheduler"), h.Get("Nats-Schedule-Next")
	at, err := time.Parse(time.RFC3339, next)
	if schedule == "" || err != nil {
		return ""
	}
	name := schedule[strings.LastIndexByte(schedule, '.')+1:]
	which := sha256.Sum256([]byte(schedule)) // another deployment may have a schedule of that name
	return fmt.Sprintf("%.18s-%.20s-%x-%s", pool, name, which[:3], at.UTC().Format("20060102T150405Z"))
}

// inbox is where the answers to this worker's pull requests arrive: a subscription for each that waits, all into one channel.
type inbox struct {
	conn   *Conn
	prefix string
	subs   []*nats.Subscription // each for one pull at a time
	spare  []*nats.Subscription // those of subs whose pull is answered
	msgs   chan *nats.Msg
	next   int
	wait   time.Duration
	idle   bool // nothing can be under way: every pull request was answered
}

// pull is a request for messages that waits in the server.
type pull struct {
	left    int       // messages it may still bring
	seen    time.Time // when it last gave a sign of life
	refused bool      // nobody was there to answer it
}

// newInbox makes one with room for as many messages as may come before the first is read: nats.go drops what does not fit.
func newInbox(p *Puller, room int) *inbox {
	return &inbox{conn: p.conn, wait: p.wait, prefix: p.conn.NC.NewInbox(), msgs: make(chan *nats.Msg, room)}
}

// pull asks for n messages. A subscription whose last pull is answered is used again.
func (in *inbox) pull(pool, queue string, n int, noWait bool) (sub *nats.Subscription, p *pull, err error) {
	if last := len(in.spare) - 1; last >= 0 {
		sub, in.spare = in.spare[last], in.spare[:last]
	} else {
		in.next++
		if sub, err = in.conn.NC.ChanSubscribe(in.prefix+"."+strconv.Itoa(in.next), in.msgs); err != nil {
			return nil, nil, fmt.Errorf("subscribe for deliveries: %w", err)
		}
		in.subs = append(in.subs, sub)
	}
	if err = in.send(pool, queue, sub.Subject, n, noWait); err != nil {
		in.spare = append(in.spare, sub)
	}
	return sub, &pull{left: n, seen: time.Now()}, err
}

func (in *inbox) send(pool, queue, reply string, n int, noWait bool) error {
	req := struct {
		Batch     int           `json:"batch"`
		Expires   time.Duration `json:"expires,omitempty"`
		Heartbeat time.Duration `json:"idle_heartbeat,omitempty"`
		NoWait    bool          `json:"no_wait,omitempty"`
	}{Batch: n, NoWait: noWait}
	if noWait { // a queue at its limit answers only when the request expires
		req.Expires = noWaitExpires
	} else {
		req.Expires, req.Heartbeat = in.wait, min(pullHeartbeat, in.wait/3)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	return in.conn.NC.PublishRequest(in.conn.prefix+"CONSUMER.MSG.NEXT."+poolStream(pool)+"."+queue, reply, body)
}

// withdraw makes the server forget the pull request that waits for sub.
func (in *inbox) withdraw(sub *nats.Subscription) {
	_ = sub.Drain() // not connected: the server has forgotten it
	in.subs = slices.DeleteFunc(in.subs, func(s *nats.Subscription) bool { return s == sub })
}

// close ends the inbox: the server forgets the pull requests that wait for it, and late gets what was already under way.
func (in *inbox) close(late func(*nats.Msg)) {
	for _, s := range in.subs {
		if in.idle {
			_ = s.Unsubscribe()
		} else if s.Drain() != nil {
			return // not connected: nothing was under way
		}
	}
	if in.idle {
		return
	}
	// The server has processed the drain's unsubscribe when it answers the flush: what it sent before is in the channel by then.
	if in.conn.NC.FlushTimeout(time.Second) != nil {
		return // not connected: nothing was under way
	}
	for {
		select {
		case m := <-in.msgs:
			if m.Reply != "" {
				late(m)
			}
		default:
			return
		}
	}
}
