package schemas

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/<name>.golden.json, as indented JSON.
func golden(t testing.TB, name string, got []byte) {
	t.Helper()
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	file := filepath.Join("testdata", name+".golden.json")
	if *update {
		if err := os.WriteFile(file, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), indented.String()); diff != "" {
		t.Errorf("%s (-want +got), rewrite with go test -update:\n%s", file, diff)
	}
}

// published is each schema with the Go type that it describes.
var published = []struct {
	schema *Schema
	value  any
}{
	{RunRequestSchema, RunRequest{}},
	{RunEventSchema, RunEvent{}},
	{PoolSchema, Pool{}},
	{DeploymentSchema, Deployment{}},
	{WorkerSchema, Worker{}},
	{DeadLetterSchema, DeadLetter{}},
}

// jsonSchema is the part of a JSON Schema that the tests read.
type jsonSchema struct {
	ID                   string                `json:"$id"`
	Draft                string                `json:"$schema"`
	Ref                  string                `json:"$ref"`
	Title                string                `json:"title"`
	Description          string                `json:"description"`
	Type                 any                   `json:"type"`
	Enum                 []string              `json:"enum"`
	Format               string                `json:"format"`
	Pattern              string                `json:"pattern"`
	Maximum              float64               `json:"maximum"`
	Required             []string              `json:"required"`
	AdditionalProperties any                   `json:"additionalProperties"`
	Properties           map[string]jsonSchema `json:"properties"`
	Items                *jsonSchema           `json:"items"`
	Defs                 map[string]jsonSchema `json:"$defs"`
	Examples             []json.RawMessage     `json:"examples"`
}

func readSchema(t testing.TB, s *Schema) jsonSchema {
	t.Helper()
	var o jsonSchema
	if err := json.Unmarshal(s.JSON(), &o); err != nil {
		t.Fatalf("%s: %v", s.ID(), err)
	}
	return o
}

func TestSchemas_areEachPublishedWithAType(t *testing.T) {
	want, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != len(published) {
		t.Errorf("got %d schemas with a type, want the %d files", len(published), len(want))
	}
	for _, p := range published {
		o := readSchema(t, p.schema)
		if o.ID != p.schema.ID() || !strings.HasPrefix(o.ID, "https://weir.run/schemas/v1/") {
			t.Errorf("%s: got $id %q, want %q", p.schema.file(), o.ID, p.schema.ID())
		}
		if o.Draft != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s: got $schema %q, want 2020-12", p.schema.file(), o.Draft)
		}
		if o.Title == "" || o.Description == "" {
			t.Errorf("%s has no title or description", p.schema.file())
		}
	}
}

func TestSchemas_onlyRequestsAreClosed(t *testing.T) {
	for _, p := range published {
		closed := readSchema(t, p.schema).AdditionalProperties == false
		if want := p.schema == RunRequestSchema; closed != want {
			t.Errorf("%s: got closed %v, want %v", p.schema.file(), closed, want)
		}
	}
}

func TestSchemas_examplesAreValidAndReadBack(t *testing.T) {
	for _, p := range published {
		examples := readSchema(t, p.schema).Examples
		if len(examples) == 0 {
			t.Errorf("%s has no example", p.schema.file())
		}
		for i, example := range examples {
			if err := Validate(p.schema, example); err != nil {
				t.Errorf("%s, example %d: %v", p.schema.file(), i, err)
			}
			v := reflect.New(reflect.TypeOf(p.value))
			if err := json.Unmarshal(example, v.Interface()); err != nil {
				t.Errorf("%s, example %d: %v", p.schema.file(), i, err)
			}
		}
	}
}

func TestSchemas_agreeWithGoTypes(t *testing.T) {
	for _, p := range published {
		o := readSchema(t, p.schema)
		agree(t, p.schema.file(), reflect.TypeOf(p.value), o, o.Defs)
	}
}

// agree demands the same fields on both sides, with matching types, and that exactly those Go always writes are required.
func agree(t *testing.T, where string, typ reflect.Type, o jsonSchema, defs map[string]jsonSchema) {
	t.Helper()
	known, required := map[string]bool{}, []string{}
	for f := range typ.Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		known[name] = true
		if option == "" {
			required = append(required, name)
		}
		property, ok := o.Properties[name]
		if !ok {
			t.Errorf("%s: %s.%s (%s) is not in the schema", where, typ.Name(), f.Name, name)
			continue
		}
		if property.Description == "" {
			t.Errorf("%s: %s has no description", where, name)
		}
		if def, ok := strings.CutPrefix(property.Ref, "#/$defs/"); ok {
			property = defs[def]
		}
		if f.Type == reflect.TypeFor[json.RawMessage]() {
			continue // any JSON; the schema may say more
		}
		if got, want := typesOf(property), goTypes(f.Type); !cmp.Equal(got, want) {
			t.Errorf("%s: got %s of type %v, want %v for Go's %s", where, name, got, want, f.Type)
		}
		if wantFormat := f.Type == reflect.TypeFor[time.Time]() || f.Type == reflect.TypeFor[*time.Time](); wantFormat != (property.Format == "date-time") {
			t.Errorf("%s: got %s with format %q, and Go's type is %s", where, name, property.Format, f.Type)
		}
		if f.Type == reflect.TypeFor[*Retries]() {
			agree(t, where+" "+name, f.Type.Elem(), property, defs)
		}
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			item := *property.Items
			if def, ok := strings.CutPrefix(item.Ref, "#/$defs/"); ok {
				item = defs[def]
			}
			agree(t, where+" "+name, f.Type.Elem(), item, defs)
		}
	}
	for name := range o.Properties {
		if !known[name] {
			t.Errorf("%s: %s is not in Go's %s", where, name, typ.Name())
		}
	}
	slices.Sort(required)
	if got := slices.Sorted(slices.Values(o.Required)); !slices.Equal(got, required) {
		t.Errorf("%s: got required %v, want what Go never omits: %v", where, got, required)
	}
}

func typesOf(o jsonSchema) []string {
	switch typ := o.Type.(type) {
	case string:
		return []string{typ}
	case []any:
		var list []string
		for _, one := range typ {
			list = append(list, one.(string))
		}
		slices.Sort(list)
		return list
	}
	if len(o.Enum) > 0 {
		return []string{"string"}
	}
	return []string{"any"}
}

// goTypes are the JSON types that a Go type is written as or read from.
func goTypes(typ reflect.Type) []string {
	switch typ {
	case reflect.TypeFor[time.Time]():
		return []string{"string"}
	case reflect.TypeFor[Duration]():
		return []string{"number", "string"}
	case reflect.TypeFor[Command]():
		return []string{"array", "string"}
	case reflect.TypeFor[Retries]():
		return []string{"integer", "object"}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return goTypes(typ.Elem())
	case reflect.String:
		return []string{"string"}
	case reflect.Bool:
		return []string{"boolean"}
	case reflect.Float64:
		return []string{"number"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return []string{"integer"}
	case reflect.Map:
		return []string{"object"}
	case reflect.Slice:
		return []string{"array"}
	default:
		return []string{typ.String()}
	}
}

func TestSchemas_listTheStatesAndReasonsOfGo(t *testing.T) {
	event, worker, dead := readSchema(t, RunEventSchema), readSchema(t, WorkerSchema), readSchema(t, DeadLetterSchema)
	for name, list := range map[string][2]any{
		"states":              {event.Properties["state"].Enum, texts(States)},
		"reasons":             {event.Properties["reason"].Enum, texts(Reasons)},
		"dead letter reasons": {dead.Properties["reason"].Enum, texts(Reasons)},
		"worker statuses":     {worker.Properties["status"].Enum, texts([]WorkerStatus{WorkerOnline, WorkerDraining, WorkerOffline})},
	} {
		if diff := cmp.Diff(list[1], list[0]); diff != "" {
			t.Errorf("%s (-Go +schema):\n%s", name, diff)
		}
	}
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = string(list[i])
	}
	return out
}

func TestSchemas_sharePatternsWithGo(t *testing.T) {
	for _, p := range published {
		for name, def := range readSchema(t, p.schema).Defs {
			want := map[string]string{"name": namePattern, "duration": durationPattern, "cause": causePattern}[name]
			if def.Pattern != want {
				t.Errorf("%s: got %s with pattern %q, want %q", p.schema.file(), name, def.Pattern, want)
			}
			if name == "duration" && def.Maximum != maxDuration.Seconds() {
				t.Errorf("%s: got at most %v seconds, want %v", p.schema.file(), def.Maximum, maxDuration.Seconds())
			}
		}
	}
}

// What Go writes has to fit the schema, with nothing set and with everything set.
func TestSchemas_takeWhatGoWrites(t *testing.T) {
	for _, p := range published {
		v := reflect.New(reflect.TypeOf(p.value)).Elem()
		fill(v)
		body, err := json.Marshal(v.Interface())
		if err != nil {
			t.Fatal(err)
		}
		if err := Validate(p.schema, body); err != nil {
			t.Errorf("%s with every field: %v\n%s", p.schema.file(), err, body)
		}
		var fields map[string]any
		if err := json.Unmarshal(body, &fields); err != nil {
			t.Fatal(err)
		}
		want := slices.Sorted(maps.Keys(readSchema(t, p.schema).Properties))
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(fields))); diff != "" {
			t.Errorf("%s: fields that fill did not set (-want +got):\n%s", p.schema.file(), diff)
		}
	}
}

// fill sets every field of a struct to a value that is not its zero value.
func fill(v reflect.Value) {
	switch v.Interface().(type) {
	case State:
		v.Set(reflect.ValueOf(Running))
		return
	case Reason:
		v.Set(reflect.ValueOf(ReasonHeld))
		return
	case WorkerStatus:
		v.Set(reflect.ValueOf(WorkerOnline))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 31, 15, 4, 5, 123e6, time.UTC)))
		return
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage(`{"a":1}`)))
		return
	case Cause:
		v.Set(reflect.ValueOf(Cause("exit:75")))
		return
	case PoliteSignal:
		v.Set(reflect.ValueOf(PoliteSignals[1]))
		return
	case ExitCodes:
		v.Set(reflect.ValueOf(ExitCodes{"3": EndCompleted, "100": EndCancelled, "75": EndRetry}))
		return
	case Duration:
		v.Set(reflect.ValueOf(Duration(1500 * time.Millisecond)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.String:
		v.SetString("a")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(3)
	case reflect.Uint64:
		v.SetUint(3)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		element := reflect.New(v.Type().Elem()).Elem()
		fill(element)
		v.SetMapIndex(reflect.ValueOf("a"), element)
	}
}
