package streams

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// peerTime is how long the peers have to say that a message is meant for them.
const peerTime = time.Second

// peerSubject is where the workers of a kind tell each other things.
func peerSubject(kind string) string { return peerPrefix + kind }

// TellPeers gives a message to all who hear those of a kind, but for the one called self. true: one of them has said that it was meant.
// false: none has, for a second or until ctx ended.
func (c *Conn) TellPeers(ctx context.Context, kind, self string, message []byte) bool {
	ctx, cancel := context.WithTimeout(ctx, peerTime)
	defer cancel()
	_, err := c.NC.RequestMsgWithContext(ctx, &nats.Msg{Subject: peerSubject(kind), Header: nats.Header{headerPeer: {self}}, Data: message})
	return err == nil
}

// HearPeers calls heard, which must not block, with what others than self tell those of a kind, until stop is called. heard says whether it
// was meant.
func (c *Conn) HearPeers(kind, self string, heard func(message []byte) bool) (stop func(), err error) {
	if err := checkNames([2]string{"kind", kind}); err != nil {
		return nil, err
	}
	sub, err := c.NC.Subscribe(peerSubject(kind), func(m *nats.Msg) {
		if m.Header.Get(headerPeer) != self && heard(m.Data) {
			_ = m.Respond(nil) // unheard, another one is asked, or the same again
		}
	})
	if err != nil {
		return nil, fmt.Errorf("hear the peers of %s: %w", kind, err)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}
