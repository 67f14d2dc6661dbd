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
// file before the first line, and none is open while nothing comes or goes. What is delivered is given back to the file
// system in steps.
type spool struct {
	path  string
	file  *os.File // nil: closed
	made  bool     // there is a file
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

// findSpool finds what an earlier supervisor wrote. No file: there was no output.
func findSpool(path string) (*spool, error) {
	s := &spool{path: path, made: true}
	if err := s.open(0); errors.Is(err, os.ErrNotExist) {
		s.made = false
		return s, nil
	} else if err != nil {
		return nil, err
	}
	defer s.rest()
	var head [spoolHead]byte
	info, err := s.file.Stat()
	if err == nil && info.Size() >= spoolHead {
		_, err = s.file.ReadAt(head[:], 0)
		s.size = info.Size() - spoolHead
	}
	if err != nil {
		return nil, fmt.Errorf("read kept output: %w", err)
	}
	s.acked = min(int64(binary.BigEndian.Uint64(head[:])), s.size)
	return s, nil
}

// open opens the file, with flags on top.
func (s *spool) open(flags int) error {
	if s.file != nil {
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|flags, 0o600)
	if err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	s.file = f
	return nil
}

// rest closes the file until it is needed again.
func (s *spool) rest() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// write appends whole records.
func (s *spool) write(block []byte) error {
	flags := 0
	if !s.made {
		flags = os.O_CREATE | os.O_TRUNC
	}
	if err := s.open(flags); err != nil {
		return err
	}
	if !s.made {
		if _, err := s.file.WriteAt(make([]byte, spoolHead), 0); err != nil {
			return fmt.Errorf("keep output: %w", err)
		}
		s.made = true
	}
	if _, err := s.file.WriteAt(block, spoolHead+s.size); err != nil {
		// A part of it would be taken for output by the next supervisor.
		return fmt.Errorf("keep output: %w", errors.Join(err, s.file.Truncate(spoolHead+s.size)))
	}
	s.size += int64(len(block))
	return nil
}

// read fills b from offset and returns the whole records in it.
func (s *spool) read(b []byte, offset int64) ([]byte, error) {
	if err := s.open(0); err != nil {
		return nil, err
	}
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
	if !s.made || offset <= s.acked || offset > s.size {
		return nil
	}
	s.acked = offset
	if err := s.open(0); err != nil {
		return err
	}
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
	s.rest()
	if s.made {
		os.Remove(s.path)
		s.made = false
	}
}
