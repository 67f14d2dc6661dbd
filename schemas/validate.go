package schemas

import (
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Validate checks that body is one JSON value that fits s. The error is an [*InvalidError].
func Validate(s *Schema, body []byte) error {
	doc, err := readDocument(body)
	if err != nil {
		return &InvalidError{What: s.what, Problems: []Problem{{Text: err.Error()}}}
	}
	return check(s.what, "", s.compile(), doc)
}

// check validates doc. root is the path under which its problems are named.
func check(what, root string, schema *jsonschema.Schema, doc any) error {
	err := schema.Validate(doc)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return fmt.Errorf("check %s: %w", what, err)
	}
	return &InvalidError{What: what, Problems: problems(invalid, schema, doc, root)}
}
