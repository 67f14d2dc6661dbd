package schemas

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// InvalidError says for people what is wrong with a message.
type InvalidError struct {
	What     string    // the run request, the parameters, …
	Problems []Problem // at least one, in the order of their fields
}

// Problem is one thing that is wrong.
type Problem struct {
	Field string // work_queues[0].name; empty: the whole message
	Text  string // got text, want a number
}

// maxProblems is how many problems are listed: who mends three can ask again.
const maxProblems = 3

func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString(e.What)
	if strings.HasSuffix(e.What, "s") {
		b.WriteString(" are not valid: ")
	} else {
		b.WriteString(" is not valid: ")
	}
	for i, p := range e.Problems {
		if i == maxProblems {
			fmt.Fprintf(&b, "; and %d more", len(e.Problems)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.String())
	}
	return b.String()
}

func (p Problem) String() string {
	if p.Field == "" {
		return p.Text
	}
	return p.Field + ": " + p.Text
}

// path writes a location as people do: parameters.rows[3].name.
func path(root string, location []string, doc any) string {
	var b strings.Builder
	b.WriteString(root)
	for _, key := range location {
		switch in := doc.(type) {
		case []any:
			fmt.Fprintf(&b, "[%s]", key)
			doc = nil
			if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(in) {
				doc = in[i]
			}
		case map[string]any:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(key)
			doc = in[key]
		}
	}
	return clip(b.String())
}

// problems turns the validator's tree of causes into a list. root is the path of doc itself.
func problems(err *jsonschema.ValidationError, schema *jsonschema.Schema, doc any, root string) []Problem {
	var list []Problem
	for _, leaf := range leaves(err) {
		list = append(list, describe(leaf, schema, doc, root)...)
	}
	slices.SortFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(list) // two branches of a schema may say the same
}

// leaves returns the causes that say something by themselves. Of the forms that anyOf and oneOf offer, only the one that fits
// best is told, by how deep inside the value it fails.
func leaves(err *jsonschema.ValidationError) []*jsonschema.ValidationError {
	var all []*jsonschema.ValidationError
	forms := make([][]*jsonschema.ValidationError, len(err.Causes))
	for i, cause := range err.Causes {
		forms[i] = leaves(cause)
		all = append(all, forms[i]...)
	}
	switch err.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		if len(all) == 0 { // oneOf that fits twice
			return []*jsonschema.ValidationError{err}
		}
		if t := anyType(err, all); t != nil {
			return []*jsonschema.ValidationError{t}
		}
		return slices.MaxFunc(forms, func(a, b []*jsonschema.ValidationError) int {
			return cmp.Or(cmp.Compare(depth(a), depth(b)), cmp.Compare(len(b), len(a)))
		})
	}
	if len(all) == 0 {
		return []*jsonschema.ValidationError{err}
	}
	return all
}

// depth is how far inside the value its first failure is; a wrong type is further from fitting than anything else.
func depth(leaves []*jsonschema.ValidationError) int {
	if len(leaves) == 0 {
		return -1
	}
	if _, ok := leaves[0].ErrorKind.(*kind.Type); ok {
		return 2 * len(leaves[0].InstanceLocation)
	}
	return 2*len(leaves[0].InstanceLocation) + 1
}

// anyType makes one cause of forms that all want another type at the same place, as an optional value has.
func anyType(err *jsonschema.ValidationError, all []*jsonschema.ValidationError) *jsonschema.ValidationError {
	merged := kind.Type{}
	for _, leaf := range all {
		t, ok := leaf.ErrorKind.(*kind.Type)
		if !ok || len(leaf.InstanceLocation) != len(err.InstanceLocation) {
			return nil
		}
		merged.Got = t.Got
		merged.Want = append(merged.Want, t.Want...)
	}
	return &jsonschema.ValidationError{SchemaURL: err.SchemaURL, InstanceLocation: err.InstanceLocation, ErrorKind: &merged}
}
