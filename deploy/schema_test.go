package deploy

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
)

func names[T any](known []key[T]) []string {
	all := key[T]{}.names(known)
	slices.Sort(all)
	return all
}

func TestSchema_knowsTheKeysThatTheLoaderKnows(t *testing.T) {
	raw, err := os.ReadFile("weir.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	type object struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Closed     *bool                      `json:"additionalProperties"`
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what   string
		schema object
		loader []string
	}{
		{"the file", schema.object, names(rootKeys)},
		{"pool", schema.Defs["pool"], names(poolKeys)},
		{"work_queue", schema.Defs["work_queue"], names(queueKeys)},
		{"deployment", schema.Defs["deployment"], names(deploymentKeys)},
		{"work_pool", schema.Defs["work_pool"], names(workPoolKeys)},
	} {
		if diff := cmp.Diff(keys(tt.schema.Properties), tt.loader); diff != "" {
			t.Errorf("%s (-schema +loader)\n%s", tt.what, diff)
		}
		if tt.schema.Closed == nil || *tt.schema.Closed {
			t.Errorf("%s: the schema lets unknown keys pass", tt.what)
		}
	}
}

func TestSchema_agreesWithTheLoader(t *testing.T) {
	raw, err := os.ReadFile("weir.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := schemas.CompileObject("the file", "", raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{
		"guide": true, "prefect-full": true, "weir": true, "entrypoints": true, "bad/keys": false, "bad/list": false,
	} {
		data, err := os.ReadFile("testdata/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		src := newSource(name, data)
		root := parseYAML(src, data)
		if err := src.err(); err != nil {
			t.Fatal(err)
		}
		if err := schema.Check(root.JSON()); (err == nil) != good {
			t.Errorf("%s: got %v, want valid: %t", name, err, good)
		}
	}
}
