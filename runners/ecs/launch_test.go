package ecs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// launched runs the job's container as ECS would, with this machine's Python: what the definition says, and what the request says over it.
func launched(t *testing.T, flow, parameters string) (out *bytes.Buffer, code int) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"flow.py": flow, "weir_launcher.py": "raise Exception('not this one')", "base64.py": "raise Exception('nor this one')"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	job, s := jobOf(t, `{"image": "i"}`), spec()
	s.Entrypoint, s.Parameters = "flow.py:main", json.RawMessage(parameters)
	in := register(job, s, "us-east-1")
	o := orderOf(job)
	o.spec = s
	request, err := o.request()
	if err != nil {
		t.Fatal(err)
	}
	name, args, env := contained(in, request)
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(env, "PATH="+os.Getenv("PATH"), "TMPDIR="+t.TempDir())
	out = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out, exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out, 0
}

// contained is what ECS makes of a definition and the overrides.
func contained(in *ecs.RegisterTaskDefinitionInput, request *ecs.RunTaskInput) (name string, args, env []string) {
	c, over := in.ContainerDefinitions[0], request.Overrides.ContainerOverrides[0]
	words := append(append([]string{}, c.EntryPoint...), over.Command...)
	for _, pair := range append(c.Environment, over.Environment...) {
		env = append(env, deref(pair.Name)+"="+deref(pair.Value))
	}
	return words[0], words[1:], env
}

// read splits output into lines, and takes the result out.
func read(out *bytes.Buffer) (lines []string, result json.RawMessage, err error) {
	var r resultReader
	for line := range bytes.Lines(out.Bytes()) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if !r.take(line) {
			lines = append(lines, string(line))
		}
		if len(line) > 16<<10 {
			err = fmt.Errorf("a line has %d bytes, log drivers cut at 16 KiB", len(line))
		}
	}
	result, wrong := r.value()
	return lines, result, errors.Join(err, wrong)
}

func TestLaunch_runsAnEntrypoint(t *testing.T) {
	for _, tt := range []struct {
		name, flow, parameters string
		code                   int
		lines, result          string
		wrong                  schemas.Reason
	}{
		{
			name: "a result", parameters: `{"n": 20}`, result: `{"double": 40, "run": "prod-17"}`, lines: "hello from 20",
			flow: "import os\ndef main(n):\n    print('hello from', n)\n    return {'double': 2 * n, 'run': os.environ['WEIR_RUN_ID']}\n",
		},
		{name: "no result", parameters: `{}`, flow: "def main():\n    print('x', end='')\n", lines: "x"},
		{name: "a failure", parameters: `{}`, flow: "def main():\n    raise SystemExit(7)\n", code: 7},
		{name: "no such function", parameters: `{}`, flow: "def mian():\n    pass\n", code: 1, lines: "weir: entrypoint: "},
		{
			name: "the launcher is not passed on", parameters: `{}`, result: `[false, "main.x"]`,
			flow: "import os\nimport weir_launcher as w\ndef main():\n    return ['WEIR_LAUNCHER' in os.environ, 'main.x']\n", lines: "",
		},
		{
			name: "umlauts, and a line without an end before", parameters: `{}`, result: `"\u00fc\n"`, lines: "no end",
			flow: "import sys\ndef main():\n    print('no end')\n    return 'ü\\n'\n",
		},
		{
			name: "a file of its own", parameters: `{}`, result: `{"a": 1}`,
			flow: "import os\ndef main():\n    open(os.environ['WEIR_RESULT_FILE'], 'w').write('{\\n\"a\": 1}')\n",
		},
		{
			name: "a file that is no JSON", parameters: `{}`, wrong: schemas.ReasonResultInvalid,
			flow: "import os\ndef main():\n    open(os.environ['WEIR_RESULT_FILE'], 'w').write('{')\n",
		},
		{name: "as large as it may be", parameters: `{}`, flow: "def main():\n    return 'x' * 65534\n", result: `"` + strings.Repeat("x", 65534) + `"`},
		{name: "too large", parameters: `{}`, flow: "def main():\n    return 'x' * 65535\n", wrong: schemas.ReasonResultTooLarge},
		{name: "much too large", parameters: `{}`, flow: "def main():\n    return 'x' * 5000000\n", wrong: schemas.ReasonResultTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, code := launched(t, tt.flow, tt.parameters)
			if out.Len() > 2*runners.MaxResult {
				t.Errorf("%d bytes were printed", out.Len())
			}
			lines, result, err := read(out)
			if code != tt.code || !strings.HasPrefix(strings.Join(lines, "\n"), tt.lines) || string(result) != tt.result || runners.ReasonOf(err, "") != tt.wrong || tt.wrong == "" && err != nil {
				t.Errorf("exit code %d, output %.300q, result %.300s, %v", code, lines, result, err)
			}
		})
	}
}

func TestResultReader_takesWhatIsAResult(t *testing.T) {
	for _, tt := range []struct {
		lines, output, result string
		wrong                 schemas.Reason
	}{
		{"a|b", "a|b", "", ""},
		{"a|weir-result 1/1 {\"a\":1}|b", "a|b", `{"a":1}`, ""},
		{"weir-result 1/2 [1,|x|weir-result 2/2 2]", "x", "[1,2]", ""},
		{"weir-result 1/1 1|weir-result 1/1 2", "", "2", ""},
		{"weir-result 1/2 [1,|weir-result 2/2 2]|weir-result 1/2 [1,|weir-result 2/2 2]", "", "[1,2]", ""}, // the log is read again
		{"weir-result 2/2 2]", "", "", ""},
		{"weir-result 1/3 [1,|weir-result 2/3 2,|weir-result 2/3 2,|weir-result 2/2 x|weir-result 3/3 3]", "", "[1,2,3]", ""},
		{"weir-result 1/2 [1,", "", "", schemas.ReasonResultInvalid},
		{"weir-result 1/1 {", "", "", schemas.ReasonResultInvalid},
		{"weir-result|weir-result x|weir-result 1/1|weir-result 0/1 x|weir-result 2/1 x|weir-result 1 x", "weir-result|weir-result x|weir-result 1/1|weir-result 0/1 x|weir-result 2/1 x|weir-result 1 x", "", ""},
		{"weir-result 1/1 " + strings.Repeat("x", runners.MaxResult+1), "", "", schemas.ReasonResultTooLarge},
	} {
		var r resultReader
		var output []string
		for line := range strings.SplitSeq(tt.lines, "|") {
			if !r.take([]byte(line)) {
				output = append(output, line)
			}
		}
		result, err := r.value()
		if strings.Join(output, "|") != tt.output || string(result) != tt.result || runners.ReasonOf(err, "") != tt.wrong {
			t.Errorf("%.80s: output %s, result %.80s, %v", tt.lines, output, result, err)
		}
	}
}

func TestResultReader_holdsNoMoreThanAResult(t *testing.T) {
	var r resultReader
	for i := range 10000 {
		r.take(fmt.Appendf(nil, "weir-result %d/10000 %s", i+1, strings.Repeat("x", 8000)))
	}
	if _, err := r.value(); runners.ReasonOf(err, "") != schemas.ReasonResultTooLarge || cap(r.text) > 2*runners.MaxResult {
		t.Errorf("%v, with %d bytes held", err, cap(r.text))
	}
}

func TestLaunch_fitsIntoADefinition(t *testing.T) {
	s := spec()
	s.Entrypoint = "flow.py:main"
	if n := len(wireJSON(register(jobOf(t, `{"image": "i"}`), s, "us-east-1"))); n > 16<<10 {
		t.Errorf("the launcher makes a definition of %d bytes; ECS takes 64 KiB, and others want their part", n)
	}
}
