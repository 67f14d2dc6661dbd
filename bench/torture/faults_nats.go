//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"
)

var natsFaults = []fault{
	{"kill NATS node", 6, false, killNode},
	{"freeze NATS node", 4, false, freezeNode},
	{"stop NATS node", 2, false, stopNode},
	{"kill two NATS nodes", 1, false, killTwoNodes},
	{"kill all NATS nodes", 1, false, killAllNodes},
	{"fill a NATS node's disk", 1, false, fillNodeDisk},
}

var serverFaults = []fault{
	{"kill server", 3, false, killServer},
	{"freeze server", 3, false, freezeServer},
}

func killNode(ctx context.Context, r *rand.Rand, n *nemesis) error {
	k, d := pick(r, n.nodes), away(r)
	n.say("kill -9 NATS node %s, back after %s", k.name, d)
	k.kill()
	pause(ctx, d)
	return k.start()
}

func freezeNode(ctx context.Context, r *rand.Rand, n *nemesis) error {
	k, d := pick(r, n.nodes), between(r, time.Second, 3*ackWait)
	n.say("freeze NATS node %s for %s", k.name, d)
	k.freeze()
	defer k.thaw()
	pause(ctx, d)
	return nil
}

func stopNode(ctx context.Context, r *rand.Rand, n *nemesis) error {
	k, d := pick(r, n.nodes), away(r)
	n.say("TERM NATS node %s, back after %s", k.name, d)
	k.signal(syscall.SIGTERM, true)
	pause(ctx, d)
	k.kill()
	return k.start()
}

func killTwoNodes(ctx context.Context, r *rand.Rand, n *nemesis) error {
	spared, d := r.IntN(len(n.nodes)), away(r)
	n.say("kill -9 all NATS nodes but %s, back after %s", n.nodes[spared].name, d)
	for i, k := range n.nodes {
		if i != spared {
			k.kill()
		}
	}
	pause(ctx, d)
	return n.startNodes()
}

func killAllNodes(ctx context.Context, r *rand.Rand, n *nemesis) error {
	d := away(r)
	n.say("kill -9 all NATS nodes, back after %s", d)
	for _, k := range n.nodes {
		k.kill()
	}
	pause(ctx, d)
	return n.startNodes()
}

func (s *system) startNodes() error {
	for _, k := range s.nodes {
		if err := k.start(); err != nil {
			return err
		}
	}
	return nil
}

// fillNodeDisk fills the disk of the node that has one. JetStream gives up on a full disk until the node is started again.
func fillNodeDisk(ctx context.Context, r *rand.Rand, n *nemesis) error {
	d := between(r, time.Second, 2*ackWait)
	for _, k := range n.nodes {
		if k.disk == nil {
			continue
		}
		n.say("fill the disk of NATS node %s for %s", k.name, d)
		if err := k.disk.fill(); err != nil {
			return err
		}
		pause(ctx, d)
		if err := k.disk.free(); err != nil {
			return err
		}
		k.stop(10 * time.Second)
		return k.start()
	}
	return nil
}

func killServer(ctx context.Context, r *rand.Rand, n *nemesis) error {
	if n.server == nil {
		return nil
	}
	d := away(r)
	n.say("kill -9 weir server, back after %s", d)
	n.server.kill()
	pause(ctx, d)
	return n.server.start()
}

func freezeServer(ctx context.Context, r *rand.Rand, n *nemesis) error {
	if n.server == nil {
		return nil
	}
	d := between(r, time.Second, 3*ackWait)
	n.say("freeze weir server for %s", d)
	n.server.freeze()
	defer n.server.thaw()
	pause(ctx, d)
	return nil
}
