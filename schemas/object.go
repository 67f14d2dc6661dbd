package schemas

import (
	"encoding/json"
	"errors"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// An ObjectSchema is a JSON Schema from outside, compiled for many checks: a deployment's parameters, a pool's job
// variables.
type ObjectSchema struct {
	what, root string
	schema     *jsonschema.Schema
}

// CompileObject compiles schema. what is what errors call a value of it, root the path under which they name its fields.
// A schema without $schema is read as 2020-12 and, if it is none, as draft 7. It may refer to its own parts only.
func CompileObject(what, root string, schema json.RawMessage) (*ObjectSchema, error) {
	doc, err := readDocument(schema)
	if err != nil {
		return nil, err
	}
	compiled, err := compileDraft(jsonschema.Draft2020, doc)
	if err != nil {
		old, oldErr := compileDraft(jsonschema.Draft7, doc)
		if oldErr != nil {
			return nil, err
		}
		compiled = old
	}
	return &ObjectSchema{what: what, root: root, schema: compiled}, nil
}

func compileDraft(draft *jsonschema.Draft, doc any) (*jsonschema.Schema, error) {
	const id = "urn:weir:object" // a name for the root only; the schema's own $id, if any, wins
	c := newCompiler()
	c.DefaultDraft(draft)
	if err := c.AddResource(id, doc); err != nil {
		return nil, err
	}
	compiled, err := c.Compile(id)
	if wrong, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if cause, ok := errors.AsType[*jsonschema.ValidationError](wrong.Err); ok {
			return nil, &InvalidError{What: "the schema", Problems: problems(cause, nil, doc, "")}
		}
	}
	return compiled, err
}

// Check validates object, one JSON object. What is wrong with it is an [*InvalidError].
func (s *ObjectSchema) Check(object json.RawMessage) error {
	doc, err := readDocument(object)
	if err != nil {
		return &InvalidError{What: s.what, Problems: []Problem{{Field: s.root, Text: err.Error()}}}
	}
	if _, ok := doc.(map[string]any); !ok {
		return &InvalidError{What: s.what, Problems: []Problem{{Field: s.root, Text: "got " + kindOf(doc) + ", want an object"}}}
	}
	return check(s.what, s.root, s.schema, doc)
}
