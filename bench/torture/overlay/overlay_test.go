package overlay

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const program = `package main

import "fmt"

func main() { fmt.Println("as written") }
`

// module writes a program of its own and makes its folder the working directory.
func module(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/m\n\ngo 1.26\n", "main.go": program} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

func TestBuild_changesTheProgramAndNotItsSource(t *testing.T) {
	dir := module(t)
	out := filepath.Join(t.TempDir(), "m")
	edits := []Edit{{File: "main.go", Old: "as written", New: "as"}, {File: "main.go", Old: `"as"`, New: `"as edited"`}}
	if err := Build(t.Context(), t.TempDir(), out, ".", edits...); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(out).Output(); err != nil || string(said) != "as edited\n" {
		t.Errorf("the program said %q, %v, want as edited", said, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "main.go")); err != nil || string(text) != program {
		t.Errorf("the source has become %q, %v", text, err)
	}
}

func TestBuild_failsWhenAnEditDoesNotFit(t *testing.T) {
	module(t)
	for _, old := range []string{"not there", "main"} {
		err := Build(t.Context(), t.TempDir(), filepath.Join(t.TempDir(), "m"), ".", Edit{File: "main.go", Old: old, New: "x"})
		if err == nil || !strings.Contains(err.Error(), "want exactly one place") {
			t.Errorf("an edit of %q: got error %v, want that there is not exactly one place", old, err)
		}
	}
}
