package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// minFree is what must be free in the data directory before NATS is started on it, in bytes: a stream's first block, its index and
// consumer states, of each of the streams Weir creates, with room to spare. NATS itself stops writing at 75% of what was free.
const minFree = 64 << 20

// A dataDir is a directory this process alone uses, for as long as it is open.
type dataDir struct {
	path string
	lock *os.File // locked: the kernel lets go of it when the process dies, however it dies
}

// errLocked: another process, or another open file of this one, holds the lock.
var errLocked = errors.New("locked")

// openDataDir creates path where missing, and locks it.
func openDataDir(path string) (*dataDir, error) {
	if path == "" {
		return nil, refuse(ErrConfig, nil, "no data directory; choose one with --data DIR")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	// 0700: run requests hold parameters, which are nobody else's business on a shared machine.
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, dataFailure(path, err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, dataFailure(path, err)
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.claim(); err != nil {
		lock.Close()
		return nil, err
	}
	return d, nil
}

func (d *dataDir) claim() error {
	if err := lockFile(d.lock); err != nil {
		if !errors.Is(err, errLocked) {
			return dataFailure(d.path, err)
		}
		holder, _ := io.ReadAll(io.LimitReader(d.lock, 32))
		return refuse(ErrUnavailable, err, "data directory %s is in use by another weir (process %s); stop it, or choose another with --data",
			d.path, strings.TrimSpace(string(holder)))
	}
	free, err := freeBytes(d.path)
	if err != nil {
		return dataFailure(d.path, err)
	}
	if err := enough(d.path, free); err != nil {
		return err
	}
	if err := d.lock.Truncate(0); err != nil {
		return dataFailure(d.path, err)
	}
	if _, err := d.lock.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0); err != nil {
		return dataFailure(d.path, err)
	}
	return nil
}

// close gives the directory back. The file stays: removing it would let a third process lock a new file beside a held one.
func (d *dataDir) close() error { return d.lock.Close() }

func enough(path string, free uint64) error {
	if free >= minFree {
		return nil
	}
	return refuse(ErrUnavailable, syscall.ENOSPC, "data directory %s has %d MiB of disk left and needs %d; free some, or choose another with --data",
		path, free>>20, minFree>>20)
}

func dataFailure(path string, err error) *StartError {
	switch {
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EEXIST):
		return refuse(ErrUnavailable, err, "data directory %s is not a directory; choose another with --data", path)
	case errors.Is(err, syscall.ENOSPC):
		return refuse(ErrUnavailable, err, "data directory %s: the disk is full; free some space, or choose another with --data", path)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, os.ErrNotExist):
		return refuse(ErrUnavailable, err, "data directory %s is not writable (%v); choose another with --data", path, err)
	}
	return refuse(ErrUnavailable, err, "data directory %s: %v; choose another with --data", path, err)
}
