package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// Stored is a request as it lies in a pool's stream: nobody has taken it, or whoever has is not done with it.
type Stored struct {
	Pool, Queue, Deployment string
	Run                     string    // empty: a schedule whose runs have IDs of their own, or a request that a worker will reject, whose run has no name
	Sequence                uint64    // in the pool's stream
	Attempt                 int       // the attempt that it asks for, from 1
	Requested               time.Time // when the run was requested
	Body                    []byte
	Due                     bool // false: JetStream publishes it when it is due
	named                   bool // the run's ID is not made of the sequence
}

// Requests calls each for what lies in a pool's stream from that sequence on, in order, until it returns an error ([errDone]
// for a good end) or there is no more. Messages that ask for no run are passed over.
func (c *Conn) Requests(ctx context.Context, pool string, from uint64, each func(Stored) error) error {
	err := c.scan(ctx, pool, from, func(m *jetstream.RawStreamMsg) error {
		s, ok := stored(pool, m)
		if !ok {
			return nil
		}
		return each(s)
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// stored reads a message of a pool's stream: a request, or a schedule that will publish one.
func stored(pool string, m *jetstream.RawStreamMsg) (Stored, bool) {
	s := Stored{Pool: pool, Sequence: m.Sequence, Body: m.Data}
	var subject string
	var err error
	subject, s.Due = requestSubject(m.Subject, m.Header)
	if _, s.Queue, s.Deployment, err = parseRunSubject(subject); err != nil {
		return s, false
	}
	s.Attempt, s.Requested = requestedAttempt(m.Header, m.Time.UTC())
	if s.Due || m.Header.Get(HeaderRunID) != "" { // what a schedule publishes may have an ID of its own
		s.Run, s.named = requestedRun(pool, m.Sequence, m.Header)
		if !s.claimable() {
			s.Run = ""
		}
	}
	return s, true
}

// requestSubject is the subject of the request that a message is, or of the one that JetStream will publish for it.
func requestSubject(subject string, h nats.Header) (of string, due bool) {
	if strings.HasPrefix(subject, schedulePrefix) {
		return h.Get("Nats-Schedule-Target"), false
	}
	return subject, true
}

// claimable tells whether a worker would claim the run for this request.
func (s Stored) claimable() bool {
	if !schemas.ValidName(s.Deployment) || !schemas.ValidName(s.Run) {
		return false
	}
	return !s.named || s.Attempt > 1 || CheckRunID(s.Pool, s.Run) == nil
}

// RequestAt returns the request with that sequence in a pool's stream. [ErrNotFound]: there is none.
func (c *Conn) RequestAt(ctx context.Context, pool string, sequence uint64) (Stored, error) {
	m, err := c.request(ctx, pool, sequence)
	if err != nil {
		return Stored{}, err
	}
	s, ok := stored(pool, m)
	if !ok {
		return Stored{}, notFound("request", strconv.FormatUint(sequence, 10), nil, "")
	}
	return s, nil
}

// OnRequests calls each for every request to a pool's work queues, and for every schedule of one but a run's next attempt, that a
// client publishes, from the moment it returns until stop is called. It is a hint: the request may not be stored yet, or never be. missed is called when some may have passed by: after
// a reconnect. A queue that does not exist is not listened on: to publish there has to fail.
func (c *Conn) OnRequests(p schemas.Pool, each func(deployment string, body []byte), missed func()) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	subjects := []string{scheduleSubjects(p.Name)}
	for _, q := range p.Queues() {
		subjects = append(subjects, queueSubject(p.Name, q.Name))
	}
	for _, subject := range subjects {
		s, err := c.hints(subject, func(m *nats.Msg) {
			if m.Header.Get(headerAttempt) != "" {
				return // a run that has been started does not expire
			}
			subject, _ := requestSubject(m.Subject, m.Header)
			if _, _, deployment, err := parseRunSubject(subject); err == nil {
				each(deployment, m.Data)
			}
		}, missed)
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, s)
	}
	return stop, nil
}

// Request finds the message that asks for a run that has no event yet. [ErrNotFound]: there is none. An ID made of the sequence
// is looked up at once. Of one that was given by hand, or that a schedule's firing has, JetStream knows nothing: all that waits in
// the pool is read for it, which takes a second for 100,000 requests.
func (c *Conn) Request(ctx context.Context, pool, run string) (Stored, error) {
	if of, sequence, natural := parseNaturalRun(run); natural && of == pool { // no other request of that pool can have this ID
		s, err := c.RequestAt(ctx, pool, sequence)
		if errors.Is(err, ErrNotFound) || err == nil && s.Run != run {
			return Stored{}, notFound("run", run, nil, "")
		}
		return s, err
	}
	var found Stored
	err := c.Requests(ctx, pool, 1, func(s Stored) error {
		if s.Run == run {
			found = s
			return errDone
		}
		return nil
	})
	if err == nil && found.Run == "" {
		err = notFound("run", run, nil, "")
	}
	return found, err
}

// NextRequest returns what asks for the next attempt of a run whose last event is retrying, as long as it waits to be due. It is
// under a subject of its own. [ErrNotFound]: it is due by now, or not stored yet.
func (c *Conn) NextRequest(ctx context.Context, retrying schemas.RunEvent) (Stored, error) {
	var s Stored
	var err error
	if retrying.RetryAt == nil { // the same message carries the run on
		s, err = c.RequestAt(ctx, retrying.Pool, retrying.Sequence)
	} else {
		var m *jetstream.RawStreamMsg
		subject := retrySubject(retrying.Pool, retrying.Queue, retrying.Deployment, retrying.Run, retrying.Attempt+1)
		if m, err = c.leaderMsg(ctx, poolStream(retrying.Pool), msgGetRequest{LastFor: subject}); err == nil {
			s, _ = stored(retrying.Pool, m)
		}
	}
	if err == nil && s.Run != retrying.Run {
		err = ErrNotFound
	}
	if err != nil {
		return Stored{}, fmt.Errorf("look for the next attempt of run %s: %w", retrying.Run, err)
	}
	return s, nil
}

// Recorded is how a run stands that nobody has claimed.
func (s Stored) Recorded(p schemas.Pool) Recorded {
	message := "waits for a worker of pool " + s.Pool
	switch {
	case !s.Due:
		message = "is not due yet"
	case p.Paused:
		message = "waits: work pool " + s.Pool + " is paused"
	case p.Push():
		message = "waits for a server that executes the runs of pool " + s.Pool
	}
	return Recorded{Stored: s.Requested, RunEvent: schemas.RunEvent{
		Run: s.Run, Pool: s.Pool, Queue: s.Queue, Deployment: s.Deployment, State: schemas.Scheduled, Message: message,
		Time: s.Requested, Requested: s.Requested, Sequence: s.Sequence,
	}}
}

// waitingPage is how many requests [Conn.EachWaiting] holds.
const waitingPage = 256

// EachWaiting calls each for the requests of a pool that nobody has claimed, those that are not due yet included, oldest first,
// until it returns an error.
func (c *Conn) EachWaiting(ctx context.Context, pool string, each func(Stored) error) error {
	for from := uint64(1); ; {
		page := make([]Stored, 0, waitingPage) // each may take long, and a batch is not to wait for it
		err := c.Requests(ctx, pool, from, func(s Stored) error {
			s.Body = nil
			page = append(page, s)
			if len(page) == waitingPage {
				return errDone
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, s := range page {
			from = s.Sequence + 1
			if s.Attempt > 1 || s.Run == "" {
				continue
			}
			if _, err := c.LastEventIn(ctx, pool, s.Run); err == nil {
				continue
			} else if !errors.Is(err, ErrNotFound) {
				return err
			}
			if err := each(s); err != nil {
				return err
			}
		}
		if len(page) < waitingPage {
			return nil
		}
	}
}

// Remove deletes a request from its pool's stream. One that is gone is not an error.
func (c *Conn) Remove(ctx context.Context, s Stored) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	stream, err := c.JS.Stream(ctx, poolStream(s.Pool))
	if err == nil {
		err = stream.DeleteMsg(ctx, s.Sequence)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return fmt.Errorf("delete the request of run %s: %w", s.Run, unavailable(c.url, err))
	}
	return nil
}
