package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
)

// discard is an output that nobody reads.
type discard struct{}

func (discard) Last(context.Context) (int64, error) { return 0, nil }
func (discard) Line(runners.Line)                   {}
func (discard) Flush(context.Context) error         { return nil }

// logged is a log as the engine sends it; each entry begins with its stream's digit.
func logged(entries ...string) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		text := "2026-01-02T03:04:05.000000006Z " + e[1:]
		head := make([]byte, entryHead)
		head[0] = e[0] - '0'
		binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
		b.Write(head)
		b.WriteString(text)
	}
	return b.Bytes()
}

// assembled reads a log to its end.
func assembled(t testing.TB, log []byte) (lines []runners.Line, err error) {
	t.Helper()
	a := assembler{line: func(l runners.Line) { lines = append(lines, l) }}
	r := bufio.NewReader(bytes.NewReader(log))
	for {
		e, err := readEntry(r)
		if errors.Is(err, io.EOF) {
			a.finish(time.Time{})
			return lines, nil
		} else if err != nil {
			return lines, err
		}
		a.add(e)
	}
}

func TestAssembler_makesLines(t *testing.T) {
	part := strings.Repeat("x", partSize)
	for _, tt := range []struct {
		name    string
		entries []string
		want    []string // stream, + where the line goes on, and its length or text
	}{
		{"lines", []string{"1a\n", "2b\n", "1\n"}, []string{"stdout a", "stderr b", "stdout "}},
		{"last words", []string{"1a\n", "1bye"}, []string{"stdout a", "stdout bye"}},
		{"a long line", []string{"1" + part, "1end\n", "1a\n"}, []string{"stdout " + part + "end", "stdout a"}},
		{"a long line whose newline is not stored", []string{"1" + part, "1end", "1a\n"}, []string{"stdout " + part + "end", "stdout a"}},
		{"as long as a part", []string{"1" + part, "1\n"}, []string{"stdout " + part}},
		{"long last words", []string{"1" + part}, []string{"stdout " + part}},
		{"two long lines at once", []string{"1" + part, "2" + part, "1a\n", "2b\n"}, []string{"stdout " + part + "a", "stderr " + part + "b"}},
		{"a longer line", []string{"1" + part, "1" + part, "1" + part, "1" + part, "1z\n"}, []string{"stdout+" + strings.Repeat(part, 4), "stdout z"}},
		{"bytes", []string{"1\xff\x00\r\n"}, []string{"stdout \xff\x00\r"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines, err := assembled(t, logged(tt.entries...))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			last := int64(0)
			for _, l := range lines {
				mark := " "
				if l.Continued {
					mark = "+"
				}
				got = append(got, string(l.Stream)+mark+string(l.Text))
				if l.Position <= last {
					t.Errorf("position %d follows %d", l.Position, last)
				}
				last = l.Position
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadEntry_refusesABrokenStream(t *testing.T) {
	whole := logged("1abc\n")
	for _, log := range [][]byte{whole[:3], whole[:entryHead], whole[:len(whole)-1], []byte("HTTP/1.1 500"), append([]byte{7}, whole[1:]...)} {
		if lines, err := assembled(t, log); err == nil || len(lines) > 0 {
			t.Errorf("%q: got %v, %v, want an error", log, lines, err)
		}
	}
}

// What an engine says of a log that it cannot read on is no break of the stream, which the engine's return would mend.
func TestReadEntry_tellsABrokenLogFromABrokenStream(t *testing.T) {
	whole := logged("1abc\n", "1d\n")
	for _, tt := range []struct {
		name string
		log  []byte
		want string // of the error; empty: the stream broke
	}{
		{"the engine's words", logged("1abc\n", "3Error grabbing logs: too large"), "Error grabbing logs: too large"},
		{"no such stream", logged("1abc\n", "7d\n"), "stream 7"},
		{"no such length", append(logged("1abc\n"), 1, 0, 0, 0, 0xff, 0, 0, 0), "is no entry"},
		{"no time", append(logged("1abc\n"), 1, 0, 0, 0, 0, 0, 0, 2, 'h', 'i'), "no time"},
		{"cut off", whole[:len(whole)-1], ""},
		{"cut off in an entry's head", whole[:len(whole)-20-entryHead], ""},
	} {
		lines, err := assembled(t, tt.log)
		if len(lines) != 1 || err == nil || errors.Is(err, errUnreadable) != (tt.want != "") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %d lines, %v, want one, and %q", tt.name, len(lines), err, tt.want)
		}
	}
}

// FuzzLog reads logs: no line is too long, positions grow, and what is read again is the same.
func FuzzLog(f *testing.F) {
	f.Add(logged("1a\n", "2b", "1"+strings.Repeat("x", partSize), "1\n"))
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, log []byte) {
		lines, err := assembled(t, log)
		again, errAgain := assembled(t, log)
		if (err == nil) != (errAgain == nil) || !cmp.Equal(lines, again) {
			t.Errorf("read again: %v, %v, want %v, %v", again, errAgain, lines, err)
		}
		last := int64(0)
		for _, l := range lines {
			if len(l.Text) > runners.MaxLine || l.Position <= last {
				t.Errorf("line of %d bytes at %d, after %d", len(l.Text), l.Position, last)
			}
			last = l.Position
		}
	})
}
