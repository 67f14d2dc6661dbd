//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"time"
)

var clockFaults = []fault{
	{"set a client's clock wrong", 3, false, wrongClient},
	{"set a NATS node's clock wrong", 3, false, wrongNode},
}

// wrong is by how much a clock is set wrong, either way: some of it more than a lease.
func wrong(r *rand.Rand) time.Duration {
	d := between(r, 100*time.Millisecond, 30*time.Second)
	if r.IntN(2) == 0 {
		d = -d
	}
	return d
}

func wrongClient(ctx context.Context, r *rand.Rand, n *nemesis) error {
	c, by, d := pick(r, n.clients()), wrong(r), between(r, time.Second, 4*ackWait)
	n.say("set the clock of %s wrong by %s for %s", c.name, by, d)
	c.clock.set(by)
	defer c.clock.set(0)
	pause(ctx, d)
	return nil
}

func wrongNode(ctx context.Context, r *rand.Rand, n *nemesis) error {
	k, by, d := pick(r, n.nodes), wrong(r), between(r, time.Second, 4*ackWait)
	n.say("set the clock of NATS node %s wrong by %s for %s", k.name, by, d)
	k.clock.set(by)
	defer k.clock.set(0)
	pause(ctx, d)
	return nil
}
