package server

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server/sysmem"
)

// minSoftLimit is the least the heap is asked to stay under, in bytes. About 350,000 runs of history fit.
const minSoftLimit = 512 << 20

// limitMemory makes the garbage collector work harder once the process holds a quarter of the machine's memory. Without that the heap doubles between two
// collections: after a burst of 400,000 runs it held 1.3 GB of which 0.5 were in use. Why not less: a limit below what is in use costs three
// times the CPU a run (287 µs instead of 89 with 512 MiB and that history), and saves nothing that could be saved. GOMEMLIMIT goes before.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softLimit(machineMemory()))
	}
}

// softLimit is the limit for a machine with total bytes of memory; 0 is unknown.
func softLimit(total int64) int64 { return max(minSoftLimit, total/4) }

// machineMemory is the memory this process could have, in bytes: the machine's, or its container's when that has less.
func machineMemory() int64 {
	total := sysmem.Memory()
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} { // cgroup v2, v1
		if text, err := os.ReadFile(file); err == nil {
			total = min(total, cgroupLimit(string(text)))
		}
	}
	return total
}

// cgroupLimit reads a limit file; "max" and whatever is no number is no limit.
func cgroupLimit(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return n
}
