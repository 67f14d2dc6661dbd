package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// folder is the private folder of one execution, for its result file and whatever it writes there.
type folder struct {
	path  string
	ctime unix.Timespec // when it was last changed, as far as we know: by its making
	aged  bool          // ctime is old enough to tell whether anything was made in it since
}

// folders gives each execution a folder that is empty. One that was not touched serves again: most jobs leave nothing, and
// making and removing a folder costs as much as everything else here together.
type folders struct {
	root  string
	next  int
	spare []folder
	wipes chan string // folders to wipe, which may take long: done beside the loop by [folders.wipe]
}

const resultFile = "result.json"

func openFolders(root string) (*folders, error) {
	if err := os.RemoveAll(root); err != nil {
		return nil, fmt.Errorf("wipe the folders of earlier jobs: %w", err)
	}
	if err := os.Mkdir(root, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for jobs: %w", err)
	}
	return &folders{root: root, wipes: make(chan string, 1024)}, nil
}

func (f *folders) take() (folder, error) {
	if n := len(f.spare); n > 0 {
		d := f.spare[n-1]
		f.spare = f.spare[:n-1]
		return d, nil
	}
	f.next++
	d := folder{path: filepath.Join(f.root, strconv.Itoa(f.next))}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		return folder{}, fmt.Errorf("make the job's folder: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(d.path, &st); err != nil {
		return folder{}, fmt.Errorf("make the job's folder: %w", err)
	}
	d.ctime = st.Ctim
	return d, nil
}

// touched tells whether anything may be in d. The change time cannot be set by a program, so equal means untouched, once
// the file system's clock tick in which the folder was made has passed.
func (d *folder) touched(now int64) bool {
	var st unix.Stat_t
	if unix.Stat(d.path, &st) != nil || st.Ctim != d.ctime {
		return true
	}
	if !d.aged {
		const tick = 20_000_000 // 20 ms: twice the coarsest kernel tick (HZ=100)
		d.aged = now-st.Ctim.Nano() > tick
		entries, err := os.ReadDir(d.path)
		return err != nil || len(entries) > 0
	}
	return false
}

// give takes a folder back: as a spare one, or wiped.
func (f *folders) give(d folder, touched bool) {
	if !touched && len(f.spare) < 1024 {
		f.spare = append(f.spare, d)
		return
	}
	select {
	case f.wipes <- d.path:
	default:
		wipe(d.path)
	}
}

// wipe removes the folders that were given back, until done is closed.
func (f *folders) wipe(done <-chan struct{}) {
	for {
		select {
		case path := <-f.wipes:
			wipe(path)
		case <-done:
			return // what is left is wiped when the next supervisor starts
		}
	}
}

// wipe removes path, also where the job took its own write permission away.
func wipe(path string) {
	if os.RemoveAll(path) == nil {
		return
	}
	_ = filepath.WalkDir(path, func(p string, e os.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	os.RemoveAll(path)
}
