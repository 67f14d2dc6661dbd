package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// newest calls each for a stream's messages under filter, newest first, until it returns an error ([errDone] for a good end)
// or there are no more. It reads windows from the end, each twice as long as the one before it, so that its cost follows
// what is wanted and not what is stored. guess is how many are likely to be wanted.
func (c *Conn) newest(ctx context.Context, stream, filter string, guess int, each func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	bounded, cancel := c.bound(ctx)
	s, err := c.JS.Stream(bounded, stream)
	cancel()
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, unavailable(c.url, err))
	}
	state := s.CachedInfo().State
	high, window := state.LastSeq+1, uint64(max(4*guess, 64))
	for high > state.FirstSeq && state.Msgs > 0 {
		low := max(state.FirstSeq, high-min(window, high))
		var msgs []jetstream.Msg
		var metas []*jetstream.MsgMetadata
		err := c.between(ctx, stream, filter, low, high, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			msgs, metas = append(msgs, m), append(metas, meta)
			return nil
		})
		if err != nil {
			return err
		}
		for i := len(msgs) - 1; i >= 0; i-- {
			if err := each(msgs[i], metas[i]); errors.Is(err, errDone) {
				return nil
			} else if err != nil {
				return err
			}
		}
		high, window = low, 2*window
	}
	return nil
}

// between calls each for a stream's messages under filter with low <= sequence < high, in order, as they arrive. What each
// returns ends it.
func (c *Conn) between(ctx context.Context, stream, filter string, low, high uint64, each func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	failed := func(err error) error { return fmt.Errorf("read stream %s: %w", stream, unavailable(c.url, err)) }
	bounded, cancel := c.bound(ctx)
	defer cancel()
	cons, err := c.JS.OrderedConsumer(bounded, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(low, 1),
	})
	if err != nil {
		return failed(err)
	}
	defer c.dropReader(ctx, stream, cons)
	info, err := cons.Info(bounded)
	if err != nil {
		return failed(err)
	}
	if info.NumPending == 0 {
		return nil
	}
	it, err := cons.Messages()
	if err != nil {
		return failed(err)
	}
	defer it.Stop()
	for {
		m, err := c.next(ctx, it)
		if err != nil {
			return failed(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return failed(err)
		}
		if meta.Sequence.Stream >= high {
			return nil
		}
		if err := each(m, meta); err != nil {
			return err
		}
		if meta.NumPending == 0 || meta.Sequence.Stream == high-1 {
			return nil
		}
	}
}

// next waits for one message as long as for any answer, however many came before it.
func (c *Conn) next(ctx context.Context, it jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	return it.Next(jetstream.NextContext(ctx))
}

// dropReader deletes the consumer that a stream was read by: nats.go leaves it to the server, which keeps it for minutes. One that
// is not deleted is no harm.
func (c *Conn) dropReader(ctx context.Context, stream string, cons jetstream.Consumer) {
	info := cons.CachedInfo()
	if info == nil || !c.NC.IsConnected() {
		return
	}
	ctx, cancel := c.bound(context.WithoutCancel(ctx))
	defer cancel()
	_ = c.JS.DeleteConsumer(ctx, stream, info.Name)
}
