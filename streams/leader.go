package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// msgGetRequest asks for one message: by its sequence, the last one under a subject, or the next one under a subject from a
// sequence on.
type msgGetRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
}

// leaderMsg reads one message from the stream's leader. A direct get may be answered by any replica, also by one that is
// behind, and what decides about a run must not be old. [ErrNotFound]: there is no such message.
func (c *Conn) leaderMsg(ctx context.Context, stream string, r msgGetRequest) (*jetstream.RawStreamMsg, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	answer, err := c.NC.RequestWithContext(ctx, c.prefix+"STREAM.MSG.GET."+stream, body)
	if err != nil {
		return nil, unavailable(c.url, err)
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return nil, fmt.Errorf("read a message of stream %s: %w", stream, err)
	}
	switch {
	case got.Error != nil && got.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, ErrNotFound
	case got.Error != nil:
		return nil, unavailable(c.url, got.Error)
	case got.Message == nil:
		return nil, errors.New("the stream's answer has no message")
	}
	m := &jetstream.RawStreamMsg{Subject: got.Message.Subject, Sequence: got.Message.Seq, Data: got.Message.Data, Time: got.Message.Time}
	if len(got.Message.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(got.Message.Header); err != nil {
			return nil, fmt.Errorf("read a message of stream %s: %w", stream, err)
		}
	}
	return m, nil
}
