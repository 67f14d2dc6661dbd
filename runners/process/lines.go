package process

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/weir-run/weir/runners"
)

// A record is one line of output as it is spooled and sent: 4 bytes of length (of the line), 1 byte of stream, 8 bytes of
// time (Unix nanoseconds), the line. Its position is the offset behind it in the execution's spool.
const recordHead = 4 + 1 + 8

// continued is set in the stream of a part of a line that goes on in the stream's next record.
const continued = 1 << 1

func appendRecord(b []byte, stream byte, at int64, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = append(b, stream)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// record is one decoded record. line points into the reader's buffer.
type record struct {
	stream byte
	at     int64
	line   []byte
}

// nextRecord reads the first record of b and how many bytes it takes. n is 0 while b does not hold a whole record.
func nextRecord(b []byte) (r record, n int, err error) {
	if len(b) < recordHead {
		return record{}, 0, nil
	}
	size := int(binary.BigEndian.Uint32(b))
	if size > runners.MaxLine || b[4] > 1|continued {
		return record{}, 0, fmt.Errorf("read output record: %d bytes on stream %d", size, b[4])
	}
	if len(b) < recordHead+size {
		return record{}, 0, nil
	}
	return record{
		stream: b[4], at: int64(binary.BigEndian.Uint64(b[5:])),
		line: b[recordHead : recordHead+size : recordHead+size],
	}, recordHead + size, nil
}

// deliver hands a block of whole records to out. at is the offset of the first in the spool.
func deliver(out runners.Output, at int64, block []byte) error {
	for len(block) > 0 {
		r, n, err := nextRecord(block)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("read output record: %d bytes are no whole record", len(block))
		}
		at += int64(n)
		out.Line(runners.Line{
			Stream: streams[r.stream&1], At: time.Unix(0, r.at), Position: at, Text: r.line, Continued: r.stream&continued != 0,
		})
		block = block[n:]
	}
	return nil
}

var streams = [2]runners.Stream{runners.Stdout, runners.Stderr}

// splitter cuts one stream into lines. A line longer than max is cut into parts of that size, which are marked
// as [continued], and a last one.
type splitter struct {
	stream byte
	max    int    // bytes: [runners.MaxLine]
	rest   []byte // an unfinished line, at most max bytes
}

// cut appends the records of chunk's whole lines to b and keeps what is unfinished.
func (s *splitter) cut(b []byte, at int64, chunk []byte) []byte {
	for len(chunk) > 0 {
		i := bytes.IndexByte(chunk, '\n')
		line := chunk
		if i >= 0 {
			line = chunk[:i]
		}
		for len(s.rest)+len(line) > s.max {
			take := s.max - len(s.rest)
			b = appendRecord(b, s.stream|continued, at, s.rest, line[:take])
			s.rest, line = s.rest[:0], line[take:]
		}
		if i < 0 {
			s.rest = append(s.rest, line...)
			return b
		}
		b = appendRecord(b, s.stream, at, s.rest, line)
		s.rest, chunk = s.rest[:0], chunk[i+1:]
	}
	return b
}

// finish appends what is left as a last line.
func (s *splitter) finish(b []byte, at int64) []byte {
	if len(s.rest) > 0 {
		b = appendRecord(b, s.stream, at, s.rest)
		s.rest = nil
	}
	return b
}
