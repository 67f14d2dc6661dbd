package deploy

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", file, diff)
	}
}

func load(t testing.TB, path string) *Project {
	t.Helper()
	p, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// project parses a file that is not on the disk.
func project(t testing.TB, lines ...string) *Project {
	t.Helper()
	p, err := parse("weir.yaml", "/src", []byte(strings.Join(lines, "\n")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func indented(t testing.TB, v any) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLoad_readsProjectFiles(t *testing.T) {
	for _, name := range []string{"guide", "prefect-full", "weir"} {
		t.Run(name, func(t *testing.T) {
			p := load(t, "testdata/"+name+".yaml")
			abs, err := filepath.Abs("testdata")
			if err != nil {
				t.Fatal(err)
			}
			if p.Dir != abs {
				t.Errorf("got folder %s, want %s", p.Dir, abs)
			}
			for i := range p.Deployments {
				if p.Deployments[i].Directory != abs {
					t.Errorf("got folder %s of %s, want %s", p.Deployments[i].Directory, p.Deployments[i].Name, abs)
				}
				p.Deployments[i].Directory = "/src"
			}
			golden(t, name+".golden.json", indented(t, map[string]any{"pools": p.Pools, "deployments": p.Deployments}))
			golden(t, name+".warnings.golden.txt", strings.Join(append(p.Warnings, ""), "\n"))
		})
	}
}

func TestLoad_takesPrefectsGuideWithoutAWord(t *testing.T) {
	if p := load(t, "testdata/guide.yaml"); len(p.Warnings) > 0 {
		t.Errorf("got warnings %q, want none", p.Warnings)
	}
}

func TestLoad_tellsEverythingThatIsWrong(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			_, err := Load(file)
			all, ok := errors.AsType[FileErrors](err)
			if !ok {
				t.Fatalf("got %v, want FileErrors", err)
			}
			golden(t, "bad/"+strings.TrimSuffix(filepath.Base(file), ".yaml")+".golden.txt", all.Error()+"\n")
			for i, e := range all[1:] {
				if before := all[i]; e.Line < before.Line || e.Line == before.Line && e.Column < before.Column {
					t.Errorf("%d:%d is told after %d:%d", e.Line, e.Column, before.Line, before.Column)
				}
			}
		})
	}
}

func TestLoad_refusesAFileThatIsNotThere(t *testing.T) {
	if _, err := Load("testdata/nowhere.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestFind_prefersWeirYAML(t *testing.T) {
	dir := t.TempDir()
	_, err := Find(dir)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--file") {
		t.Errorf("got %v, want %v and what to do", err, fs.ErrNotExist)
	}
	for _, name := range []string{"prefect.yaml", "weir.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Find(dir); err != nil || got != filepath.Join(dir, name) {
			t.Errorf("got %s, %v, want %s", got, err, name)
		}
	}
}

func TestLoad_readsYAMLAsJSON(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{`1`, `1`},
		{`1_000`, `1000`},
		{`0x1F`, `31`},
		{`1.50`, `1.50`},
		{`.5`, `0.5`},
		{`"1"`, `"1"`},
		{`!!str 1`, `"1"`},
		{`true`, `true`},
		{`yes`, `"yes"`},
		{`2026-01-01`, `"2026-01-01"`},
		{`~`, `null`},
		{``, `null`},
		{`"<&> \u00e9"`, `"<&> é"`},
		{`[1, {a: b}]`, `[1,{"a":"b"}]`},
		{`{1: x, true: y}`, `{"1":"x","true":"y"}`},
		{"|\n        a\n        b", `"a\nb\n"`},
		{`{<<: {a: 1, b: 1}, b: 2}`, `{"b":2,"a":1}`},
		{`{<<: [{a: 1}, {a: 2, c: 3}]}`, `{"a":1,"c":3}`},
		{`&x {a: 1}`, `{"a":1}`},
	} {
		p := project(t, "deployments:", "  - name: d", "    command: x", "    parameters:", "      p: "+tt.yaml)
		if got := string(p.Deployments[0].Parameters["p"]); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.yaml, got, tt.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	dir := f.TempDir() // one for all: making one for each input took longer than reading it
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parse("weir.yaml", dir, data)
		if err != nil {
			all, ok := errors.AsType[FileErrors](err)
			if !ok || len(all) == 0 {
				t.Fatalf("got %v, want FileErrors", err)
			}
			_ = all.Error()
			return
		}
		for _, d := range p.Deployments {
			if !schemas.ValidName(d.Name) || !schemas.ValidName(d.Queue) || (d.Entrypoint == "") == (len(d.Command) == 0) {
				t.Errorf("got deployment %+v", d)
			}
			if _, err := json.Marshal(d); err != nil {
				t.Errorf("deployment %s is no JSON: %v", d.Name, err)
			}
		}
		for _, pool := range p.Pools {
			if _, err := json.Marshal(pool); err != nil || !schemas.ValidName(pool.Name) {
				t.Errorf("got pool %+v, %v", pool, err)
			}
		}
	})
}

func TestLoad_takesAByteOrderMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(path, []byte("\ufeffdeployments:\r\n  - name: hello\r\n    command: 'true'\r\n    work_pool: {name: dev}\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(path)
	if err != nil || len(p.Deployments) != 1 || p.Deployments[0].Name != "hello" {
		t.Errorf("got %+v, %v, want the deployment hello", p, err)
	}
}
