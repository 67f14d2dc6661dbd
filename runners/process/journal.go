package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// journal keeps, in one append-only file, how jobs ended until the worker says that it is recorded. It is written once per
// round of the supervisor's loop and rewritten when most of it is forgotten.
type journal struct {
	path string
	file *os.File
	buf  []byte
	size int64
	live int64 // bytes of endings that are not forgotten

	retry int64 // clock reading at which to rewrite it, since it lacks what could not be written; 0: it lacks nothing
}

const (
	journalFile   = "endings"
	journalEnded  = kindEnded
	journalForget = kindForget
	// journalSlack is how many bytes of forgotten endings a journal may hold before it is rewritten.
	journalSlack = 1 << 20
	// journalRetry is how long after a write that failed, as on a full disk, the journal is rewritten.
	journalRetry = time.Second
)

// kept is an ending read back from the journal.
type kept struct {
	name  string
	spool int64
	end   ending
}

// openJournal reads and opens the journal in dir. A torn last frame, left by a machine that lost power, ends it.
func openJournal(dir string) (*journal, []kept, error) {
	path := filepath.Join(dir, journalFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("read endings of earlier jobs: %w", err)
	}
	old := time.Now().Add(-keepEnding).UnixNano()
	found := slices.DeleteFunc(readJournal(b), func(k kept) bool { return k.end.ended < old })
	j := &journal{path: path}
	return j, found, j.rewrite(func(b []byte) []byte {
		for i := range found {
			k := &found[i]
			b = appendEnding(b, journalEnded, 0, k.name, k.spool, &k.end)
		}
		return b
	})
}

// readJournal returns the endings that are not forgotten, in the order in which they were written.
func readJournal(b []byte) []kept {
	var list []kept
	at := map[string]int{}
	for {
		f, n, err := nextFrame(b)
		if err != nil || n == 0 {
			break
		}
		b = b[n:]
		switch f.kind {
		case journalEnded:
			if name, spool, end, err := readEnding(f); err == nil {
				at[name] = len(list)
				list = append(list, kept{name, spool, end})
			}
		case journalForget:
			r := fieldsOf(f)
			if i, ok := at[r.text()]; ok {
				list[i].name = ""
			}
		}
	}
	return slices.DeleteFunc(list, func(k kept) bool { return k.name == "" })
}

// rewrite replaces the journal by what fill appends, which is all that is to be kept.
func (j *journal) rewrite(fill func([]byte) []byte) error {
	b := fill(nil)
	j.retry = clock() + int64(journalRetry)
	next := j.path + ".next"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write endings: %w", err)
	}
	if _, err = f.Write(b); err == nil {
		err = os.Rename(next, j.path)
	}
	if err != nil {
		f.Close()
		os.Remove(next) // it takes room where there may be none
		return fmt.Errorf("write endings: %w", err)
	}
	j.close()
	j.file, j.size, j.live, j.buf, j.retry = f, int64(len(b)), int64(len(b)), j.buf[:0], 0
	return nil
}

func (j *journal) ended(name string, spool int64, e *ending) (size int) {
	before := len(j.buf)
	j.buf = appendEnding(j.buf, journalEnded, 0, name, spool, e)
	size = len(j.buf) - before
	j.live += int64(size)
	return size
}

func (j *journal) forget(name string, size int) {
	j.buf = appendNamed(j.buf, journalForget, 0, name)
	j.live -= int64(size)
}

// flush writes what was noted since the last flush. What cannot be written is left to the next rewrite, and no part of it stays: a
// frame behind a torn one could not be read.
func (j *journal) flush() error {
	if len(j.buf) == 0 {
		return nil
	}
	n, err := j.file.WriteAt(j.buf, j.size)
	j.buf = j.buf[:0]
	if err != nil {
		if j.retry == 0 {
			j.retry = clock() + int64(journalRetry)
		}
		return fmt.Errorf("write endings: %w", errors.Join(err, j.file.Truncate(j.size)))
	}
	j.size += int64(n)
	return nil
}

// stale tells whether the journal should be rewritten: most of it is forgotten, or it lacks something.
func (j *journal) stale(now int64) bool {
	if j.retry != 0 {
		return now >= j.retry
	}
	return j.size-j.live > journalSlack+j.live
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
}
