package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// spool keeps a job's output on disk until it is delivered: 8 bytes that say up to where it was, then records. There is no
// file before the first line. What is delivered is given back to the file system in steps.
type spool struct {
	path  string
	file  *os.File // nil: no output yet
	size  int64    // bytes of records written
	acked int64    // bytes of records delivered
	freed int64    // bytes of records given back
}

const (
	spoolHead = 8
	freeStep  = 4 << 20
)

func spoolPath(dir string, number int64) string {
	return filepath.Join(dir, "output", strconv.FormatInt(number, 16))
}

// openSpool opens what an earlier supervisor wrote. No file: there was no output.
func openSpool(path string) (*spool, error) {
	s := &spool{path: path}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return nil, fmt.Errorf("open kept output: %w", err)
	}
	var head [spoolHead]byte
	info, err := f.Stat()
	if err == nil {
		_, err = f.ReadAt(head[:], 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read kept output: %w", err)
	}
	s.file, s.size = f, info.Size()-spoolHead
	s.acked = min(int64(binary.BigEndian.Uint64(head[:])), s.size)
	return s, nil
}

// write appends whole records.
func (s *spool) write(block []byte) error {
	if s.file == nil {
		f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("keep output: %w", err)
		}
		if _, err := f.Write(make([]byte, spoolHead)); err != nil {
			f.Close()
			return fmt.Errorf("keep output: %w", err)
		}
		s.file = f
	}
	if _, err := s.file.WriteAt(block, spoolHead+s.size); err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	s.size += int64(len(block))
	return nil
}

// read fills b from offset and returns the whole records in it.
func (s *spool) read(b []byte, offset int64) ([]byte, error) {
	n, err := s.file.ReadAt(b[:min(int64(len(b)), s.size-offset)], spoolHead+offset)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read kept output: %w", err)
	}
	whole := 0
	for whole < n {
		_, size, err := nextRecord(b[whole:n])
		if err != nil {
			return nil, err
		}
		if size == 0 {
			break
		}
		whole += size
	}
	if whole == 0 {
		return nil, fmt.Errorf("read kept output: no whole record at %d of %d", offset, s.size)
	}
	return b[:whole], nil
}

// ack notes that everything up to offset is delivered.
func (s *spool) ack(offset int64) error {
	if s.file == nil || offset <= s.acked || offset > s.size {
		return nil
	}
	s.acked = offset
	if free := s.acked - s.freed; free >= freeStep {
		// A file system that cannot punch holes keeps the bytes until the job is forgotten.
		_ = unix.Fallocate(int(s.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, spoolHead+s.freed, free)
		s.freed = s.acked
	}
	if _, err := s.file.WriteAt(binary.BigEndian.AppendUint64(nil, uint64(s.acked)), 0); err != nil {
		return fmt.Errorf("note delivered output: %w", err)
	}
	return nil
}

// remove ends the spool and its file.
func (s *spool) remove() {
	if s.file == nil {
		return
	}
	s.file.Close()
	os.Remove(s.path)
	s.file = nil
}
