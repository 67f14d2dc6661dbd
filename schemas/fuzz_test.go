package schemas

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func addExamples(f *testing.F, s *Schema) {
	f.Helper()
	for _, example := range readSchema(f, s).Examples {
		f.Add([]byte(example))
	}
}

// Whatever is published, it is read or refused in a short sentence, and what was read is written and read back the same.
func FuzzParseRunRequest(f *testing.F) {
	addExamples(f, RunRequestSchema)
	for _, body := range []string{
		``, ` `, `{`, `null`, `[]`, `'{}'`, `{}{}`, `{"tags":[],"tags":[]}`, `{"timeout":1e999999999}`, `{"timeout":"87601h"}`, `{"timeout":"+1s"}`,
		`{"expires_at":"2016-12-31T23:59:60Z"}`, `{"expires_at":"2026-01-31t15:04:05z"}`, `{"parameters":{"":{"":[{}]}}}`, "{\"tags\":[\"\xff\"]}",
		`{"parameters":` + strings.Repeat("[", 120) + strings.Repeat("]", 120) + `}`, `{"paramters":1}`, `{"tags":["\ud800"]}`, "\ufeff{}",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseRunRequest(body)
		if err != nil {
			if len(err.Error()) > 4000 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			if _, ok := errors.AsType[*InvalidError](err); !ok && len(body) <= MaxRequest {
				t.Fatalf("got a %T, want an *InvalidError", err)
			}
			return
		}
		first, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRunRequest(first)
		if err != nil {
			t.Fatalf("%s is refused: %v", first, err)
		}
		if second, err := json.Marshal(again); err != nil || string(second) != string(first) {
			t.Fatalf("got %s, %v, want %s", second, err, first)
		}
	})
}

func FuzzDecodeRunEvent(f *testing.F) {
	goldens, err := filepath.Glob("testdata/event-*.golden.json")
	if err != nil || len(goldens) == 0 {
		f.Fatalf("no golden events: %v", err)
	}
	for _, file := range goldens {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"specversion":"1.0","data":null}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := DecodeRunEvent(body)
		if err != nil {
			return
		}
		first, err := EncodeRunEvent(e, 0, "")
		if err != nil {
			return // years past 9999 are read and not written
		}
		if want := byReflection(t, e, 0, ""); string(first) != want {
			t.Fatalf("got %s, want %s", first, want)
		}
		if _, err := DecodeRunEvent(first); err != nil {
			t.Fatalf("%s is refused: %v", first, err)
		}
	})
}

func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"", "my-flow", "my flow", "a.b", "*", ">", "日本", strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("a.", 40), "\x00", "\xff"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := CheckName("pool", name)
		if (err == nil) != ValidName(name) {
			t.Fatalf("got %v, and valid is %v", err, ValidName(name))
		}
		if e, ok := errors.AsType[*NameError](err); ok && e.Nearest != "" && !ValidName(e.Nearest) {
			t.Fatalf("%q: the nearest name %q is not valid either", name, e.Nearest)
		}
		if err == nil && (strings.ContainsAny(name, ".*> \t\r\n") || len(name) > MaxName) {
			t.Fatalf("%q is no token of a subject", name)
		}
	})
}

func FuzzSplitCommand(f *testing.F) {
	for text := range commands {
		f.Add(text)
	}
	f.Add(`a 'b`)
	f.Add(`a "b\`)
	f.Add(`a | b`)
	f.Fuzz(func(t *testing.T, text string) {
		words, err := SplitCommand(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "command: ") || words != nil {
				t.Fatalf("got %q, %v", words, err)
			}
			return
		}
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		again, err := SplitCommand(strings.Join(quoted, " "))
		if err != nil || strings.Join(again, "\x00") != strings.Join(words, "\x00") || len(again) != len(words) {
			t.Fatalf("%q: got %q, %v after quoting, want %q", text, again, err, words)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"0", "90s", "1h30m", "1.5h", ".5s", "-1s", "+1s", "", "99999999999h", "87600h", "3µs"} {
		f.Add(text, 0.0)
	}
	for _, seconds := range []float64{0.57, 1e-9, -1, 1e300, 315360000} {
		f.Add("", seconds)
	}
	f.Fuzz(func(t *testing.T, text string, seconds float64) {
		for _, v := range []any{text, seconds} {
			d, err := ParseDuration(v)
			if err != nil {
				continue
			}
			if d < 0 || time.Duration(d) > maxDuration {
				t.Fatalf("%v: got %v", v, time.Duration(d))
			}
			body, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			var back Duration
			if err := json.Unmarshal(body, &back); err != nil {
				t.Fatal(err)
			}
			// Seconds are a float64: exact to the nanosecond up to 26 days, to the microsecond beyond.
			if off := time.Duration(d - back).Abs(); off > time.Microsecond || off > 0 && d < 1<<51 {
				t.Fatalf("%v: got %v back from %s", v, time.Duration(back), body)
			}
		}
	})
}

func FuzzCheckParameters(f *testing.F) {
	for _, params := range []string{
		``, `{}`, `[]`, `{"day":"2026-01-31"}`, `{"day":1,"rows":"x","tables":[{"name":"A"},{}],"source":{"bucket":1}}`, `{"a":1e999999999}`, `{"day":"2026-01-31","x":{"a":1,"a":2}}`,
	} {
		f.Add([]byte(etlParameters), []byte(params))
	}
	for _, schema := range []string{
		``, `true`, `false`, `{"$ref":"#"}`, `{"$ref":"https://example.com/s"}`, `{"type":"strng"}`, `{"$id":"a/b","$ref":"c"}`, `{"$schema":"http://json-schema.org/draft-07/schema#"}`,
		`{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"anyOf":[{"$ref":"#"},{"type":"null"}]}}}`, `{"$dynamicRef":"#x","$dynamicAnchor":"x"}`, `{"multipleOf":0}`,
		`{"properties":{"a":{"multipleOf":1e-300}}}`, `{"patternProperties":{"^a":false},"unevaluatedProperties":false,"propertyNames":{"maxLength":2},"minProperties":1}`,
	} {
		f.Add([]byte(schema), []byte(`{"a":1,"abc":[1,1]}`))
	}
	f.Fuzz(func(t *testing.T, schema, params []byte) {
		err := CheckParameters(schema, params)
		if err == nil {
			return
		}
		if _, ok := errors.AsType[*InvalidError](err); ok && len(err.Error()) > 4000 {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
		if utf8.Valid(schema) && utf8.Valid(params) && !utf8.ValidString(err.Error()) {
			t.Fatalf("the error is not UTF-8: %q", err)
		}
	})
}
