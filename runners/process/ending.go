package process

import (
	"encoding/json"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// ending is how a job ended, as the supervisor tells the worker and keeps it in its journal.
type ending struct {
	code    int
	signal  int
	reason  schemas.Reason
	message string
	value   string
	started int64 // Unix nanoseconds
	ended   int64
	pid     int
}

// endingOf reads a wait status.
func endingOf(ws syscall.WaitStatus) ending {
	if ws.Signaled() {
		return ending{code: 128 + int(ws.Signal()), signal: int(ws.Signal())}
	}
	return ending{code: ws.ExitStatus()}
}

// take stores what the job left in its result file. A result that cannot travel is an ending's reason only when the job
// itself went well.
func (e *ending) take(value []byte) {
	switch {
	case len(value) == 0:
	case len(value) > runners.MaxResult:
		if e.code == 0 && e.reason == "" {
			e.reason = schemas.ReasonResultTooLarge
			e.message = fmt.Sprintf("the result has more than %d bytes: write it to a file or object store and return its name", runners.MaxResult)
		}
	case !json.Valid(value):
		if e.code == 0 && e.reason == "" {
			e.reason, e.message = schemas.ReasonResultInvalid, "the result file does not hold valid JSON"
		}
	default:
		e.value = string(value)
	}
}

func appendEnding(b []byte, k kind, tag uint64, name string, spool int64, e *ending) []byte {
	b, mark := openFrame(b, k, tag)
	b = appendText(b, name)
	b = appendText(b, string(e.reason))
	b = appendText(b, e.message)
	b = appendText(b, e.value)
	for _, v := range [...]int64{int64(e.code), int64(e.signal), e.started, e.ended, int64(e.pid), spool} {
		b = appendInt(b, v)
	}
	return closeFrame(b, mark)
}

func readEnding(f frame) (name string, spool int64, e ending, err error) {
	r := fieldsOf(f)
	name = r.text()
	e.reason, e.message, e.value = schemas.Reason(r.text()), r.text(), r.text()
	e.code, e.signal, e.started, e.ended, e.pid = int(r.int()), int(r.int()), r.int(), r.int(), int(r.int())
	spool = r.int()
	return name, spool, e, r.end("ended")
}

// result is the ending in the words every runner uses.
func (e *ending) result() runners.Result {
	r := runners.Result{
		ExitCode: e.code, Reason: e.reason, Message: e.message,
		Started: time.Unix(0, e.started), Ended: time.Unix(0, e.ended),
	}
	if e.signal != 0 {
		r.Signal = unix.SignalName(syscall.Signal(e.signal))
	}
	if e.value != "" {
		r.Value = json.RawMessage(e.value)
	}
	return r
}
