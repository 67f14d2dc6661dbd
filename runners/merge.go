package runners

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

var errNotJSON = errors.New("the value is not JSON")

// Merge lays job variables over each other as RFC 7396 (JSON Merge Patch) does: a later layer wins, objects merge deeply,
// anything else is replaced whole, and null takes away what lies below. A reference to a secret, {"from_env": …} or
// {"from_file": …}, is a value like any text. No layer is changed.
func Merge(layers ...map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	merged := map[string]json.RawMessage{}
	for _, layer := range layers {
		for name, value := range layer {
			v, err := mergeValue(merged[name], value)
			if err != nil {
				return nil, fmt.Errorf("merge %s: %w", name, err)
			}
			if v == nil {
				delete(merged, name)
			} else {
				merged[name] = v
			}
		}
	}
	return merged, nil
}

// mergeValue returns nil where nothing is left. What needs no merging is passed on as it is written.
func mergeValue(below, above json.RawMessage) (json.RawMessage, error) {
	above = bytes.TrimSpace(above)
	switch {
	case string(above) == "null":
		return nil, nil
	case !isObject(above), !isObject(below) && !bytes.Contains(above, []byte("null")):
		if !json.Valid(above) {
			return nil, errNotJSON
		}
		return above, nil
	}
	patch, err := decode(above)
	if err != nil {
		return nil, err
	}
	var target any
	if isObject(below) {
		if target, err = decode(below); err != nil {
			return nil, err
		}
	}
	return encode(mergePatch(target, patch))
}

func isObject(v json.RawMessage) bool { return len(v) > 0 && v[0] == '{' }

// mergePatch is the function of RFC 7396, section 2. It may change target.
func mergePatch(target, patch any) any {
	over, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = make(map[string]any, len(over))
	}
	for key, value := range over {
		if value == nil {
			delete(object, key)
		} else if isReference(value) || isReference(object[key]) {
			object[key] = mergePatch(nil, value) // two references have nothing to share
		} else {
			object[key] = mergePatch(object[key], value)
		}
	}
	return object
}

// isReference tells whether v, a member of env, stands for a secret that is resolved where the job starts.
func isReference(v any) bool {
	o, ok := v.(map[string]any)
	if !ok || len(o) != 1 {
		return false
	}
	_, env := o["from_env"].(string)
	_, file := o["from_file"].(string)
	_, aws := o["from_aws"].(string)
	return env || file || aws
}

// decode reads one JSON value. Numbers stay as they are written.
func decode(raw json.RawMessage) (any, error) {
	if !json.Valid(raw) {
		return nil, errNotJSON
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}

// encode writes v with sorted keys and without escaping what only HTML minds.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
