package ecs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// resultMark begins a line of output that is a part of the run's result: "weir-result 1/2 {...". Nothing can be read out of a container
// that has ended, so a result comes as the last lines of the log, in parts that no log driver cuts. The launcher of entrypoints writes
// them, and so may any command: one line, weir-result 1/1 and the JSON.
const resultMark = "weir-result "

// A resultReader takes a result out of a log. The zero value has read nothing.
type resultReader struct {
	parts int    // how many there are
	read  int    // how many came
	text  []byte // never more than a little above MaxResult
}

// take tells whether line belongs to a result, and is not the job's output.
func (r *resultReader) take(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte(resultMark))
	if !ok {
		return false
	}
	place, text, ok := bytes.Cut(rest, []byte(" "))
	first, all, slash := bytes.Cut(place, []byte("/"))
	part, err := strconv.Atoi(string(first))
	parts, err2 := strconv.Atoi(string(all))
	if !ok || !slash || err != nil || err2 != nil || part < 1 || part > parts {
		return false
	}
	if part == 1 {
		*r = resultReader{parts: parts} // the last one counts, and one that is read again is the same
	}
	if part == r.read+1 && parts == r.parts {
		r.read++
		if len(r.text) <= runners.MaxResult {
			r.text = append(r.text, text...)
		}
	}
	return true
}

// value is the result, or nil. The error says why one that was there is none, with its reason.
func (r *resultReader) value() (json.RawMessage, error) {
	switch text := bytes.TrimSpace(r.text); {
	case r.parts == 0:
		return nil, nil
	case len(text) > runners.MaxResult:
		return nil, runners.Because(schemas.ReasonResultTooLarge, fmt.Errorf("the result is larger than %d bytes: leave it in a bucket and return where it is", runners.MaxResult))
	case r.read < r.parts:
		return nil, runners.Because(schemas.ReasonResultInvalid, fmt.Errorf("the result is not complete: %d of its %d parts are in the log", r.read, r.parts))
	case !json.Valid(text):
		return nil, runners.Because(schemas.ReasonResultInvalid, fmt.Errorf("the result is not JSON"))
	default:
		return text, nil
	}
}
