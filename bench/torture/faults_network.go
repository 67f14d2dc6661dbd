//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"time"
)

var networkFaults = []fault{
	{"cut a client off", 6, false, cutClient},
	{"cut one direction of a client", 3, false, cutDirection},
	{"reset connections", 3, false, resetClient},
	{"slow a client down", 4, false, slowClient},
	{"cut a NATS node off from the others", 4, false, isolateNode},
	{"cut two NATS nodes apart", 3, false, cutRoute},
	{"slow the cluster down", 2, false, slowCluster},
}

func cutClient(ctx context.Context, r *rand.Rand, n *nemesis) error {
	c, d := pick(r, n.clients()), between(r, time.Second, 3*ackWait)
	n.say("cut %s off from NATS for %s", c.name, d)
	c.line.set(true, true, 0)
	defer c.line.set(false, false, 0)
	pause(ctx, d)
	return nil
}

func cutDirection(ctx context.Context, r *rand.Rand, n *nemesis) error {
	c, d, there := pick(r, n.clients()), between(r, time.Second, 2*ackWait), r.IntN(2) == 0
	n.say("nothing that %s sends (%t), or is sent (%t), arrives for %s", c.name, there, !there, d)
	c.line.set(there, !there, 0)
	defer c.line.set(false, false, 0)
	pause(ctx, d)
	return nil
}

func resetClient(_ context.Context, r *rand.Rand, n *nemesis) error {
	c := pick(r, n.clients())
	n.say("reset the connections of %s", c.name)
	for _, k := range c.line {
		k.reset()
	}
	return nil
}

func slowClient(ctx context.Context, r *rand.Rand, n *nemesis) error {
	c, d, delay := pick(r, n.clients()), between(r, time.Second, 3*ackWait), between(r, 20*time.Millisecond, time.Second)
	n.say("what %s sends and is sent takes %s longer, for %s", c.name, delay, d)
	c.line.set(false, false, delay)
	defer c.line.set(false, false, 0)
	pause(ctx, d)
	return nil
}

func (l line) set(there, back bool, delay time.Duration) {
	for _, k := range l {
		k.set(there, back, delay)
	}
}

// between two nodes there are two links, each node's own to the other.
func (s *system) links(a, b *node) line { return line{a.routes[b.name], b.routes[a.name]} }

func isolateNode(ctx context.Context, r *rand.Rand, n *nemesis) error {
	k, d := pick(r, n.nodes), between(r, time.Second, 3*ackWait)
	n.say("cut NATS node %s off from the others for %s", k.name, d)
	var all line
	for _, other := range n.nodes {
		if other != k {
			all = append(all, n.links(k, other)...)
		}
	}
	all.set(true, true, 0)
	defer all.set(false, false, 0)
	pause(ctx, d)
	return nil
}

func cutRoute(ctx context.Context, r *rand.Rand, n *nemesis) error {
	i, d := r.IntN(len(n.nodes)), between(r, time.Second, 3*ackWait)
	a, b := n.nodes[i], n.nodes[(i+1)%len(n.nodes)]
	if a == b {
		return nil
	}
	n.say("cut NATS nodes %s and %s apart for %s", a.name, b.name, d)
	both := n.links(a, b)
	both.set(true, true, 0)
	defer both.set(false, false, 0)
	pause(ctx, d)
	return nil
}

func slowCluster(ctx context.Context, r *rand.Rand, n *nemesis) error {
	d, delay := between(r, time.Second, 3*ackWait), between(r, 10*time.Millisecond, 200*time.Millisecond)
	n.say("what NATS nodes send each other takes %s longer, for %s", delay, d)
	var all line
	for _, k := range n.nodes {
		for _, route := range k.routes {
			all = append(all, route)
		}
	}
	all.set(false, false, delay)
	defer all.set(false, false, 0)
	pause(ctx, d)
	return nil
}
