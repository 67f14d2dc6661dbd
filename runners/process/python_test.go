package process

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
)

const flows = `
import sys
from datetime import datetime
from typing import Dict, List, Literal, Optional
from prefect import flow, task, get_run_logger
import beside

@task(retries=2)
def double(n): return 2 * n

@flow(name="My flow", log_prints=True)
def my_flow(n: int, name: str = "x"):
    get_run_logger().info("hello")
    print("in", name, beside.WORD)
    return {"n": double(n), "all": double.map([1, n]).result(), "one": double.submit(n).result()}

async def later(n: int = 3):
    import asyncio
    await asyncio.sleep(0)
    return [n]

@flow
async def later_flow():
    return await later(4)

def typed(a: int, b: float, c: bool, d: List[int], e: Dict[str, float], f: Optional[str] = None, g: Literal["x", "y"] = "x",
          h: datetime = None, *, i: "int | None" = 5, j=sys.maxsize, k: str = "q"): pass

def anything(a, **rest): return rest
def fails(): raise ValueError("the cause")
def exits(): sys.exit(42)
def unserialisable(): return object()
def nothing(): print("done")
def size(text): return len(text)
`

func codeFolder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"flows/my_flow.py": flows, "flows/beside.py": "WORD = 'beside'\n", "broken.py": "x = 1\ndef f(:\n  pass\n",
		"pkg/__init__.py": "", "pkg/mod.py": "from .other import V\ndef f(): return V\n", "pkg/other.py": "V = 8\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLauncher_runsFunctions(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), codeFolder(t))
	for i, c := range []struct {
		entrypoint, parameters string
		code                   int
		value                  string
		stdout, stderr         string // of which each is a part
	}{
		{"flows/my_flow.py:my_flow", `{"n": 2}`, 0, `{"n": 4, "all": [2, 4], "one": 4}`, "in x beside", "INFO hello"},
		{"flows/my_flow.py:my_flow", `{"n": 2, "nam": "y"}`, 1, "", "", "weir: my_flow takes no parameter nam: it takes n, name"},
		{"flows/my_flow.py:my_flow", `{}`, 1, "", "", "weir: my_flow needs the parameter n"},
		{"flows/my_flow.py:my_flw", `{}`, 1, "", "", "has no function my_flw (did you mean my_flow?)"},
		{"flows/my_flow.py:later", `{"n": 5}`, 0, `[5]`, "", ""},
		{"flows/my_flow.py:later_flow", `{}`, 0, `[4]`, "", ""},
		{"flows/my_flow.py:anything", `{"a": 1, "z": null}`, 0, `{"z": null}`, "", ""},
		{"flows/my_flow.py:fails", `{}`, 1, "", "", "ValueError: the cause"},
		{"flows/my_flow.py:exits", `{}`, 42, "", "", ""},
		{"flows/my_flow.py:unserialisable", `{}`, 0, "", "", "weir: the result is not recorded, it is not JSON"},
		{"flows/my_flow.py:nothing", `{}`, 0, "", "done", ""},
		{"broken.py:f", `{}`, 1, "", "", "SyntaxError"},
		{"pkg/mod.py:f", `{}`, 0, "8", "", ""},
		{"flows/my_flow.py:size", fmt.Sprintf(`{"text": %q}`, strings.Repeat("x", 300_000)), 0, "300000", "", ""},
	} {
		out := runnertest.NewRecorder()
		s := spec(fmt.Sprint(i), `{}`, out)
		s.Entrypoint, s.Parameters = c.entrypoint, json.RawMessage(c.parameters)
		res := run(t, r, s)
		stdout, stderr := strings.Join(out.Lines(runners.Stdout), "\n"), strings.Join(out.Lines(runners.Stderr), "\n")
		if res.ExitCode != c.code || string(res.Value) != c.value || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s %.40s: got code %d, value %s, stdout %q, stderr %q, want %d, %s, %q, %q",
				c.entrypoint, c.parameters, res.ExitCode, res.Value, stdout, stderr, c.code, c.value, c.stdout, c.stderr)
		}
		if strings.HasPrefix(c.stderr, "weir:") && len(out.Lines(runners.Stderr)) != 1 {
			t.Errorf("%s %.40s: got stderr %q, want one line", c.entrypoint, c.parameters, stderr)
		}
	}
}

func TestDescribe_readsSignatures(t *testing.T) {
	t.Parallel()
	dir := codeFolder(t)
	for function, want := range map[string]string{
		"my_flow": `{"type":"object","additionalProperties":false,"required":["n"],
			"properties":{"n":{"type":"integer"},"name":{"type":"string","default":"x"}}}`,
		"nothing":  `{"type":"object","additionalProperties":false,"properties":{}}`,
		"anything": `{"type":"object","additionalProperties":true,"required":["a"],"properties":{"a":{}}}`,
		"datetime": `{"type":"object","additionalProperties":true,"properties":{}}`,
		"typed": `{"type":"object","additionalProperties":false,"required":["a","b","c","d","e"],"properties":{
			"a":{"type":"integer"},"b":{"type":"number"},"c":{"type":"boolean"},"d":{"type":"array","items":{"type":"integer"}},
			"e":{"type":"object","additionalProperties":{"type":"number"}},"f":{"anyOf":[{"type":"string"},{"type":"null"}],"default":null},
			"g":{"enum":["x","y"],"default":"x"},"h":{"anyOf":[{"type":"string","format":"date-time"},{"type":"null"}],"default":null},
			"i":{"anyOf":[{"type":"integer"},{"type":"null"}],"default":5},"j":{},"k":{"type":"string","default":"q"}}}`,
	} {
		got, err := Describe(t.Context(), "", dir, "flows/my_flow.py:"+function)
		if err != nil {
			t.Errorf("describe %s: %v", function, err)
			continue
		}
		if diff := cmp.Diff(decode(t, want), decode(t, string(got))); diff != "" {
			t.Errorf("describe %s (-want +got):\n%s", function, diff)
		}
	}
}

func TestDescribe_saysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := codeFolder(t)
	for entrypoint, want := range map[string]string{
		"flows/my_flow.py:my_flw": "has no function my_flw (did you mean my_flow?)",
		"flows/none.py:f":         "there is no file " + dir + "/flows/none.py",
		"broken.py:f":             "broken.py line 2 does not parse",
		"flows/my_flow.py":        "is not file.py:function",
	} {
		if _, err := Describe(t.Context(), "", dir, entrypoint); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("describe %s = %v, want … %s …", entrypoint, err, want)
		}
	}
	if _, err := Describe(t.Context(), "/no/python", dir, "broken.py:f"); err == nil || !strings.Contains(err.Error(), "there is no Python interpreter /no/python") {
		t.Errorf("describe without Python = %v", err)
	}
}

func decode(t testing.TB, s string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}
