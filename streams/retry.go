package streams

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// Again has the run delivered once more, for the given attempt, no earlier than at: JetStream keeps the request until then,
// and it holds no slot. It returns once that is stored. Called again for the same attempt it replaces what waits; one that
// has been delivered meanwhile is told apart by its attempt.
func (d *Delivery) Again(ctx context.Context, at time.Time, attempt int) error {
	msg := nats.NewMsg(retrySubject(d.Pool, d.Queue, d.Deployment, d.Run, attempt))
	msg.Data = d.Body
	for name, values := range d.msg.Header {
		if !strings.HasPrefix(name, "Nats-") { // what JetStream adds, and what must not come into force again
			msg.Header[name] = values
		}
	}
	for _, h := range [][2]string{
		{"Nats-Schedule", "@at " + at.UTC().Format(time.RFC3339Nano)},
		{"Nats-Schedule-Target", RunSubject(d.Pool, d.Queue, d.Deployment)},
		{HeaderRunID, d.Run},
		{headerAttempt, strconv.Itoa(attempt)},
		{headerRequested, d.Requested.Format(time.RFC3339Nano)},
	} {
		msg.Header.Set(h[0], h[1])
	}
	ctx, cancel := d.conn.bound(ctx)
	defer cancel()
	if _, err := d.conn.JS.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("have run %s delivered again: %w", d.Run, unavailable(d.conn.url, err))
	}
	return nil
}

// requestedAttempt reads what [Delivery.Again] wrote. A message without it asks for the first attempt of a run that was
// requested when it was stored.
func requestedAttempt(h nats.Header, stored time.Time) (attempt int, requested time.Time) {
	if len(h) == 0 || h.Get(headerAttempt) == "" {
		return 1, stored
	}
	n, err := strconv.Atoi(h.Get(headerAttempt))
	at, timeErr := time.Parse(time.RFC3339Nano, h.Get(headerRequested))
	if at = at.UTC(); err != nil || timeErr != nil || n < 2 || at.Year() < 0 || at.Year() > 9999 { // RFC 3339 has no others
		return 1, stored
	}
	return n, at
}

// Held is the delivery that the owner of a run had when it wrote e: what a worker needs that was restarted while its job went
// on. JetStream tells deliveries apart by consumer and sequence, not by who received them (nats-server 2.15,
// consumer.progressUpdate), so the subject of an acknowledgement can be made anew. [ErrNotFound]: the request is gone.
func (c *Conn) Held(ctx context.Context, e schemas.RunEvent) (*Delivery, error) {
	m, err := c.request(ctx, e.Pool, e.Sequence)
	if err != nil {
		return nil, err
	}
	msg := &nats.Msg{
		Subject: m.Subject, Header: m.Header, Data: m.Data,
		Reply: fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.%d.0", poolStream(e.Pool), e.Queue, e.Sequence, e.Sequence, m.Time.UnixNano()),
	}
	d, err := c.delivery(msg, m.Sequence, 1, m.Time.UTC())
	if err != nil {
		return nil, fmt.Errorf("read the request of run %s: %w", e.Run, err)
	}
	if d.Run != e.Run || d.Queue != e.Queue {
		return nil, notFound("request of run", e.Run, nil, "")
	}
	return d, nil
}

// request returns the message with that sequence in a pool's stream, as the stream's leader has it.
func (c *Conn) request(ctx context.Context, pool string, sequence uint64) (*jetstream.RawStreamMsg, error) {
	m, err := c.leaderMsg(ctx, poolStream(pool), msgGetRequest{Seq: sequence})
	if err != nil {
		return nil, fmt.Errorf("read request %d of work pool %s: %w", sequence, pool, err)
	}
	return m, nil
}
