package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// refused is an error that trying again cannot mend.
func refused(format string, args ...any) error {
	return runners.Permanent(schemas.ReasonStartFailed, fmt.Errorf(format, args...))
}

// program finds what name means: a name with a slash is a path, from the job's folder; another is looked up in path, the job's own
// PATH.
func program(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	if path == "" {
		path = "/usr/local/bin:/usr/bin:/bin"
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			continue // nothing runs because of where a job happens to stand
		}
		p := d + "/" + name
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", refused("program %q is not on the PATH (%s)", name, path)
}

// explain says why the system refused to start l. The error is permanent if the cause is in what was asked for.
func explain(l *launch, errno syscall.Errno, message string) error {
	if l.dir != "" && (errno == syscall.ENOENT || errno == syscall.ENOTDIR || errno == syscall.EACCES) {
		info, err := os.Stat(l.dir)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return refused("working directory %s does not exist", l.dir)
		case err == nil && !info.IsDir():
			return refused("working directory %s is not a directory", l.dir)
		case errors.Is(err, os.ErrPermission):
			return refused("working directory %s cannot be entered: permission denied", l.dir)
		}
	}
	path := under(l.dir, l.path)
	info, err := os.Stat(path)
	switch errno {
	case syscall.ENOENT:
		if err == nil {
			return refused("program %s needs an interpreter or loader that does not exist: look at its first line", path)
		}
		return refused("program %s does not exist", path)
	case syscall.ENOTDIR:
		return refused("program %s does not exist", path)
	case syscall.EACCES, syscall.EPERM:
		if err == nil && info.IsDir() {
			return refused("program %s is a directory", path)
		}
		return refused("program %s is not executable", path)
	case syscall.ENOEXEC:
		return refused("program %s is no program of this machine, and has no #! line", path)
	case syscall.E2BIG:
		return refused("start %s: its arguments or one variable are longer than Linux takes (128 KiB each)", path)
	case syscall.ENAMETOOLONG, syscall.ELOOP, syscall.EISDIR, syscall.EINVAL:
		return refused("start %s: %w", path, errno)
	}
	return fmt.Errorf("start %s: %s", path, message)
}
