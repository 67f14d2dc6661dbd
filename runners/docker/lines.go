package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weir-run/weir/runners"
)

// An entry is what the log driver has stored at once: a line, or a part of one that is longer than 16 KiB. Entries keep their
// order and number for as long as the container exists, however often they are read.
type entry struct {
	stream runners.Stream
	at     time.Time
	text   []byte // with its newline, where it has one
	raw    []byte // as it came, time included: tells it from any other
}

// entryHead is in front of each entry: 1 byte of stream, 3 of nothing, 4 of length, big endian.
const entryHead = 8

// maxEntry is far more than any engine stores at once.
const maxEntry = 16 << 20

// errUnreadable says that the engine's log is broken from some place on, as by a disk that was full for a while: the engine says so
// within the log, or gives what is no entry. Reading it again gives the same.
var errUnreadable = errors.New("the engine cannot read the log")

// readEntry reads the next entry of a log that was asked for with timestamps. [io.EOF]: there is none; errUnreadable: there is no
// getting at it; any other error: the stream broke.
func readEntry(r *bufio.Reader) (entry, error) {
	head, err := r.Peek(entryHead)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return entry{}, err
	}
	stream, n := head[0], binary.BigEndian.Uint32(head[4:])
	if stream < 1 || stream > 3 || n > maxEntry {
		return entry{}, fmt.Errorf("%w: stream %d, %d bytes is no entry of one", errUnreadable, stream, n)
	}
	raw := make([]byte, entryHead+int(n))
	if _, err := io.ReadFull(r, raw); err != nil {
		return entry{}, io.ErrUnexpectedEOF
	}
	if stream == 3 { // what the engine has to say of the log itself
		return entry{}, fmt.Errorf("%w: %.200s", errUnreadable, bytes.TrimSpace(raw[entryHead:]))
	}
	e := entry{stream: runners.Stdout, raw: raw}
	if stream == 2 {
		e.stream = runners.Stderr
	}
	stamp, text, ok := bytes.Cut(raw[entryHead:], []byte(" "))
	if !ok {
		return entry{}, fmt.Errorf("%w: entry %.60q has no time", errUnreadable, raw[entryHead:])
	}
	if e.at, err = time.Parse(time.RFC3339Nano, string(stamp)); err != nil {
		return entry{}, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	e.text = text
	return e, nil
}

// partsPerEntry is above the number of lines that one entry can complete: a long line is split at [runners.MaxLine].
const partsPerEntry = 1 << 10

// partSize is the length of an entry, in bytes, that goes on in the stream's next one, unless it ends in a newline. A shorter one
// without a newline is the end of a long line, which some engines store without it (moby before 23.0), or the job's last words.
const partSize = 16 << 10

// assembler makes lines of entries, read from the first one on. A line's position is the number of the entry that completes it,
// times partsPerEntry: the same whenever the log is read, and growing over both streams.
type assembler struct {
	entries int64              // read so far
	part    int64              // lines completed by the last one
	rest    [2]bytes.Buffer    // unfinished lines
	line    func(runners.Line) // takes each line; its text is its own to keep
}

func (a *assembler) add(e entry) {
	a.entries++
	a.part = 0
	rest := &a.rest[0]
	if e.stream == runners.Stderr {
		rest = &a.rest[1]
	}
	text, whole := bytes.CutSuffix(e.text, []byte("\n"))
	whole = whole || len(text) < partSize
	for rest.Len()+len(text) > runners.MaxLine {
		take := runners.MaxLine - rest.Len()
		rest.Write(text[:take])
		a.give(e.stream, e.at, rest, true)
		text = text[take:]
	}
	rest.Write(text)
	if whole {
		a.give(e.stream, e.at, rest, false)
	}
}

// finish gives what the job left unfinished. It is the log's end, or the same bytes would be given twice.
func (a *assembler) finish(at time.Time) {
	for i, stream := range []runners.Stream{runners.Stdout, runners.Stderr} {
		if rest := &a.rest[i]; rest.Len() > 0 {
			a.give(stream, at, rest, false)
		}
	}
}

// missing ends a log that cannot be read on, with a line that says so. Whoever reads it again comes to the same place.
func (a *assembler) missing(at time.Time, why string) {
	a.finish(at)
	a.entries++
	a.part = 0
	a.line(runners.Line{Stream: runners.Stderr, At: at, Position: a.entries * partsPerEntry, Text: []byte("weir: output may be missing from here on: " + why)})
}

func (a *assembler) give(stream runners.Stream, at time.Time, rest *bytes.Buffer, continued bool) {
	a.line(runners.Line{Stream: stream, At: at, Position: a.entries*partsPerEntry + a.part, Text: bytes.Clone(rest.Bytes()), Continued: continued})
	a.part++
	rest.Reset()
}
