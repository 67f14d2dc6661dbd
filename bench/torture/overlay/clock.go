package overlay

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// ClockVariable is the environment variable that names a program's clock file: eight bytes, in this machine's order, with the
// nanoseconds by which its wall clock is wrong. They may be changed while the program runs, as if its clock were set.
const ClockVariable = "TORTURE_CLOCK"

// Clock is what makes a program's wall clock one that can be set apart from the machine's: an edit of time.Now. A Go program
// reads the clock without the C library and, most often, without a system call, so that nothing can be put in between from
// outside. The monotonic part of a time, and with it every timer, stays as it is, just as when a machine's clock is set.
func Clock() ([]Edit, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find the Go sources: %w", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	return []Edit{
		{
			File: filepath.Join(dir, "time.go"),
			Old:  "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n",
			New:  "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec, nsec = wrong(sec, nsec)\n",
		},
		{File: filepath.Join(dir, "wrong.go"), New: wrongClock},
	}, nil
}

const wrongClock = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var wrongBy = wrongClock()

func wrongClock() *int64 {
	file, ok := syscall.Getenv("` + ClockVariable + `")
	if !ok {
		return nil
	}
	fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil
	}
	return (*int64)(unsafe.Pointer(&b[0]))
}

func wrong(sec int64, nsec int32) (int64, int32) {
	if wrongBy == nil {
		return sec, nsec
	}
	n := sec*1e9 + int64(nsec) + atomic.LoadInt64(wrongBy)
	return n / 1e9, int32(n % 1e9)
}
`
