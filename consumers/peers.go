package consumers

import (
	"context"
	"strings"

	"github.com/weir-run/weir/runners"
)

// lock is a [runners.Lock] over NATS.
func (w *Worker) lock(ctx context.Context, key string) (unlock func(), err error) {
	unlock, err = w.conn.Lock(ctx, key, w.Pool+"."+w.Name)
	if err != nil && ctx.Err() == nil {
		w.Logger.Warn("NATS gives no lock; work may be done twice", "key", key, "err", err)
		return func() {}, nil
	}
	return unlock, err
}

// peers are those of one worker.
type peers struct{ *Worker }

var (
	_ runners.Lock  = (*Worker)(nil).lock
	_ runners.Peers = peers{}
)

// kin is what the names of a pool type have in common that are executed alike: workers of ecs and of ecs:push are peers.
func (p peers) kin() string {
	kin, _, _ := strings.Cut(p.config.kind.Name, ":")
	return kin
}

// Tell implements [runners.Peers].
func (p peers) Tell(ctx context.Context, message []byte) bool {
	return p.conn.TellPeers(ctx, p.kin(), p.instance, message)
}

// Hear implements [runners.Peers].
func (p peers) Hear(heard func(message []byte) bool) (stop func(), err error) {
	return p.conn.HearPeers(p.kin(), p.instance, heard)
}
