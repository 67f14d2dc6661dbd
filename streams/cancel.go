package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// RequestCancel asks whoever looks after the pool to cancel a run, and returns once that is stored. why is for people, and may
// be empty.
func (c *Conn) RequestCancel(ctx context.Context, pool, run, why string) error {
	if err := checkNames([2]string{"work pool", pool}, [2]string{"run", run}); err != nil {
		return err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if _, err := c.JS.Publish(ctx, cancelSubject(pool, run), []byte(why)); err != nil {
		return fmt.Errorf("ask for the cancel of run %s: %w", run, unavailable(c.url, err))
	}
	return nil
}

// idlePull is how long a pull request for cancel requests waits in the NATS server before it is renewed.
const idlePull = 5 * time.Minute

// Cancels calls handle for each cancel request of a pool until ctx ends. Several may share the work: each request goes to one
// of them, and to another when handle returns an error or its process ends. One whose run handle refuses as no name (a
// [*schemas.NameError]) goes to the dead letters.
func (c *Conn) Cancels(ctx context.Context, pool string, handle func(ctx context.Context, run, why string) error) error {
	bounded, cancel := c.bound(ctx)
	consumer, err := c.JS.CreateOrUpdateConsumer(bounded, poolStream(pool), cancelConfig(pool))
	cancel()
	if err != nil {
		return fmt.Errorf("take cancel requests of work pool %s: %w", pool, unavailable(c.url, err))
	}
	ended := make(chan error, 1)
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		run := strings.TrimPrefix(m.Subject(), cancelSubject(pool, ""))
		err := handle(ctx, run, oneLine(string(m.Data())))
		if invalid, ok := errors.AsType[*schemas.NameError](err); ok {
			err = c.buryCancel(ctx, pool, m, invalid)
		}
		if err != nil {
			_ = m.NakWithDelay(time.Second)
			return
		}
		_ = m.Ack() // lost: it comes again and finds the run cancelled
	}, jetstream.PullMaxMessages(100), jetstream.PullExpiry(idlePull), jetstream.PullHeartbeat(pullHeartbeat*3),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) {
				select {
				case ended <- err:
				default:
				}
			}
		}))
	if err != nil {
		return fmt.Errorf("take cancel requests of work pool %s: %w", pool, unavailable(c.url, err))
	}
	defer consuming.Stop()
	select {
	case err := <-ended:
		return fmt.Errorf("take cancel requests of work pool %s: %w", pool, err)
	case <-ctx.Done():
		return nil
	}
}

// buryCancel stores a cancel request among the dead letters, once however often it is called for it.
func (c *Conn) buryCancel(ctx context.Context, pool string, m jetstream.Msg, why error) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	return c.bury(ctx, burial{
		subject: deadPrefix + pool + "." + cancelConsumer + "." + token(strings.TrimPrefix(m.Subject(), cancelSubject(pool, ""))), pool: pool,
		msg:      &nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()},
		sequence: meta.Sequence.Stream, stored: meta.Timestamp.UTC(), reason: schemas.ReasonRejected, message: why.Error(),
	})
}

// OnCancelling calls each with the run of every cancelling event of a pool, from the moment it returns until stop is called.
// It is a hint: the event log is what counts. missed is called when some may have passed by: after a reconnect.
func (c *Conn) OnCancelling(pool string, each func(run string), missed func()) (stop func(), err error) {
	return c.hints(runEventPrefix+pool+".*.*."+string(schemas.Cancelling), func(m *nats.Msg) {
		if parts := strings.Split(m.Subject, "."); len(parts) == 7 {
			each(parts[5])
		}
	}, missed)
}
