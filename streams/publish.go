package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// Request asks for a run.
type Request struct {
	Pool       string
	Queue      string // empty: default
	Deployment string
	Body       []byte // schemas.RunRequest as JSON, or empty
	RunID      string // names the run, once for as long as events are kept; empty: from the acknowledgement
	DedupeID   string // Nats-Msg-Id: a second request with it within two minutes is not stored
	Trace      string // traceparent, or empty
}

// Requested says what became of a request.
type Requested struct {
	Run       string // the run's ID
	Sequence  uint64 // of the request in the pool's stream
	Duplicate bool   // DedupeID was seen before: Run is the earlier request's
}

// Submit publishes a request and returns once JetStream has stored it. Nothing else needs to be up. After an error that is
// [ErrUnavailable] the request may have been stored; with a DedupeID or RunID it is safe to submit it again.
func (c *Conn) Submit(ctx context.Context, r Request) (Requested, error) {
	msg, err := r.message()
	if err != nil {
		return Requested{}, err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	ack, err := c.JS.PublishMsg(ctx, msg)
	if err != nil {
		return Requested{}, c.submitError(r, err)
	}
	return r.requested(ack), nil
}

// SubmitAsync publishes a request and does not wait: the promise is in [Submission.Wait]. Some thousands may be on their way
// at once, then it waits for room.
func (c *Conn) SubmitAsync(r Request) (*Submission, error) {
	msg, err := r.message()
	if err != nil {
		return nil, err
	}
	f, err := c.JS.PublishMsgAsync(msg)
	if err != nil {
		return nil, c.submitError(r, err)
	}
	return &Submission{conn: c, request: r, future: f}, nil
}

// A Submission is a request on its way to JetStream.
type Submission struct {
	conn    *Conn
	request Request
	future  jetstream.PubAckFuture
}

// Wait returns once JetStream has stored the request, or why it is not known to have. It is called once.
func (s *Submission) Wait(ctx context.Context) (Requested, error) {
	select {
	case ack := <-s.future.Ok():
		return s.request.requested(ack), nil
	case err := <-s.future.Err():
		return Requested{}, s.conn.submitError(s.request, err)
	case <-ctx.Done():
		return Requested{}, fmt.Errorf("request a run of %s: %w", s.request.Deployment, context.Cause(ctx))
	}
}

func (r Request) requested(ack *jetstream.PubAck) Requested {
	id := r.RunID
	if id == "" {
		id = RunID(ack.Stream, ack.Sequence)
	}
	return Requested{Run: id, Sequence: ack.Sequence, Duplicate: ack.Duplicate}
}

func (r Request) message() (*nats.Msg, error) {
	if r.Queue == "" {
		r.Queue = schemas.DefaultQueue
	}
	if err := checkNames([2]string{"work pool", r.Pool}, [2]string{"work queue", r.Queue}, [2]string{"deployment", r.Deployment}); err != nil {
		return nil, err
	}
	if r.RunID != "" {
		if err := CheckRunID(r.Pool, r.RunID); err != nil {
			return nil, err
		}
	}
	msg := nats.NewMsg(RunSubject(r.Pool, r.Queue, r.Deployment))
	msg.Data = r.Body
	for _, h := range [][2]string{{HeaderRunID, r.RunID}, {jetstream.MsgIDHeader, r.DedupeID}, {HeaderTrace, r.Trace}} {
		if h[1] != "" {
			msg.Header.Set(h[0], h[1])
		}
	}
	return msg, nil
}

// CheckRunID refuses a name for a run that is not one token, or that a later request of the pool will be given.
func CheckRunID(pool, id string) error {
	if err := schemas.CheckName("run", id); err != nil {
		return err
	}
	if of, _, natural := parseNaturalRun(id); natural && of == pool {
		return fmt.Errorf("run name %q is kept for the request with that sequence in pool %s; choose one that is not the pool's name, - and a number", id, pool)
	}
	return nil
}

func (c *Conn) submitError(r Request, err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return fmt.Errorf("request a run of %s: no work queue %q in a work pool %q takes it: %w", r.Deployment, r.Queue, r.Pool, ErrNotFound)
	}
	return fmt.Errorf("request a run of %s: %w", r.Deployment, unavailable(c.url, err))
}
