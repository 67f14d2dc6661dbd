package main

import (
	"encoding/json"
	"testing"

	"github.com/weir-run/weir/schemas"
)

const parameterSchema = `{"type":"object","additionalProperties":false,"properties":{
	"name":{"type":"string"},"rows":{"type":"integer"},"when":{"anyOf":[{"type":"string"},{"type":"null"}]},"any":{}}}`

func TestTypedValue_readsTextAsItsType(t *testing.T) {
	t.Parallel()
	read := typedValue(json.RawMessage(parameterSchema))
	for _, tt := range []struct{ key, text, want string }{
		{"name", "Ann", `"Ann"`},
		{"name", "0123", `"0123"`},
		{"name", "5", `"5"`},
		{"name", "true", `"true"`},
		{"name", `"quoted"`, `"quoted"`},
		{"name", "", `""`},
		{"rows", "5", `5`},
		{"rows", "many", `"many"`}, // refused by the schema, with a sentence
		{"when", "null", `null`},
		{"when", "today", `"today"`},
		{"when", "2024", `"2024"`},
		{"any", `{"a":[1]}`, `{"a":[1]}`},
		{"any", "a b", `"a b"`},
		{"unknown", "1", `1`},
	} {
		got, err := read(tt.key, tt.text)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s=%s: got %s, %v, want %s", tt.key, tt.text, got, err, tt.want)
		}
	}
}

func TestRequest_checksParametersFirst(t *testing.T) {
	t.Parallel()
	d := schemas.Deployment{Name: "etl", ParameterSchema: json.RawMessage(parameterSchema), Parameters: map[string]json.RawMessage{"rows": json.RawMessage(`1`)}}
	for _, tt := range []struct {
		name string
		cfg  runConfig
		want string // the parameters; empty: refused
	}{
		{"none", runConfig{}, "null"},
		{"all three", runConfig{paramsObject: `{"rows":2,"name":"a"}`, paramsJSON: []string{"rows=3"}, params: []string{"name=b=c"}}, `{"name":"b=c","rows":3}`},
		{"unknown", runConfig{params: []string{"nmae=x"}}, ""},
		{"wrong type", runConfig{params: []string{"rows=many"}}, ""},
		{"no pair", runConfig{params: []string{"rows"}}, ""},
		{"no JSON", runConfig{paramsJSON: []string{"rows=x"}}, ""},
		{"no object", runConfig{paramsObject: `[1]`}, ""},
	} {
		r, err := tt.cfg.request(d)
		if tt.want == "" {
			if err == nil || exitCode(err) != exitUsage {
				t.Errorf("%s: got %v, want a usage error", tt.name, err)
			}
			continue
		}
		got, _ := json.Marshal(r.Parameters)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

func FuzzTypedValue(f *testing.F) {
	f.Add("name", "0123")
	f.Add("rows", "{")
	read := typedValue(json.RawMessage(parameterSchema))
	f.Fuzz(func(t *testing.T, key, text string) {
		got, err := read(key, text)
		if err != nil || !json.Valid(got) {
			t.Errorf("%q=%q: got %q, %v, want JSON", key, text, got, err)
		}
	})
}
