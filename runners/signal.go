package runners

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalOf is the signal that an exit code tells of as shells count, 128 and its number, or "".
func SignalOf(code int) string {
	if code <= 128 || code > 128+int(unix.SIGSYS) {
		return ""
	}
	return unix.SignalName(syscall.Signal(code - 128))
}
