package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// ErrCut says that a dead letter has only the beginning of its request's body: the rest did not fit beside the reason.
var ErrCut = errors.New("the request's body is not whole")

// RetryDeadLetter requests the run of a dead letter again, as a new run that names the original as its parent, and removes
// the letter once the request is stored. body replaces the request's own; nil keeps it, and is refused with [ErrCut] where
// that is not whole. The request has the original's headers, but for those that were for NATS or Weir: they name the original
// run or made NATS store it. After an error it is safe to call it again: within two minutes NATS stores the request once.
func (c *Conn) RetryDeadLetter(ctx context.Context, id uint64, body []byte) (Requested, error) {
	m, err := c.deadMessage(ctx, id)
	if err != nil {
		return Requested{}, err
	}
	l := deadLetter(m.Header, m.Data, m.Sequence, m.Time)
	if body == nil {
		if body = m.Data; l.Size > 0 {
			return Requested{}, fmt.Errorf("dead letter %d has the first %d of its request's %d bytes: %w", id, len(m.Data), l.Size, ErrCut)
		}
	}
	r := Request{Pool: l.Pool, Queue: l.Queue, Deployment: l.Deployment, Body: body, DedupeID: DeadStream + "-" + strconv.FormatUint(id, 10)}
	msg, err := r.message()
	if err != nil {
		return Requested{}, fmt.Errorf("retry dead letter %d: %w", id, err)
	}
	maps.Copy(msg.Header, originalHeader(m.Header))
	if schemas.ValidName(l.Run) {
		msg.Header.Set(HeaderParent, l.Run)
	}
	bounded, cancel := c.bound(ctx)
	defer cancel()
	ack, err := c.JS.PublishMsg(bounded, msg)
	if err != nil {
		return Requested{}, fmt.Errorf("retry dead letter %d: %w", id, c.submitError(r, err))
	}
	if err := c.removeDead(ctx, id); err != nil {
		return r.requested(ack), fmt.Errorf("dead letter %d is retried as run %s, but not removed: %w", id, r.requested(ack).Run, err)
	}
	return r.requested(ack), nil
}

// originalHeader is what a dead letter's request said to the job: its headers without those that NATS or Weir acted on.
func originalHeader(dead nats.Header) nats.Header {
	h := nats.Header{}
	for k, v := range dead {
		name, original := strings.CutPrefix(k, headerOriginal)
		if original && !strings.HasPrefix(name, "Nats-") && !strings.HasPrefix(name, "Weir-") {
			h[name] = v
		}
	}
	return h
}

// DeleteDeadLetter removes one for good.
func (c *Conn) DeleteDeadLetter(ctx context.Context, id uint64) error {
	if _, err := c.deadMessage(ctx, id); err != nil {
		return err
	}
	return c.removeDead(ctx, id)
}

func (c *Conn) removeDead(ctx context.Context, id uint64) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	s, err := c.JS.Stream(ctx, DeadStream)
	if err == nil {
		err = s.DeleteMsg(ctx, id)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("delete dead letter %d: %w", id, unavailable(c.url, err))
	}
	return nil
}

// DeadLetterIDs returns the IDs of a pool's dead letters, oldest first. An empty pool or reason means all.
func (c *Conn) DeadLetterIDs(ctx context.Context, pool string, reason schemas.Reason) ([]uint64, error) {
	var ids []uint64
	bounded, cancel := c.bound(ctx)
	defer cancel()
	s, err := c.JS.Stream(bounded, DeadStream)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", DeadStream, unavailable(c.url, err))
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return nil, nil
	}
	err = c.between(ctx, DeadStream, deadFilter(pool), state.FirstSeq, state.LastSeq+1, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		if reason == "" || m.Headers().Get(headerDeadReason) == string(reason) {
			ids = append(ids, meta.Sequence.Stream)
		}
		return nil
	})
	return ids, err
}
