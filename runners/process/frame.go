package process

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Worker and supervisor speak in frames: 4 bytes of length (big endian, of what follows), 1 byte of kind, 8 bytes of tag,
// then the kind's own fields. The tag is the worker's number for an execution, valid for one connection; supervisor frames
// carry it back. The journal on disk is written in the same frames, so that there is one decoder.
type kind byte

// The kinds, with their fields in order.
const (
	kindHello  kind = 'h' // version
	kindStart  kind = 's' // a launch
	kindAttach kind = 'a' // name: send what is known of it, and its output from the last acked byte on
	kindAck    kind = 'k' // name, offset up to which the worker has delivered the execution's output
	kindLease  kind = 'l' // name, clock reading past which the job is killed; 0: never
	kindStop   kind = 't' // name, nanoseconds from the polite signal to the kill, and that signal's number where it is not SIGTERM
	kindForget kind = 'f' // name
	kindList   kind = 'i' // tag answers it: send the names of all executions
	kindClose  kind = 'c' // the worker stops and holds nothing any more

	kindWelcome kind = 'w' // version, supervisor's PID
	kindStarted kind = 'p' // PID, start time
	kindRefused kind = 'r' // errno: the job could not be started
	kindUnknown kind = 'u' // no execution of that name
	kindMoved   kind = 'm' // another worker has asked for the execution and holds it now
	kindOutput  kind = 'o' // offset of the first record, then records
	kindEnded   kind = 'e' // an ending
	kindNames   kind = 'n' // names of executions; more follow until a frame has none
)

// protocol is the version of the frames. A worker that meets a supervisor of another version asks it to go once its jobs
// have ended, and is told so in the error.
const protocol = 2

const (
	frameHead = 4 + 1 + 8
	maxFrame  = 8 << 20 // above the largest start: parameters of 512 KiB and an environment of at most 2 MiB
)

// frame is one decoded frame. body points into the reader's buffer.
type frame struct {
	kind kind
	tag  uint64
	body []byte
}

// nextFrame reads the first frame of b and how many bytes it takes. n is 0 while b does not hold a whole frame.
func nextFrame(b []byte) (f frame, n int, err error) {
	if len(b) < 4 {
		return frame{}, 0, nil
	}
	size := int(binary.BigEndian.Uint32(b))
	if size < frameHead-4 || size > maxFrame {
		return frame{}, 0, fmt.Errorf("read frame: its length is %d, want %d to %d", size, frameHead-4, maxFrame)
	}
	if len(b) < 4+size {
		return frame{}, 0, nil
	}
	return frame{kind: kind(b[4]), tag: binary.BigEndian.Uint64(b[5:]), body: b[frameHead : 4+size]}, 4 + size, nil
}

// openFrame begins a frame at the end of b; [closeFrame] with the same mark ends it.
func openFrame(b []byte, k kind, tag uint64) (out []byte, mark int) {
	mark = len(b)
	b = append(b, 0, 0, 0, 0, byte(k))
	return binary.BigEndian.AppendUint64(b, tag), mark
}

func closeFrame(b []byte, mark int) []byte {
	binary.BigEndian.PutUint32(b[mark:], uint32(len(b)-mark-4))
	return b
}

// appendFrame appends a frame of numbers.
func appendFrame(b []byte, k kind, tag uint64, fields ...int64) []byte {
	b, mark := openFrame(b, k, tag)
	for _, v := range fields {
		b = appendInt(b, v)
	}
	return closeFrame(b, mark)
}

// appendNamed appends a frame of an execution's name and numbers.
func appendNamed(b []byte, k kind, tag uint64, name string, fields ...int64) []byte {
	b, mark := openFrame(b, k, tag)
	b = appendText(b, name)
	for _, v := range fields {
		b = appendInt(b, v)
	}
	return closeFrame(b, mark)
}

func appendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

// fields reads a frame's fields one after the other. After the first that does not fit, all are zero and bad is set.
type fields struct {
	rest string
	bad  bool
}

func fieldsOf(f frame) fields { return fields{rest: string(f.body)} }

func (f *fields) fail() {
	f.bad = true
	f.rest = ""
}

func (f *fields) uint() uint64 {
	var v uint64
	for i := 0; i < len(f.rest) && i < binary.MaxVarintLen64; i++ {
		c := f.rest[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			f.rest = f.rest[i+1:]
			return v
		}
	}
	f.fail()
	return 0
}

func (f *fields) int() int64 {
	u := f.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (f *fields) text() string {
	n := f.uint()
	if n > uint64(len(f.rest)) {
		f.fail()
		return ""
	}
	s := f.rest[:n]
	f.rest = f.rest[n:]
	return s
}

func (f *fields) texts() []string {
	n := f.uint()
	if n > uint64(len(f.rest)) { // each takes a byte at least
		f.fail()
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, f.text())
	}
	return list
}

// end returns an error unless every field was there and nothing is left.
func (f *fields) end(what string) error {
	if f.bad || f.rest != "" {
		return fmt.Errorf("read %s frame: its fields do not fit", what)
	}
	return nil
}

// launch is all the supervisor needs to start a job.
type launch struct {
	name    string
	path    string   // the program; a relative one with a slash is taken from dir
	argv    []string // with argv[0]
	env     []string // without what the supervisor adds: the result file and the parameters
	dir     string   // working directory; empty: the execution's own folder
	params  string   // JSON, for WEIR_PARAMETERS or WEIR_PARAMETERS_FILE
	discard bool     // output is thrown away
	lease   int64    // clock reading past which the job is killed; 0: never
	cpu     int64    // 1024 = 1 vCPU; 0: no limit
	memory  int64    // MiB; 0: no limit
}

func appendLaunch(b []byte, tag uint64, l *launch) []byte {
	b, mark := openFrame(b, kindStart, tag)
	b = appendText(b, l.name)
	b = appendText(b, l.path)
	b = appendTexts(b, l.argv)
	b = appendTexts(b, l.env)
	b = appendText(b, l.dir)
	b = appendText(b, l.params)
	discard := int64(0)
	if l.discard {
		discard = 1
	}
	for _, v := range [...]int64{discard, l.lease, l.cpu, l.memory} {
		b = appendInt(b, v)
	}
	return closeFrame(b, mark)
}

func readLaunch(f frame) (*launch, error) {
	r := fieldsOf(f)
	l := &launch{name: r.text(), path: r.text(), argv: r.texts(), env: r.texts(), dir: r.text(), params: r.text()}
	l.discard, l.lease, l.cpu, l.memory = r.int() != 0, r.int(), r.int(), r.int()
	if err := r.end("start"); err != nil {
		return nil, err
	}
	if l.name == "" || strings.ContainsAny(l.name, "/\x00") || l.path == "" || len(l.argv) == 0 {
		return nil, fmt.Errorf("read start frame: name %q, path %q and %d arguments do not make a job", l.name, l.path, len(l.argv))
	}
	return l, nil
}
