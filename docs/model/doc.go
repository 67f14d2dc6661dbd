// Package model is Weir's protocol of claim, lease, redelivery and recovery as a state machine, and a search that visits every
// state it can reach. It is a proof aid and no part of the product: docs/model.md says what it holds and what it leaves out.
//
// The machine is in protocol order: bounds.go what is switched on and how much of it there is, state.go what exists, nats.go the
// pool's stream and the event log, worker.go, judge.go, hold.go, supervisor.go and canceller.go who acts, invariant.go what must hold,
// search.go and trace.go the search.
package model
