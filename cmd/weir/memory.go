package main

import "runtime/debug"

const (
	// workerGarbage is how much garbage a worker makes between two collections, in percent of what it uses, which is a few MB.
	workerGarbage = 400
	// workerMemory makes the runtime collect more often once the process holds that many bytes.
	workerMemory = 256 << 20

	// holderGarbage is the same of a server without NATS in it: what it has are the runs of push pools, thousands of them, which wait.
	holderGarbage = 25
)

// collectMore trades CPU that a server hardly uses, while it waits for tasks elsewhere, for the memory that they cost it: with 5,000 of them a
// third less. GOGC goes before.
func collectMore(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(holderGarbage)
	}
}

// collectLess trades memory that a worker hardly uses for CPU: a tenth of what a run costs it. GOGC and GOMEMLIMIT go before.
func collectLess(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(workerGarbage)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(workerMemory)
	}
}
