package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

const etlSchema = `{"type": "object", "additionalProperties": false, "required": ["day"], "properties": {
	"day": {"type": "string"}, "rows": {"type": "integer", "minimum": 1}, "columns": {"type": "array", "items": {"type": "string"}}}}`

func TestDescribe_tellsWhereEntryPointsAndParametersAreWrong(t *testing.T) {
	p := load(t, "testdata/entrypoints.yaml")
	describe := func(_ context.Context, _, entrypoint string) (json.RawMessage, error) {
		switch entrypoint {
		case "flows/heavy_etl.py:heavy_etl_flow":
			return json.RawMessage(etlSchema), nil
		case "flows/my_flow.py:my_flow":
			return nil, nil
		}
		return nil, errors.New(`flows/my_flow.py has no function "my_flw"; did you mean "my_flow"?`)
	}
	err := p.Describe(t.Context(), describe)
	if _, ok := errors.AsType[FileErrors](err); !ok {
		t.Fatalf("got %v, want FileErrors", err)
	}
	golden(t, "entrypoints.golden.txt", err.Error()+"\n")
}

func TestDescribe_fillsInTheSchemas(t *testing.T) {
	p := load(t, "testdata/weir.yaml")
	var calls atomic.Int32
	describe := func(_ context.Context, dir, entrypoint string) (json.RawMessage, error) {
		calls.Add(1)
		if dir != p.Dir || entrypoint != "flows/heavy_etl.py:heavy_etl_flow" {
			t.Errorf("got %s in %s", entrypoint, dir)
		}
		return json.RawMessage(etlSchema), nil
	}
	for _, tt := range []struct {
		names []string
		calls int32
	}{{[]string{"clean"}, 0}, {[]string{"load"}, 1}, {nil, 2}} {
		if err := p.Describe(t.Context(), describe, tt.names...); err != nil {
			t.Fatal(err)
		}
		if calls.Load() != tt.calls {
			t.Errorf("got %d calls, want %d", calls.Load(), tt.calls)
		}
	}
	for _, d := range p.Deployments {
		if got, want := len(d.ParameterSchema) > 0, d.Entrypoint != ""; got != want {
			t.Errorf("%s has a schema: %t, want %t", d.Name, got, want)
		}
	}
}

func TestDescribe_endsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	describe := func(ctx context.Context, _, _ string) (json.RawMessage, error) {
		cancel(cause)
		return nil, ctx.Err()
	}
	if err := load(t, "testdata/weir.yaml").Describe(ctx, describe); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
}

// Whether a file that is not beside the project file is missing depends on where the job runs.
func TestPlan_missesAnEntryPointsFileWhereTheJobBringsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(path, []byte(`pools:
  - {name: machines, type: process}
  - {name: images, type: image}
deployments:
  - {name: here, entrypoint: "flow.py:main", work_pool: {name: machines}}
  - {name: there, entrypoint: "/app/flow.py:main", work_pool: {name: images}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	none := func(context.Context, string, string) (json.RawMessage, error) { return nil, nil }
	if err := p.Describe(t.Context(), none); err != nil {
		t.Fatal(err)
	}
	image := types[0]
	image.Name, image.OwnFiles = "image", true
	opts := Options{Types: append(slices.Clone(types), image)}
	_, err = Plan(t.Context(), newRecords(), p, opts)
	if all, ok := errors.AsType[FileErrors](err); !ok || len(all) != 1 || all[0].Line != 5 || !strings.Contains(all[0].Message, "flow.py:main: there is no such file") {
		t.Errorf("got %v, want the first deployment's file missed", err)
	}
	opts.Names = []string{"there"}
	diff, err := Plan(t.Context(), newRecords(), p, opts)
	if err != nil {
		t.Fatal(err)
	}
	if got := diff.Deployments[0].Note; !strings.Contains(got, "in the image") {
		t.Errorf("note: got %q, want where the file has to be", got)
	}
}
