package runners

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// vars reads an object of variables for a test.
func vars(t testing.TB, object string) map[string]json.RawMessage {
	t.Helper()
	if object == "" {
		return nil
	}
	var v map[string]json.RawMessage
	if err := json.Unmarshal([]byte(object), &v); err != nil {
		t.Fatalf("bad test data %s: %v", object, err)
	}
	return v
}

func TestMerge_laterWinsDeeply(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layers []string
		want   string
	}{
		{"nothing", nil, `{}`},
		{"one layer", []string{`{"a":1}`}, `{"a":1}`},
		{"later wins", []string{`{"a":1}`, `{"a":2}`, `{"a":3}`}, `{"a":3}`},
		{"objects merge", []string{`{"env":{"A":"1","B":"1"}}`, `{"env":{"B":"2","C":"2"}}`}, `{"env":{"A":"1","B":"2","C":"2"}}`},
		{"deeply", []string{`{"a":{"b":{"c":1}}}`, `{"a":{"b":{"d":2}}}`}, `{"a":{"b":{"c":1,"d":2}}}`},
		{"lists are replaced", []string{`{"a":[1,2]}`, `{"a":[3]}`}, `{"a":[3]}`},
		{"an object replaces a value", []string{`{"a":1}`, `{"a":{"b":2}}`}, `{"a":{"b":2}}`},
		{"a value replaces an object", []string{`{"a":{"b":2}}`, `{"a":"x"}`}, `{"a":"x"}`},
		{"null removes", []string{`{"a":1,"b":1}`, `{"a":null}`}, `{"b":1}`},
		{"null removes inside", []string{`{"env":{"A":"1","B":"1"}}`, `{"env":{"A":null}}`}, `{"env":{"B":"1"}}`},
		{"null over nothing", []string{`{"a":{"b":null,"c":1}}`}, `{"a":{"c":1}}`},
		{"null and back", []string{`{"a":{"b":1}}`, `{"a":null}`, `{"a":{"c":1}}`}, `{"a":{"c":1}}`},
		{"null in a list stays", []string{`{"a":[null]}`}, `{"a":[null]}`},
		{"the word null in text stays", []string{`{"a":{"b":"null <&>"}}`}, `{"a":{"b":"null <&>"}}`},
		{"digits are kept", []string{`{"a":{"b":12345678901234567890.10}}`, `{"a":{"c":1}}`}, `{"a":{"b":12345678901234567890.10,"c":1}}`},
		{"another kind of reference replaces", []string{`{"env":{"T":{"from_env":"A"}}}`, `{"env":{"T":{"from_file":"B"}}}`}, `{"env":{"T":{"from_file":"B"}}}`},
		{"a reference replaces", []string{`{"env":{"T":{"from_env":"A"}}}`, `{"env":{"T":{"from_env":"B"}}}`}, `{"env":{"T":{"from_env":"B"}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			layers := make([]map[string]json.RawMessage, len(tt.layers))
			for i, l := range tt.layers {
				layers[i] = vars(t, l)
			}
			got, err := Merge(layers...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, asText(t, got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestMerge_refusesWhatIsNotJSON(t *testing.T) {
	for _, bad := range []string{"", "x", "{", `{"a":1`, `"`, `[1,]`} {
		for _, below := range []string{`1`, `{"b":2}`} {
			v, err := Merge(map[string]json.RawMessage{"a": json.RawMessage(below)}, map[string]json.RawMessage{"a": json.RawMessage(bad)})
			if err == nil {
				t.Errorf("Merge(%q over %s) = %s, want an error", bad, below, asText(t, v))
			}
		}
	}
}

// A key holds an object in each layer or in none: where a later layer replaces an object by a value and another puts an
// object back, the order of merging shows, as RFC 7396 has it.
func TestMerge_isAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := layer(t), layer(t), layer(t)
		left := must(Merge(must(Merge(a, b)), c))
		right := must(Merge(a, must(Merge(b, c))))
		flat := must(Merge(a, b, c))
		if l, r, f := asText(t, left), asText(t, right), asText(t, flat); l != r || l != f {
			t.Fatalf("(a+b)+c = %s\na+(b+c) = %s\na+b+c = %s", l, r, f)
		}
	})
}

func must(v map[string]json.RawMessage, err error) map[string]json.RawMessage {
	if err != nil {
		panic(err)
	}
	return v
}

func layer(t *rapid.T) map[string]json.RawMessage {
	l := map[string]json.RawMessage{}
	for k, v := range drawObject(t, 2) {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		l[k] = raw
	}
	return l
}

func drawObject(t *rapid.T, depth int) map[string]any {
	o := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "values") {
		o[rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")] = rapid.OneOf(
			rapid.Just[any](true), rapid.Map(rapid.IntRange(0, 9), func(i int) any { return i }),
			rapid.Map(rapid.IntRange(0, 3), func(i int) any { return make([]int, i) }),
		).Draw(t, "value")
	}
	if depth > 0 {
		for range rapid.IntRange(0, 2).Draw(t, "objects") {
			o[fmt.Sprintf("o%d", rapid.IntRange(0, 2).Draw(t, "object"))] = drawObject(t, depth-1)
		}
	}
	return o
}

func asText(t interface{ Fatal(...any) }, v any) string {
	raw, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
