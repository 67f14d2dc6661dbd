package streams_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/streams"
)

// What may pass is waited for: a run that it is taken for a refusal ends for nothing.
func TestRefused_isOnlyWhatNATSWillNeverTake(t *testing.T) {
	api := func(code int, errorCode jetstream.ErrorCode) error {
		return &jetstream.APIError{Code: code, ErrorCode: errorCode, Description: "what the server says"}
	}
	for _, tc := range []struct {
		what string
		err  error
		want bool
	}{
		{"a message over the stream's limit", api(400, 10054), true},
		{"headers over 64 KiB", api(400, 10097), true},
		{"a schedule's target that is no subject", api(400, 10190), true},
		{"a stream without schedules", api(400, 10188), true},
		{"a message over the connection's limit", nats.ErrMaxPayload, true},
		{"a subject that is none", nats.ErrBadSubject, true},

		{"a stream whose queue is full", api(429, 10167), false},
		{"an ID that is just being stored", api(409, 10158), false},
		{"a cluster without a leader", api(503, 10008), false},
		{"a full disk", api(500, 10047), false},
		{"a stream without room", api(503, 10077), false},
		{"an account without room", api(400, 10002), false},
		{"a stream that is restored", api(404, 10059), false},
		{"a sealed stream", api(400, 10109), false},
		{"JetStream that is just starting", jetstream.ErrJetStreamNotEnabled, false},
		{"too many messages under way", jetstream.ErrTooManyStalledMsgs, false},
		{"no answer", nats.ErrTimeout, false},
		{"no answer yet", jetstream.ErrAsyncPublishTimeout, false},
		{"nobody there", nats.ErrNoResponders, false},
		{"no stream there", jetstream.ErrNoStreamResponse, false},
		{"no connection", nats.ErrDisconnected, false},
		{"a slow connection", nats.ErrReconnectBufExceeded, false},
		{"a stale connection", nats.ErrStaleConnection, false},
		{"the end of one's patience", context.DeadlineExceeded, false},
	} {
		if got := streams.Refused(fmt.Errorf("record running of run dev-1: %w", tc.err)); got != tc.want {
			t.Errorf("%s (%v): got refused %t, want %t", tc.what, tc.err, got, tc.want)
		}
	}
}
