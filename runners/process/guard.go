package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// The guard of a supervisor waits for its end and then kills what its jobs had started: the kernel ends a job with the supervisor
// (PR_SET_PDEATHSIG), but not the job's own children, and the worker may have been killed as well. It is a shell that reads from a
// pipe whose other end the supervisor alone has: it takes no CPU and less than a megabyte, and it becomes this program only when
// the supervisor was killed. One that ends as it should says so. The shell puts the guard into the background, so that nobody
// has to wait for it, and sends it no signal of the terminal or of a service manager.
const guardScript = `trap "" HUP INT TERM; { read -r end || exec /proc/self/fd/3 "$@"; } <&4 &`

const (
	// guardFD names in the supervisor's environment the descriptor of the guard's pipe.
	guardFD = "WEIR_GUARD_FD"
	// guardSweeps in its environment makes [Supervise] sweep instead.
	guardSweeps = "WEIR_GUARD_SWEEPS"
)

// startGuard starts the guard of a supervisor that is about to be started as argv, and returns the supervisor's end of the pipe.
func (r *runner) startGuard(argv []string) (*os.File, error) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		return nil, err
	}
	self, err := os.Open(argv[0]) // by its descriptor it is found even when an upgrade has replaced it
	if err != nil {
		return nil, err
	}
	defer self.Close()
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	cmd := &exec.Cmd{
		Path: shell, Args: append([]string{"sh", "-c", guardScript, "weir-guard"}, argv[1:]...), Dir: r.config.Dir,
		Env: append([]string{guardSweeps + "=1"}, r.base...), ExtraFiles: []*os.File{self, in},
		SysProcAttr: &unix.SysProcAttr{Setsid: true},
	}
	if err := cmd.Run(); err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

// guarded takes the supervisor's end of its guard's pipe from the environment. The function it returns tells the guard that
// nothing is left to sweep.
func guarded() (release func()) {
	var fd int
	if _, err := fmt.Sscanf(os.Getenv(guardFD), "%d", &fd); err != nil {
		return func() {}
	}
	unix.CloseOnExec(fd)
	return func() {
		_, _ = unix.Write(fd, []byte("end\n")) // unheard, it sweeps in vain
		unix.Close(fd)
	}
}

// sweepFor is what a guard becomes: it kills what the jobs of dir's supervisor have left, unless there is another one, which has
// done so before it began.
func sweepFor(dir string) error {
	lock, err := lockFolder(dir)
	if errors.Is(err, errSupervised) {
		return nil
	} else if err != nil {
		return err
	}
	defer lock.Close()
	return sweep(marker(dir))
}
