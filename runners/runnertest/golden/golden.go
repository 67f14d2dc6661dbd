// Package golden compares what tests make with files in testdata, which go test -update rewrites.
package golden

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Update says that files are to be rewritten.
var Update = flag.Bool("update", false, "rewrite the golden files")

// JSON demands that value is, as JSON, what testdata/NAME holds.
func JSON(t *testing.T, name string, value any) {
	t.Helper()
	var got bytes.Buffer
	e := json.NewEncoder(&got)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(value); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *Update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got), rewrite with go test -update:\n%s", file, diff)
	}
}
