package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// What one request for stored messages asks for at most. The whole answer has to come within the connection's timeout: the bytes
// are few enough for a slow line.
const (
	scanBatch = 1000
	scanBytes = 256 << 10
)

// scan calls each for what lies in a pool's stream from that sequence on, in order, until it returns an error or there is no
// more. Batches bring most of it, but nothing is concluded from where one ends: it may have been cut short by its size, its time
// or the connection, and comes from a replica that may be behind. The stream's leader is asked for the next message then, and
// says when there is none.
func (c *Conn) scan(ctx context.Context, pool string, from uint64, each func(*jetstream.RawStreamMsg) error) error {
	for from = max(from, 1); ; {
		next, err := c.scanBatch(ctx, pool, from, each)
		if err != nil {
			return err
		}
		m, err := c.leaderMsg(ctx, poolStream(pool), msgGetRequest{Seq: next, NextFor: ">"})
		if errors.Is(err, ErrNotFound) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the stream of work pool %s: %w", pool, err)
		}
		if err := each(m); err != nil {
			return err
		}
		from = m.Sequence + 1
	}
}

// scanBatch calls each for some of the messages from that sequence on, as far as they come without a gap, and returns the
// sequence after the last of them.
func (c *Conn) scanBatch(ctx context.Context, pool string, from uint64, each func(*jetstream.RawStreamMsg) error) (next uint64, err error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	failed := func(err error) error {
		return fmt.Errorf("read the stream of work pool %s: %w", pool, unavailable(c.url, err))
	}
	batch, err := jetstreamext.GetBatch(ctx, c.JS, poolStream(pool), scanBatch,
		jetstreamext.GetBatchSeq(from), jetstreamext.GetBatchMaxBytes(scanBytes))
	if err != nil {
		return from, failed(err)
	}
	last := uint64(0)
	for m, err := range batch {
		switch {
		case errors.Is(err, jetstreamext.ErrNoMessages), errors.Is(err, jetstreamext.ErrInvalidResponse):
			return from, nil // or a request that looks like it: the leader knows
		case err != nil:
			return from, failed(err)
		case !follows(m, last):
			return from, nil
		}
		if err := each(m); err != nil {
			return from, err
		}
		last, from = m.Sequence, m.Sequence+1
	}
	return from, nil
}

// follows tells whether m is what the server sent after the message with sequence last, 0: as the first of a batch. It describes
// messages in headers, beside those that they have of their own: one that has such a header too is not to be read by them.
func follows(m *jetstream.RawStreamMsg, last uint64) bool {
	for _, h := range []string{jetstream.SequenceHeader, jetstream.SubjectHeader, jetstream.TimeStampHeaer, jetstream.LastSequenceHeader} {
		if len(m.Header[h]) != 1 {
			return false
		}
	}
	return m.Header.Get(jetstream.LastSequenceHeader) == strconv.FormatUint(last, 10)
}
