package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// etlParameters is a schema such as is made of a Python signature.
const etlParameters = `{
	"type": "object", "required": ["day"], "additionalProperties": false,
	"properties": {
		"day": {"type": "string", "format": "date"},
		"rows": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": null},
		"mode": {"enum": ["append", "replace"]},
		"ratio": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
		"tables": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/table"}},
		"source": {"oneOf": [{"type": "string", "minLength": 3}, {"type": "object", "required": ["bucket"], "properties": {"bucket": {"type": "string"}}}]}
	},
	"$defs": {"table": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}}, "required": ["name"], "additionalProperties": false}}
}`

func TestCheckParameters_saysWhatIsWrong(t *testing.T) {
	for params, want := range map[string]string{
		`{"day":"2026-01-31"}`: "",
		`{"day":"2026-01-31","rows":null,"mode":"append","ratio":1,"tables":[{"name":"a"},{"name":"b"}],"source":{"bucket":"x"}}`: "",
		``:                                    `parameters: the field "day" is missing`,
		`{}`:                                  `parameters: the field "day" is missing`,
		`[]`:                                  `parameters: got a list, want an object`,
		`{"day":`:                             `parameters: not JSON: unexpected end of JSON input (byte 7)`,
		`{"day":"31.1."}`:                     `parameters.day: got "31.1.", want a date such as 2026-01-31`,
		`{"day":"2026-01-31","rows":"all"}`:   `parameters.rows: got text, want an integer or null`,
		`{"day":"2026-01-31","rows":1.5}`:     `parameters.rows: got a number, want an integer or null`,
		`{"day":"2026-01-31","mode":"apend"}`: `parameters.mode: got "apend": did you mean "append"?`,
		`{"day":"2026-01-31","mode":3}`:       `parameters.mode: got 3, want one of "append", "replace"`,
		`{"day":"2026-01-31","ratio":0}`:      `parameters.ratio: got 0, want more than 0`,
		`{"day":"2026-01-31","ratio":1.25}`:   `parameters.ratio: got 1.25, want at most 1`,
		`{"day":"2026-01-31","row":1}`:        `parameters: unknown field "row": did you mean "rows"?`,
		`{"day":"2026-01-31","tables":[]}`:    `parameters.tables: has 0 items, want at least 1`,
		`{"day":"2026-01-31","tables":[{"name":"a"},{"nam":"A"}]}`:  `parameters.tables[1]: the field "name" is missing; parameters.tables[1]: unknown field "nam": did you mean "name"?`,
		`{"day":"2026-01-31","tables":[{"name":"A"}]}`:              `parameters.tables[0].name: got "A", want text that matches ^[a-z]+$`,
		`{"day":"2026-01-31","tables":[{"name":"a"},{"name":"a"}]}`: `parameters.tables: items 1 and 2 are the same`,
		`{"day":"2026-01-31","source":"s3"}`:                        `parameters.source: has 2 characters, want at least 3`,
		`{"day":"2026-01-31","source":{"buket":1}}`:                 `parameters.source: the field "bucket" is missing`,
		`{"day":"2026-01-31","source":{"bucket":1}}`:                `parameters.source.bucket: got a number, want text`,
		`{"day":"2026-01-31","source":7}`:                           `parameters.source: got a number, want text or an object`,
	} {
		err := CheckParameters(json.RawMessage(etlParameters), json.RawMessage(params))
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", params, err)
			}
			continue
		}
		if want = "the parameters are not valid: " + want; errText(err) != want {
			t.Errorf("%s:\n got %v\nwant %s", params, err, want)
		}
		if _, ok := errors.AsType[*InvalidError](err); !ok {
			t.Errorf("%s: got a %T, want an *InvalidError", params, err)
		}
	}
}

func TestCheckParameters_withoutSchemaTakesAnyObject(t *testing.T) {
	for _, schema := range []string{"", " ", "true", "{}"} {
		if err := CheckParameters(json.RawMessage(schema), json.RawMessage(`{"a":[1,{"b":null}]}`)); err != nil {
			t.Errorf("schema %q: %v", schema, err)
		}
		if err := CheckParameters(json.RawMessage(schema), json.RawMessage(`3`)); err == nil {
			t.Errorf("schema %q: got no error for a number", schema)
		}
	}
}

func TestCheckParameters_refusesWhatIsNoSchema(t *testing.T) {
	for schema, want := range map[string]string{
		`{"type":"strng"}`:                      `parameter schema: the schema is not valid: type: got "strng": did you mean "string"?`,
		`{"type":`:                              `parameter schema: not JSON: unexpected end of JSON input (byte 8)`,
		`3`:                                     `parameter schema: the schema is not valid: got a number, want true or false or an object`,
		`{"properties":{"a":{"pattern":"("}}}`:  `parameter schema: the schema is not valid: properties.a.pattern: got "(", want a valid regex`,
		`{"$ref":"https://example.com/s.json"}`: `a schema may only refer to its own parts, not to https://example.com/s.json`,
		`{"$ref":"file:///etc/passwd"}`:         `a schema may only refer to its own parts, not to file:///etc/passwd`,
		`{"$schema":"https://example.com/dialect"}`: `a schema may only refer to its own parts`,
		`{"$ref":"#/$defs/none"}`:                   `not found`,
		`{"maximum":1e999999999}`:                   `parameter schema: the number 1e999999999 is out of range`,
	} {
		err := CheckParameters(json.RawMessage(schema), json.RawMessage(`{"a":1}`))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "parameter schema: ") {
			t.Errorf("%s:\n got %v\nwant %s", schema, err, want)
		}
		if _, ok := errors.AsType[*InvalidError](err); ok && !strings.Contains(err.Error(), "the schema is not valid") {
			t.Errorf("%s: got %v, which blames the parameters", schema, err)
		}
	}
}

func TestCheckParameters_readsOlderDrafts(t *testing.T) {
	for _, schema := range []string{
		`{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"n":{"type":"integer"}},"properties":{"n":{"$ref":"#/definitions/n"}}}`,
		`{"properties":{"n":{"type":"integer"},"pair":{"type":"array","items":[{"type":"string"},{"type":"integer"}]}}}`, // draft 7's lists
	} {
		if err := CheckParameters(json.RawMessage(schema), json.RawMessage(`{"n":1}`)); err != nil {
			t.Errorf("%s: %v", schema, err)
		}
		want := "the parameters are not valid: parameters.n: got text, want an integer"
		if err := CheckParameters(json.RawMessage(schema), json.RawMessage(`{"n":"1"}`)); errText(err) != want {
			t.Errorf("%s: got %v, want %s", schema, err, want)
		}
	}
}

// Many workers of one process share the cache, and a stream of ever new schemas does not fill the memory.
func TestCheckParameters_cacheIsSharedAndBounded(t *testing.T) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range maxCached/4 + 10 {
				schema := fmt.Sprintf(`{"properties":{"n":{"const":%d}}}`, w/2*1000+i)
				if err := CheckParameters(json.RawMessage(schema), json.RawMessage(fmt.Sprintf(`{"n":%d}`, w/2*1000+i))); err != nil {
					t.Error(err)
				}
				if err := CheckParameters(json.RawMessage(schema), json.RawMessage(`{"n":-1}`)); err == nil {
					t.Errorf("got no error for another number than %d", i)
				}
			}
		})
	}
	wg.Wait()
	parameterSchemas.mu.Lock()
	defer parameterSchemas.mu.Unlock()
	if n := len(parameterSchemas.byContent); n > maxCached {
		t.Errorf("got %d schemas in the cache, want at most %d", n, maxCached)
	}
}

func BenchmarkCheckParameters(b *testing.B) {
	schema, params := json.RawMessage(etlParameters), json.RawMessage(`{"day":"2026-01-31","rows":100000}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckParameters(schema, params); err != nil {
			b.Fatal(err)
		}
	}
}
