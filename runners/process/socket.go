package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what Linux takes as a unix socket's path: 108 bytes with the final zero.
const maxSocketPath = 107

// socketPath is where the supervisor of dir listens: in dir, or, when that path is too long for a socket, in a private
// folder of the user's under the system's folder for temporary files.
func socketPath(dir string) string {
	if p := filepath.Join(dir, "supervisor.sock"); len(p) <= maxSocketPath {
		return p
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(os.TempDir(), "weir-"+strconv.Itoa(os.Getuid()), hex.EncodeToString(sum[:8])+".sock")
}

// listen opens the socket of dir. The caller holds the folder's lock, so a socket that is there is nobody's.
func listen(dir string) (int, error) {
	path := socketPath(dir)
	if parent := filepath.Dir(path); parent != dir {
		if err := privateFolder(parent); err != nil {
			return -1, err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return -1, fmt.Errorf("remove an old socket: %w", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		if err = os.Chmod(path, 0o600); err == nil {
			err = unix.Listen(fd, 16)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", path, err)
	}
	return fd, nil
}

func unlisten(dir string) { os.Remove(socketPath(dir)) }

// privateFolder makes path a folder that nobody else can enter or replace.
func privateFolder(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make a folder for sockets: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("look at the folder for sockets: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o77 != 0 || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a private folder of this user: remove it, or use a shorter data directory", path)
	}
	return nil
}
