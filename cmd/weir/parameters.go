package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/weir-run/weir/schemas"
)

// readPairs reads KEY=VALUE flags. value turns the text of one into JSON.
func readPairs(flag string, pairs []string, value func(key, text string) (json.RawMessage, error)) (map[string]json.RawMessage, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	out := make(map[string]json.RawMessage, len(pairs))
	for _, pair := range pairs {
		key, text, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("%s %q is not KEY=VALUE", flag, pair)
		}
		v, err := value(key, text)
		if err != nil {
			return nil, err
		}
		out[key] = v
	}
	return out, nil
}

// looseValue is text as JSON where it is JSON, else as a string.
func looseValue(_, text string) (json.RawMessage, error) {
	if trimmed := strings.TrimSpace(text); json.Valid([]byte(trimmed)) {
		return json.RawMessage(trimmed), nil
	}
	return jsonString(text), nil
}

// strictValue is text that must be JSON.
func strictValue(key, text string) (json.RawMessage, error) {
	if !json.Valid([]byte(text)) {
		return nil, usagef("--param-json %s=%s: the value is not JSON", key, text)
	}
	return json.RawMessage(text), nil
}

func jsonString(s string) json.RawMessage {
	b, _ := json.Marshal(s) // a string always encodes
	return b
}

// typedValue reads text as the parameter schema has the parameter: as JSON where its type is allowed, else, where text is
// allowed, as text. So 0123 and 5 are text for a parameter that takes a string.
func typedValue(schema json.RawMessage) func(key, text string) (json.RawMessage, error) {
	properties := properties(schema)
	return func(key, text string) (json.RawMessage, error) {
		value, err := looseValue(key, text)
		kinds := kindsOf(properties[key])
		if err == nil && slices.Contains(kinds, "string") && !slices.ContainsFunc(kinds, func(k string) bool { return isKind(value, k) }) {
			return jsonString(text), nil
		}
		return value, err
	}
}

// isKind tells whether a JSON value may be of a JSON Schema type, by how it begins.
func isKind(value json.RawMessage, kind string) bool {
	switch value[0] {
	case '"':
		return kind == "string"
	case '{':
		return kind == "object"
	case '[':
		return kind == "array"
	case 't', 'f':
		return kind == "boolean"
	case 'n':
		return kind == "null"
	}
	return kind == "number" || kind == "integer"
}

func properties(schema json.RawMessage) map[string]json.RawMessage {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	_ = json.Unmarshal(schema, &s) // no schema, no properties
	return s.Properties
}

// parameterNames lists what a parameter schema declares.
func parameterNames(schema json.RawMessage) []string {
	return slices.Sorted(maps.Keys(properties(schema)))
}

// kindsOf lists the JSON types a property's schema allows at its top, as far as it says.
func kindsOf(property json.RawMessage) []string {
	var p struct {
		Type  json.RawMessage   `json:"type"`
		AnyOf []json.RawMessage `json:"anyOf"`
	}
	if json.Unmarshal(property, &p) != nil {
		return nil
	}
	var one string
	if json.Unmarshal(p.Type, &one) == nil && one != "" {
		return []string{one}
	}
	var kinds []string
	_ = json.Unmarshal(p.Type, &kinds) // absent or of another form: none
	for _, form := range p.AnyOf {
		kinds = append(kinds, kindsOf(form)...)
	}
	return kinds
}

// checkParameters refuses what the worker would refuse: the run's parameters over the deployment's own.
func checkParameters(d schemas.Deployment, params map[string]json.RawMessage) error {
	all := map[string]json.RawMessage{}
	maps.Copy(all, d.Parameters)
	maps.Copy(all, params)
	object, err := json.Marshal(all)
	if err != nil {
		return usagef("the parameters are not JSON: %v", err)
	}
	return schemas.CheckParameters(d.ParameterSchema, object)
}
