package deploy

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// A value is a part of a YAML file with its place, with anchors, aliases and merge keys resolved.
type value struct {
	at     position
	kind   kind
	text   string          // of text, and of a number as it is written
	plain  bool            // text without quotes
	json   json.RawMessage // of a scalar
	items  []*value        // of a list
	fields []field         // of a mapping, in the order of the file
}

type field struct {
	at    position
	key   string
	value *value
}

type kind string

const (
	null    kind = "nothing"
	boolean kind = "true or false"
	number  kind = "a number"
	text    kind = "text"
	list    kind = "a list"
	mapping kind = "a mapping"
)

// field returns what the mapping holds under key, or nil.
func (v *value) field(key string) *value {
	if v == nil {
		return nil
	}
	for _, f := range v.fields {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

// JSON writes the value with the keys in the order of the file.
func (v *value) JSON() json.RawMessage {
	var b bytes.Buffer
	v.writeJSON(&b)
	return b.Bytes()
}

func (v *value) writeJSON(b *bytes.Buffer) {
	switch v.kind {
	case list:
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.writeJSON(b)
		}
		b.WriteByte(']')
	case mapping:
		b.WriteByte('{')
		for i, f := range v.fields {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quoted(f.key))
			b.WriteByte(':')
			f.value.writeJSON(b)
		}
		b.WriteByte('}')
	default:
		b.Write(v.json)
	}
}

func quoted(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // text always encodes
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// find returns the place of the key or item at path, .env.TOKEN or .list[2], or of what it is in as far as it is there.
func (v *value) find(path string) position {
	if v == nil {
		return position{}
	}
	at := v.at
	for path != "" {
		next, rest, ok := v.step(path)
		if !ok {
			return at
		}
		at, v, path = next.at, next.value, rest
	}
	return at
}

// step goes into the mapping or list by the first part of path.
func (v *value) step(path string) (next field, rest string, ok bool) {
	if index, after, found := strings.Cut(strings.TrimPrefix(path, "["), "]"); found && v.kind == list {
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(v.items) {
			return field{at: v.items[i].at, value: v.items[i]}, after, true
		}
	}
	for _, f := range v.fields { // a key may have dots itself: the longest that fits
		after, found := strings.CutPrefix(path, "."+f.key)
		if found && (after == "" || after[0] == '.' || after[0] == '[') && (!ok || len(f.key) > len(next.key)) {
			next, rest, ok = f, after, true
		}
	}
	return next, rest, ok
}
