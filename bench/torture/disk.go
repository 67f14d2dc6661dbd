//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A disk is a small file system of its own, in memory, that can be filled to the last byte and freed again.
type disk struct{ dir string }

// mountDisk mounts one at dir. Only root may; [os.ErrPermission] says that this user may not.
func mountDisk(dir string, megabytes int) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount("torture", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		return nil, fmt.Errorf("mount a disk at %s: %w", dir, err)
	}
	return &disk{dir}, nil
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill leaves no byte free.
func (d *disk) fill() error {
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err = f.Write(block); err == nil {
			continue
		} else if !errors.Is(err, unix.ENOSPC) {
			return err
		}
		block = block[:len(block)/2]
	}
	return nil
}

func (d *disk) free() error { return os.Remove(d.filler()) }

func (d *disk) unmount() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) }
