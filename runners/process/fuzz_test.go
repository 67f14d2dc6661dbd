package process

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
)

// FuzzFrame reads what could come from a torn journal or a stranger on the socket: nothing panics, nothing is read past the
// end, and what was read is written again as it was.
func FuzzFrame(f *testing.F) {
	l := &launch{name: "run.1", path: "/bin/true", argv: []string{"true", ""}, env: []string{"A=b"}, params: "{}", lease: 5, memory: 128}
	f.Add(appendLaunch(nil, 7, l))
	f.Add(appendEnding(nil, kindEnded, 9, "run.1", 3, &ending{code: 137, signal: 9, reason: schemas.ReasonLeaseLost, value: `{"a":1}`, pid: 4}))
	f.Add(appendNamed(appendFrame(nil, kindHello, 0, protocol), kindStop, 1, "run.1", -1))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 's'})
	f.Fuzz(func(t *testing.T, b []byte) {
		readJournal(b)
		for {
			fr, n, err := nextFrame(b)
			if err != nil || n == 0 {
				return
			}
			if n > len(b) {
				t.Fatalf("a frame of %d bytes in %d", n, len(b))
			}
			b = b[n:]
			if l, err := readLaunch(fr); err == nil {
				again, n, err := nextFrame(appendLaunch(nil, fr.tag, l))
				if err != nil || n == 0 {
					t.Fatalf("written start frame: %v", err)
				}
				if second, err := readLaunch(again); err != nil || !cmp.Equal(l, second, cmp.AllowUnexported(launch{})) {
					t.Fatalf("got %+v again as %+v, %v", l, second, err)
				}
			}
			if name, spool, end, err := readEnding(fr); err == nil {
				again, _, _ := nextFrame(appendEnding(nil, kindEnded, fr.tag, name, spool, &end))
				name2, spool2, end2, err := readEnding(again)
				if err != nil || name2 != name || spool2 != spool || end2 != end {
					t.Fatalf("got ending %+v again as %+v, %v", end, end2, err)
				}
				end.result()
			}
			readOutput(fr)
		}
	})
}

// FuzzLines cuts output that comes in any pieces: no byte is lost, no line is too long.
func FuzzLines(f *testing.F) {
	const limit = 8
	f.Add([]byte("one\ntwo\r\n\nthree"), uint16(3))
	f.Add([]byte("12345678\n123456789\n"), uint16(7))
	f.Add([]byte("1234567812345678123456781\ny"), uint16(100))
	f.Add([]byte("123456789"), uint16(0))
	f.Fuzz(func(t *testing.T, in []byte, piece uint16) {
		s := splitter{stream: 1, max: limit}
		var block []byte
		for rest := in; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			block = s.cut(block, 5, rest[:n])
			rest = rest[n:]
		}
		block = s.finish(block, 6)
		lines := bytes.SplitAfter(in, []byte("\n"))
		for len(block) > 0 {
			r, n, err := nextRecord(block)
			if err != nil || n == 0 || r.stream&1 != 1 {
				t.Fatalf("record %+v, %d, %v", r, n, err)
			}
			block = block[n:]
			want := bytes.TrimSuffix(lines[0], []byte("\n"))
			if len(want) > limit {
				if part := want[:limit]; !bytes.Equal(r.line, part) || r.stream&continued == 0 {
					t.Fatalf("got a part %q on stream %d, want %q that goes on", r.line, r.stream, part)
				}
				lines[0] = lines[0][limit:]
				continue
			}
			if !bytes.Equal(r.line, want) || r.stream&continued != 0 {
				t.Fatalf("got line %q on stream %d, want %q", r.line, r.stream, want)
			}
			lines = lines[1:]
		}
		if rest := bytes.Join(lines, nil); len(rest) > 0 {
			t.Fatalf("%q is lost", rest)
		}
	})
}

// FuzzJob reads job configurations: what is accepted can be turned into an environment, and secrets never show.
func FuzzJob(f *testing.F) {
	f.Add([]byte(`{"command":"python3 -m etl 'a b'","env":{"A":"b","N":1,"S":{"from_env":"HOME"}},"cpu":"1024","memory":2048}`))
	f.Add([]byte(`{"command":["true"],"env":null,"labels":{},"name":null,"stream_output":true,"working_dir":null,"python":null,"cpu":null}`))
	f.Add([]byte(`{"env":{"A=":""}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := parseJob(json.RawMessage(b))
		if err != nil {
			return
		}
		if len(j.Command) > 0 && j.Command[0] == "" {
			t.Error("a command without a program")
		}
		if j.CPU < 0 || j.Memory < 0 {
			t.Errorf("cpu %d, memory %d", j.CPU, j.Memory)
		}
		for name, v := range j.Env {
			if v.Reference() {
				continue // whatever file the fuzzer names is left alone
			}
			if s, err := v.Resolve(""); err == nil && strings.ContainsRune(name+s, 0) {
				t.Errorf("env %q=%q holds a zero byte", name, s)
			}
		}
	})
}
