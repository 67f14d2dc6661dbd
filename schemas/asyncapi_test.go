package schemas

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func readAsyncAPI(t testing.TB) map[string]any {
	t.Helper()
	body, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.UnmarshalWithOptions(body, &doc, yaml.Strict()); err != nil {
		t.Fatalf("asyncapi.yaml: %v", err)
	}
	return doc
}

// at follows keys from v, and fails where there is nothing.
func at[T any](t testing.TB, v any, keys ...string) T {
	t.Helper()
	for i, key := range keys {
		object, ok := v.(map[string]any)
		if v, ok = object[key], ok && object[key] != nil; !ok {
			t.Fatalf("asyncapi.yaml has no %s", strings.Join(keys[:i+1], "."))
		}
	}
	typed, ok := v.(T)
	if !ok {
		t.Fatalf("asyncapi.yaml: got %T at %s, want %T", v, strings.Join(keys, "."), typed)
	}
	return typed
}

func TestAsyncAPI_hasEverySubject(t *testing.T) {
	// package streams spells them for the program; its own test holds the two together.
	want := []string{
		"$KV.weir_config.deployment.{deployment}",
		"$KV.weir_config.pool.{pool}",
		"$KV.weir_config.schema",
		"$KV.weir_locks.{hash}",
		"$KV.weir_runs.{pool}.{deployment}.{run}",
		"$KV.weir_workers.{pool}.{worker}",
		"weir.cancel.{pool}.{run}",
		"weir.dead.{pool}.{queue}.{deployment}",
		"weir.event.run.{pool}.{deployment}.{run}.{state}",
		"weir.log.{pool}.{deployment}.{run}",
		"weir.peer.{kind}",
		"weir.run.{pool}.{queue}.{deployment}",
		"weir.schedule.{pool}.{queue}.{deployment}.retry.{run}.{attempt}",
		"weir.schedule.{pool}.{queue}.{deployment}.{name}",
		"weir.worker.{pool}.{worker}.drain",
		"weir.worker.{pool}.{worker}.has",
	}
	var got []string
	for _, channel := range at[map[string]any](t, readAsyncAPI(t), "channels") {
		got = append(got, at[string](t, channel, "address"))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("channels (-want +got):\n%s", diff)
	}
}

func TestAsyncAPI_describesTheParametersOfEachAddress(t *testing.T) {
	placeholder := regexp.MustCompile(`\{(\w+)\}`)
	for name, channel := range at[map[string]any](t, readAsyncAPI(t), "channels") {
		var want []string
		for _, m := range placeholder.FindAllStringSubmatch(at[string](t, channel, "address"), -1) {
			want = append(want, m[1])
		}
		slices.Sort(want)
		got := slices.Sorted(maps.Keys(at[map[string]any](t, channel, "parameters")))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: parameters (-address +described):\n%s", name, diff)
		}
	}
}

func TestAsyncAPI_everyReferenceResolves(t *testing.T) {
	doc := readAsyncAPI(t)
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case []any:
			for i := range v {
				walk(fmt.Sprintf("%s[%d]", where, i), v[i])
			}
		case map[string]any:
			for key := range v {
				walk(where+"."+key, v[key])
			}
			ref, ok := v["$ref"].(string)
			if !ok {
				return
			}
			if pointer, local := strings.CutPrefix(ref, "#/"); local {
				var target any = doc
				for key := range strings.SplitSeq(pointer, "/") {
					object, _ := target.(map[string]any)
					target = object[key]
				}
				if target == nil {
					t.Errorf("%s: %s leads nowhere", where, ref)
				}
			} else if _, err := files.Open(strings.TrimPrefix(ref, "./")); err != nil {
				t.Errorf("%s: %v", where, err)
			}
		}
	}
	walk("", doc)
}

// Each channel is written to or read from, and only by its own messages.
func TestAsyncAPI_operationsUseEveryChannel(t *testing.T) {
	doc := readAsyncAPI(t)
	used := map[string]bool{}
	for name, operation := range at[map[string]any](t, doc, "operations") {
		action, channel := at[string](t, operation, "action"), at[string](t, operation, "channel", "$ref")
		if action != "send" && action != "receive" {
			t.Errorf("%s: got action %q, want send or receive", name, action)
		}
		used[strings.TrimPrefix(channel, "#/channels/")] = true
		for _, message := range at[[]any](t, operation, "messages") {
			if ref := at[string](t, message, "$ref"); !strings.HasPrefix(ref, channel+"/messages/") {
				t.Errorf("%s: message %s is not of %s", name, ref, channel)
			}
		}
	}
	want := slices.Sorted(maps.Keys(at[map[string]any](t, doc, "channels")))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(used))); diff != "" {
		t.Errorf("channels of operations (-want +got):\n%s", diff)
	}
}

func TestAsyncAPI_agreesWithGo(t *testing.T) {
	doc := readAsyncAPI(t)
	var states []string
	for _, s := range at[[]any](t, doc, "components", "parameters", "state", "enum") {
		states = append(states, s.(string))
	}
	if diff := cmp.Diff(texts(States), states); diff != "" {
		t.Errorf("states (-Go +asyncapi):\n%s", diff)
	}
	var want, required []string
	for f := range reflect.TypeFor[Event[RunEvent]]().Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		want = append(want, name)
		if option == "" {
			required = append(required, name)
		}
	}
	envelope := at[map[string]any](t, doc, "components", "schemas", "runCloudEvent", "schema")
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(at[map[string]any](t, envelope, "properties")))); diff != "" {
		t.Errorf("envelope (-Go +asyncapi):\n%s", diff)
	}
	var got []string
	for _, name := range at[[]any](t, envelope, "required") {
		got = append(got, name.(string))
	}
	if diff := cmp.Diff(required, got); diff != "" {
		t.Errorf("required in the envelope (-Go +asyncapi):\n%s", diff)
	}
	if got := at[string](t, envelope, "properties", "dataschema", "const"); got != runEventSchema {
		t.Errorf("got dataschema %q, want %q", got, runEventSchema)
	}
	contentType := at[string](t, doc, "components", "schemas", "eventHeaders", "properties", "Content-Type", "const")
	if contentType != ContentType {
		t.Errorf("got Content-Type %q, want %q", contentType, ContentType)
	}
}

// A whole message, envelope and data, fits what the document says of it.
func TestAsyncAPI_envelopeTakesWhatIsEncoded(t *testing.T) {
	envelope := at[map[string]any](t, readAsyncAPI(t), "components", "schemas", "runCloudEvent", "schema")
	body, err := json.Marshal(envelope)
	if err != nil {
		t.Fatal(err)
	}
	c := newCompiler()
	for url, text := range map[string][]byte{schemaBase + "envelope.json": body, RunEventSchema.ID(): RunEventSchema.JSON()} {
		doc, err := readDocument(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(url, doc); err != nil {
			t.Fatal(err)
		}
	}
	schema := c.MustCompile(schemaBase + "envelope.json")
	fits := func(e RunEvent, traceParent string) error {
		body, err := EncodeRunEvent(e, 0, traceParent)
		if err != nil {
			return err
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
		if err != nil {
			return err
		}
		return schema.Validate(doc)
	}
	for name, e := range exampleEvents() {
		if err := fits(e, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := fits(RunEvent{State: "lost", Time: time.Now()}, ""); err == nil {
		t.Error("got no error for a state that there is not")
	}
}
