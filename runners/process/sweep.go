package process

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// marker is what the environment variable that marks every process of a job under dir begins with; the execution's name
// follows. It tells whose a process is when nobody is left who started it, without trust in process numbers.
func marker(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "WEIR_EXECUTION=" + hex.EncodeToString(sum[:8]) + "."
}

// sweep kills what the jobs of a supervisor that was killed have left. Its jobs died with it; what they had started did not.
func sweep(marker string) error {
	for deadline := time.Now().Add(goneWithin); ; {
		left, err := sweepOnce(marker)
		if err != nil {
			return fmt.Errorf("look for leftover processes: %w", err)
		}
		if len(left) == 0 {
			return nil
		}
		for _, fd := range left {
			ms := int(max(time.Until(deadline), 0).Milliseconds())
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, ms)
			unix.Close(fd)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kill %d leftover processes of earlier jobs: they did not end within %s", len(left), goneWithin)
		}
	}
}

// sweepOnce kills every marked process and returns their pidfds. A pidfd names the process that was looked at, and no
// later one of the same number.
func sweepOnce(marker string) (killed []int, err error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	marked := func(pid int) bool {
		name, _ := markOf(pid, marker)
		return name != ""
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || !marked(pid) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if !marked(pid) || unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
			unix.Close(fd)
			continue
		}
		killed = append(killed, fd)
	}
	return killed, nil
}
