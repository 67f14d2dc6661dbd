//go:build linux

package main

import (
	"context"
	"math/rand/v2"
)

var cancelFaults = []fault{{"cancel", 1, false, cancelRun}}

// cancelRun cancels a run wherever it stands; one that has just ended is as good.
func cancelRun(_ context.Context, r *rand.Rand, n *nemesis) error {
	run := n.requests.any(r)
	if run == "" {
		return nil
	}
	n.say("cancel run %s, which is %s", run, n.requests.recorder.state(run))
	return n.requests.cancel(run)
}
