package deploy

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/weir-run/weir/schemas"
)

// A Diff is what deploying a project would do. Its JSON is stable: everything is in the order of the file.
type Diff struct {
	Pools       []PoolChange       `json:"pools"`
	Deployments []DeploymentChange `json:"deployments"`
}

// Action is what happens to a pool or deployment.
type Action string

// The actions.
const (
	Create    Action = "create"
	Update    Action = "update"
	Unchanged Action = "unchanged"
)

// Change is what happens to one pool or deployment, field by field.
type Change struct {
	Action Action        `json:"action"`
	Name   string        `json:"name"`
	Note   string        `json:"note,omitempty"` // a sentence for people
	Fields []FieldChange `json:"fields"`
}

// FieldChange is what happens to one field. Old or New is nil where there is none.
type FieldChange struct {
	Field string          `json:"field"` // job_variables.env.TOKEN
	Old   json.RawMessage `json:"old,omitempty"`
	New   json.RawMessage `json:"new,omitempty"`
}

// PoolChange is what happens to a pool.
type PoolChange struct {
	Change
	Pool schemas.Pool `json:"-"` // as it will be
}

// DeploymentChange is what happens to a deployment.
type DeploymentChange struct {
	Change
	Deployment schemas.Deployment `json:"-"` // as it will be
}

// Empty tells whether there is nothing to do.
func (d *Diff) Empty() bool {
	return d.count(Create)+d.count(Update) == 0
}

func (d *Diff) count(a Action) int {
	n := 0
	for _, c := range d.changes() {
		if c.Action == a {
			n++
		}
	}
	return n
}

func (d *Diff) changes() []Change {
	all := make([]Change, 0, len(d.Pools)+len(d.Deployments))
	for _, p := range d.Pools {
		all = append(all, p.Change)
	}
	for _, p := range d.Deployments {
		all = append(all, p.Change)
	}
	return all
}

// notShown are the fields of a record that no file sets.
var notShown = []string{"name", "created", "updated"}

// unfolded are the fields that are told name by name even where one side is missing.
var unfolded = []string{"job_variables", "parameters"}

// compare tells how next differs from old, which is nil if there is none.
func compare(name string, old, next any) (Change, error) {
	change := Change{Action: Unchanged, Name: name, Fields: []FieldChange{}}
	var oldRaw json.RawMessage
	if old != nil {
		var err error
		if oldRaw, err = json.Marshal(old); err != nil {
			return change, err
		}
	}
	nextRaw, err := json.Marshal(next)
	if err != nil {
		return change, err
	}
	was, is := members(oldRaw), members(nextRaw)
	for _, key := range inOrder(nextRaw, oldRaw) {
		if !slices.Contains(notShown, key) {
			change.Fields = append(change.Fields, differences(key, was[key], is[key], slices.Contains(unfolded, key))...)
		}
	}
	switch {
	case old == nil:
		change.Action = Create
	case len(change.Fields) > 0:
		change.Action = Update
	}
	return change, nil
}

func differences(path string, old, next json.RawMessage, unfold bool) []FieldChange {
	was, is := members(old), members(next)
	if was != nil && is != nil || unfold && (was != nil || is != nil) {
		var all []FieldChange
		names := keys(is)
		for _, name := range keys(was) {
			if _, both := is[name]; !both {
				names = append(names, name)
			}
		}
		for _, name := range names {
			all = append(all, differences(path+"."+name, was[name], is[name], false)...)
		}
		return all
	}
	if equal(old, next) {
		return nil
	}
	return []FieldChange{{Field: path, Old: old, New: next}}
}

// equal compares what two values mean, not how they are written.
func equal(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	va, errA := decode(a)
	vb, errB := decode(b)
	return errA == nil && errB == nil && reflect.DeepEqual(va, vb)
}

func decode(raw json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// members returns the members of an object, or nil if raw is none.
func members(raw json.RawMessage) map[string]json.RawMessage {
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	return m
}

// inOrder returns the keys of objects in the order in which they come first.
func inOrder(objects ...json.RawMessage) []string {
	var names []string
	for _, raw := range objects {
		d := json.NewDecoder(bytes.NewReader(raw))
		if _, err := d.Token(); err != nil { // the brace
			continue
		}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				break
			}
			var skipped json.RawMessage
			if d.Decode(&skipped) != nil {
				break
			}
			if name, ok := key.(string); ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
