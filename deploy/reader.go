package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-run/weir/schemas"
)

// A key is one that a mapping of type T in a project file may have. Exactly one of read and note is set.
type key[T any] struct {
	name string
	read func(r *reader, to *T, f field)
	note string // for a key that is known and not applied: why, as the end of a sentence that starts with the key
}

// reader turns values into records. What is wrong is collected in source.
type reader struct {
	*source
	project *Project
	ignored []ignored
}

// readMapping reads each key of v by its entry in known. A key without a value says nothing and is passed over.
func readMapping[T any](r *reader, v *value, what string, known []key[T], to *T) {
	if v.kind != mapping {
		r.fail(v.at, "%s: got %s, want a mapping of keys and values", what, v.kind)
		return
	}
	for _, f := range v.fields {
		i := slices.IndexFunc(known, func(k key[T]) bool { return k.name == f.key })
		switch {
		case i < 0:
			r.unknown(f, what, known[0].names(known))
		case f.value.kind == null:
		case known[i].read != nil:
			known[i].read(r, to, f)
		case !saysNothing(f.value):
			r.ignore(f.at, f.key, known[i].note)
		}
	}
}

func (key[T]) names(known []key[T]) []string {
	names := make([]string, len(known))
	for i := range known {
		names[i] = known[i].name
	}
	return names
}

// saysNothing tells whether a key that is not applied has a value that changes nothing in Prefect either.
func saysNothing(v *value) bool {
	return (v.kind == list || v.kind == mapping) && len(v.items)+len(v.fields) == 0 || string(v.json) == "false" || string(v.json) == `""`
}

// under says where a key belongs that people write one level too high.
var under = map[string]string{
	"job_variables": "work_pool", "work_queue_name": "work_pool", "entrypoint": "deployments", "parameters": "deployments", "work_pool": "deployments",
	"work_queues": "pools", "ack_wait": "pools", "base_job_template": "pools",
}

func (r *reader) unknown(f field, what string, known []string) {
	if strings.HasPrefix(f.key, "x-") {
		return // a place for anchors, as in Compose files
	}
	hint := didYouMean(f.key, known)
	if home := under[f.key]; home != "" {
		hint = "; it belongs under " + home
	} else if hint == "" {
		hint = "; there are " + strings.Join(known, ", ")
	}
	r.fail(f.at, "unknown key %q in %s%s", f.key, what, hint)
}

// text reads text; a number stands for its digits, as in version: 1.2.
func (r *reader) text(f field) string {
	if f.value.kind != text && f.value.kind != number {
		r.fail(f.value.at, "%s: got %s, want text", f.key, f.value.kind)
		return ""
	}
	r.prefectReads(f.key, f.value)
	return f.value.text
}

// name reads a name that becomes part of a subject.
func (r *reader) name(f field, what string) string {
	if f.value.kind != text && f.value.kind != number {
		r.fail(f.value.at, "%s: got %s, want text", f.key, f.value.kind)
		return ""
	}
	if t := template.FindString(f.value.text); t != "" {
		r.fail(f.value.at, "%s: weir does not fill in %s: write the name itself", f.key, t)
		return ""
	}
	if err := schemas.CheckName(what, f.value.text); err != nil {
		r.fail(f.value.at, "%s", err)
		return ""
	}
	return f.value.text
}

// plainText reads text that could not work with a template in it.
func (r *reader) plainText(f field) string {
	if f.value.kind == text {
		if t := template.FindString(f.value.text); t != "" {
			r.fail(f.value.at, "%s: weir does not fill in %s: write the value itself", f.key, t)
			return ""
		}
	}
	return r.text(f)
}

func (r *reader) integer(f field, least, most int) int {
	n, err := strconv.Atoi(string(f.value.json))
	if f.value.kind != number || err != nil || n < least || n > most {
		got := string(f.value.kind)
		if f.value.kind == number {
			got = f.value.text
		}
		if most == noLimit {
			r.fail(f.value.at, "%s: got %s, want a whole number from %d", f.key, got, least)
		} else {
			r.fail(f.value.at, "%s: got %s, want a whole number from %d to %d", f.key, got, least, most)
		}
		return 0
	}
	return n
}

const noLimit = 1 << 30

func (r *reader) duration(f field) schemas.Duration {
	var v any
	switch f.value.kind {
	case text:
		v = f.value.text
	case number:
		n, err := strconv.ParseFloat(string(f.value.json), 64)
		if err != nil {
			r.fail(f.value.at, "%s: %s is out of range", f.key, f.value.text)
			return 0
		}
		v = n
	default:
		r.fail(f.value.at, "%s: got %s, want seconds (90) or a number with a unit (90s, 10m, 1h30m)", f.key, f.value.kind)
		return 0
	}
	d, err := schemas.ParseDuration(v)
	if err != nil {
		r.fail(f.value.at, "%s: %s", f.key, err)
	}
	return d
}

func (r *reader) texts(f field) []string {
	if f.value.kind == text && template.MatchString(f.value.text) {
		r.prefectReads(f.key, f.value)
		return []string{f.value.text}
	}
	if f.value.kind != list {
		r.fail(f.value.at, "%s: got %s, want a list of texts", f.key, f.value.kind)
		return nil
	}
	var all []string
	for _, item := range f.value.items {
		all = append(all, r.text(field{key: f.key, at: item.at, value: item}))
	}
	return all
}

// object reads a mapping whose values are anything.
func (r *reader) object(f field) map[string]json.RawMessage {
	if f.value.kind != mapping {
		r.fail(f.value.at, "%s: got %s, want a mapping of names and values", f.key, f.value.kind)
		return nil
	}
	r.prefectReads(f.key, f.value)
	o := make(map[string]json.RawMessage, len(f.value.fields))
	for _, f := range f.value.fields {
		o[f.key] = f.value.JSON()
	}
	return o
}

// didYouMean ends a sentence about name.
func didYouMean(name string, known []string) string {
	if near := schemas.Nearest(name, known); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
