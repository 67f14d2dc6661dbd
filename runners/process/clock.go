package process

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock reads CLOCK_BOOTTIME in nanoseconds: the same for every process of the machine, never set, and running on while the
// machine sleeps, so that a lease that ran out meanwhile is out.
func clock() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("read CLOCK_BOOTTIME: " + err.Error()) // Linux has it since 2.6.39
	}
	return ts.Nano()
}

// clockAt is the clock's reading at t, or 0 for the zero time. The clock is read first: a process frozen between the two
// readings makes the result earlier, never later.
func clockAt(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	now := clock()
	return max(now+int64(time.Until(t)), 1)
}
