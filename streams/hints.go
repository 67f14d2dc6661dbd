package streams

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// hints calls each for every message that passes by on subject, by core NATS: before it is stored, whether or not it will be.
// missed is called when some may have passed by unseen: after a reconnect.
func (c *Conn) hints(subject string, each func(*nats.Msg), missed func()) (stop func(), err error) {
	sub, err := c.NC.Subscribe(subject, each)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	reconnected := c.NC.StatusChanged(nats.CONNECTED)
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case <-reconnected:
				missed()
			case <-ended:
				return
			}
		}
	}()
	return func() {
		close(ended)
		c.NC.RemoveStatusListener(reconnected)
		_ = sub.Unsubscribe()
	}, nil
}
