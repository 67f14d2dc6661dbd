package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What a document from outside may ask of its reader. JSON itself sets no bound, and a few bytes of it can cost minutes:
// 1e999999999 is one number, a million digits long when it is compared exactly.
const (
	maxDepth    = 100  // objects and lists inside each other
	maxDigits   = 1000 // characters of one number
	maxExponent = 308  // powers of ten that a float64 holds
)

// readDocument reads exactly one JSON value. Numbers stay as they are written (json.Number). Unlike encoding/json it
// refuses what two readers would understand differently: a key that is there twice, text that is not UTF-8.
func readDocument(body []byte) (any, error) {
	if !json.Valid(body) {
		return nil, syntaxError(body)
	}
	if !utf8.Valid(body) {
		return nil, errors.New("the text is not UTF-8")
	}
	r := reader{dec: json.NewDecoder(bytes.NewReader(body)), body: body}
	r.dec.UseNumber()
	return r.value(0)
}

type reader struct {
	dec  *json.Decoder
	body []byte
}

func (r *reader) value(depth int) (any, error) {
	t, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if depth == maxDepth {
			return nil, fmt.Errorf("it is nested more than %d deep (%s)", maxDepth, r.place())
		}
		if t == '[' {
			return r.list(depth + 1)
		}
		return r.object(depth + 1)
	case json.Number:
		if err := checkNumber(string(t)); err != nil {
			return nil, fmt.Errorf("%w (%s)", err, r.place())
		}
		return t, nil
	default:
		return t, nil
	}
}

func (r *reader) list(depth int) (any, error) {
	list := []any{}
	for r.dec.More() {
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := r.dec.Token()
	return list, err
}

func (r *reader) object(depth int) (any, error) {
	object := map[string]any{}
	for r.dec.More() {
		t, err := r.dec.Token()
		if err != nil {
			return nil, err
		}
		key := t.(string) // the text is valid JSON, so what comes first in a member is its key
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("the field %q is there twice (%s)", clip(key), r.place())
		}
		if object[key], err = r.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := r.dec.Token()
	return object, err
}

func (r *reader) place() string { return place(r.body, r.dec.InputOffset()) }

// checkNumber refuses numbers that cost more to compare than they are worth.
func checkNumber(s string) error {
	_, exponent, _ := strings.Cut(strings.ToLower(s), "e")
	if exponent != "" {
		if n, err := strconv.Atoi(exponent); err != nil || n > maxExponent || n < -maxExponent {
			return fmt.Errorf("the number %s is out of range", clip(s))
		}
	}
	if len(s) > maxDigits {
		return fmt.Errorf("the number %s has more than %d digits", clip(s), maxDigits)
	}
	return nil
}

// syntaxError says where body stops being JSON. It is called for such a body only.
func syntaxError(body []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(body, &v)
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return fmt.Errorf("not JSON: %w", err)
	}
	what := syntax.Error()
	if strings.HasSuffix(what, "after top-level value") {
		what = "there is more after the end of the JSON value"
	}
	err = fmt.Errorf("not JSON: %s (%s)", what, place(body, syntax.Offset))
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("'")) {
		err = fmt.Errorf("%w: the quotes around JSON belong to the shell", err)
	}
	return err
}

// place tells people where the byte before offset is.
func place(body []byte, offset int64) string {
	before := body[:min(max(offset-1, 0), int64(len(body)))]
	line := bytes.Count(before, []byte("\n"))
	if line == 0 {
		return fmt.Sprintf("byte %d", offset)
	}
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d", line+1, column)
}
