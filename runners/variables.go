package runners

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weir-run/weir/schemas"
)

// Variables is the first part of a base job template: the JSON Schema of the object of all variables, compiled.
type Variables struct {
	Schema json.RawMessage // as it was given

	names    []string                   // declared, sorted
	required []string                   // those that must have a value
	written  map[string]json.RawMessage // defaults as they are written, null among them
	defaults map[string]json.RawMessage // defaults that are values
	compiled *schemas.ObjectSchema
}

// Names returns the declared variables, sorted.
func (v *Variables) Names() []string { return slices.Clone(v.names) }

// Defaults returns the declared variables that have a value without being set.
func (v *Variables) Defaults() map[string]json.RawMessage {
	d, err := Merge(v.defaults)
	if err != nil {
		panic(err) // merged before
	}
	return d
}

// parseVariables reads a template's variables. Prefect writes them in the style of draft 7 and in that of 2020-12: both do.
func parseVariables(raw json.RawMessage) (*Variables, error) {
	if len(raw) == 0 {
		return nil, errors.New(`it is missing: {"type": "object", "properties": {}} declares none`)
	}
	var root map[string]json.RawMessage
	if err := json.Unmarshal(raw, &root); err != nil {
		return nil, fmt.Errorf("want a JSON Schema object: %w", err)
	}
	v := &Variables{Schema: raw, written: map[string]json.RawMessage{}}
	var properties map[string]json.RawMessage
	if p, ok := root["properties"]; ok {
		if err := json.Unmarshal(p, &properties); err != nil {
			return nil, fmt.Errorf("properties: want an object with a schema for each variable: %w", err)
		}
	}
	v.names = sortedKeys(properties)
	for name, property := range properties {
		var schema map[string]json.RawMessage
		if json.Unmarshal(property, &schema) != nil {
			continue // true and false are schemas too
		}
		if value, ok := schema["default"]; ok {
			v.written[name] = value
		}
	}
	if r, ok := root["required"]; ok {
		if err := json.Unmarshal(r, &v.required); err != nil {
			return nil, fmt.Errorf("required: want a list of names: %w", err)
		}
	}
	// What must be there is asked of defaults and overrides together, the rest of overrides only: Prefect's defaults do not
	// always fit Prefect's own schemas.
	delete(root, "required")
	open, err := encode(root)
	if err != nil {
		return nil, err
	}
	if v.compiled, err = schemas.CompileObject("the job variables", "job_variables", open); err != nil {
		return nil, err
	}
	v.defaults, err = Merge(v.written)
	return v, err
}

func (v *Variables) has(name string) bool {
	_, ok := slices.BinarySearch(v.names, name)
	return ok
}

// check returns what is wrong with the given ones of vars, and which required variables are missing.
func (v *Variables) check(vars map[string]json.RawMessage, given map[string]bool) []schemas.Problem {
	overrides := map[string]json.RawMessage{}
	for name := range given {
		if value, ok := vars[name]; ok && v.has(name) {
			overrides[name] = value
		}
	}
	problems := v.mismatches(overrides)
	for _, name := range v.required {
		if _, ok := vars[name]; !ok {
			problems = append(problems, problem(name, "is required by the pool's base job template and has no value"))
		}
	}
	return problems
}

// mismatches returns what of vars does not fit the schema.
func (v *Variables) mismatches(vars map[string]json.RawMessage) []schemas.Problem {
	if len(vars) == 0 {
		return nil
	}
	body, err := encode(withoutReferences(vars))
	if err == nil {
		err = v.compiled.Check(body)
	}
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*schemas.InvalidError](err); ok {
		return e.Problems
	}
	return []schemas.Problem{{Field: "job_variables", Text: err.Error()}}
}

// withoutReferences returns vars with every reference in env as the text it will be where the job starts: Prefect's
// templates allow text only.
func withoutReferences(vars map[string]json.RawMessage) map[string]json.RawMessage {
	raw := vars["env"]
	if !bytes.Contains(raw, []byte(`"from_`)) {
		return vars
	}
	decoded, err := decode(raw)
	env, ok := decoded.(map[string]any)
	if err != nil || !ok {
		return vars
	}
	for name, value := range env {
		if isReference(value) {
			env[name] = "a secret"
		}
	}
	plain, err := encode(env)
	if err != nil {
		return vars
	}
	vars = maps.Clone(vars)
	vars["env"] = plain
	return vars
}
