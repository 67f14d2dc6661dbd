// Package server is the optional middle: a NATS server inside this process, with JetStream on disk, and a small HTTP endpoint for
// health checks. Workers need NATS, not this package; an existing NATS system serves as well, and Attach puts the endpoint beside it.
// Workers are those inside the server: of push pools, whose runs no other worker takes.
//
// What it leaves to others: streams and buckets (package streams), running work (package consumers), flags and signals (the command).
package server
