package process

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

func TestStart_saysWhatCannotStart(t *testing.T) {
	t.Parallel()
	code := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(code, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "echo\n", 0o644)
	write("nonsense", "\x00\x01", 0o755)
	write("script", "#!/no/such/interpreter\n", 0o755)
	r := open(t, t.TempDir(), code)
	for i, c := range []struct{ job, entrypoint, want string }{
		{`{"command":"/no/such/program -x"}`, "", "program /no/such/program does not exist"},
		{`{"command":"no-such-program-at-all"}`, "", `program "no-such-program-at-all" is not on the PATH (`},
		{`{"command":"./plain"}`, "", "program " + plain + " is not executable"},
		{`{"command":"./nonsense"}`, "", "is no program of this machine, and has no #! line"},
		{`{"command":"./script"}`, "", "needs an interpreter or loader that does not exist"},
		{`{"command":"/etc"}`, "", "program /etc is a directory"},
		{`{"command":"/bin/true","working_dir":"nowhere"}`, "", "working directory " + code + "/nowhere does not exist"},
		{`{"command":"/bin/true","working_dir":"plain"}`, "", "working directory " + plain + " is not a directory"},
		{`{"command":"/bin/true","env":{"X":{"from_env":"NO_SUCH_VARIABLE"}}}`, "", "resolve env X: the worker's environment has no NO_SUCH_VARIABLE"},
		{`{"command":"/bin/true","env":{"X":{"from_file":"/no/secret"}}}`, "", "resolve env X: open /no/secret: no such file"},
		{fmt.Sprintf(`{"command":"/bin/true","env":{"X":%q}}`, strings.Repeat("x", 140_000)), "", "longer than Linux takes"},
		{`{"command":"/bin/true","env":{"WEIR_RESULT_FILE":"/etc/passwd"}}`, "", "env WEIR_RESULT_FILE is set by weir itself"},
		{`{"command":"/bin/true","cpu":-1}`, "", "want a whole number above 0"},
		{`{}`, "", "neither a command nor an entrypoint"},
		{`{}`, "flow.py", `entrypoint "flow.py" is not file.py:function`},
		{`{}`, "flow.py:f", "there is no file " + code + "/flow.py"},
		{`{"python":"/no/python"}`, "plain:f", "program /no/python does not exist"},
	} {
		s := spec(fmt.Sprint(i), c.job, nowhere{})
		s.Entrypoint = c.entrypoint
		_, err := r.Start(patient(t), s)
		if reason, ok := runners.IsPermanent(err); !ok || reason != schemas.ReasonStartFailed {
			t.Errorf("start %.80s %s: got %v (reason %q), want a permanent start_failed", c.job, c.entrypoint, err, reason)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("start %.80s %s: got %q, want … %s …", c.job, c.entrypoint, err, c.want)
		}
	}
}

func TestStart_environmentIsTheWorkersWithoutItsSecrets(t *testing.T) {
	for name, value := range map[string]string{
		"NATS_CREDS": "hidden", "NATS_URL": "hidden", "WEIR_TOKEN": "hidden", "MY_CREDS": "hidden", "WEIR_USER_NKEY": "hidden",
		"TRACEPARENT": "hidden", "KEPT": "seen", "OVER": "worker's", "TOKEN": "secret",
	} {
		t.Setenv(name, value)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := runnertest.NewRecorder()
	job := fmt.Sprintf(`{"command":["/usr/bin/env"],"env":{"OVER":"job's","A":{"from_env":"TOKEN"},"B":{"from_file":%q}}}`, file)
	run(t, open(t, t.TempDir(), ""), spec("job", job, out))
	got := map[string]string{}
	for _, line := range out.Lines("") {
		name, value, _ := strings.Cut(line, "=")
		if _, twice := got[name]; twice {
			t.Errorf("%s comes twice", name)
		}
		got[name] = value
		if strings.Contains(value, "hidden") {
			t.Errorf("the job sees %s", line)
		}
	}
	want := map[string]string{"KEPT": "seen", "OVER": "job's", "A": "secret", "B": "from file", "WEIR_RUN_ID": "run", "WEIR_PARAMETERS": "{}"}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: got %q, want %q", name, got[name], value)
		}
	}
}

func TestStart_largeParametersGoThroughAFile(t *testing.T) {
	t.Parallel()
	out := runnertest.NewRecorder()
	s := spec("job", shell(`echo "[$WEIR_PARAMETERS]"; wc -c < $WEIR_PARAMETERS_FILE; pwd; echo $WEIR_RESULT_FILE`), out)
	s.Parameters = json.RawMessage(`{"x":"` + strings.Repeat("y", 400_000) + `"}`)
	run(t, open(t, t.TempDir(), ""), s)
	got := out.Lines("")
	if len(got) != 4 || got[0] != "[]" || got[1] != fmt.Sprint(len(s.Parameters)) || got[2]+"/result.json" != got[3] {
		t.Fatalf("got %q, want no variable, the size, the own folder", got)
	}
}

func TestFolders_holdNothingOfEarlierJobs(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), "")
	for i := range 40 {
		out := runnertest.NewRecorder()
		run(t, r, spec(fmt.Sprint(i), shell("ls -A; [ $((WEIR_ATTEMPT)) = 1 ]; echo x > left; mkdir -p deep/er; chmod 0 deep; echo 1 > $WEIR_RESULT_FILE"), out))
		if got := out.Lines(""); len(got) > 0 {
			t.Fatalf("job %d finds %q in its folder", i, got)
		}
		if res := run(t, r, spec(fmt.Sprint(i, "-none"), shell("ls -A"), out)); res.Value != nil || len(out.Lines("")) > 0 {
			t.Fatalf("job %d finds %q and value %s in its folder", i, out.Lines(""), res.Value)
		}
	}
}

func TestStart_workingDirectory(t *testing.T) {
	t.Parallel()
	code := t.TempDir()
	if err := os.Mkdir(filepath.Join(code, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := open(t, t.TempDir(), code)
	for job, want := range map[string]string{
		`{"command":["/bin/pwd"]}`:                          code,
		`{"command":["/bin/pwd"],"working_dir":"sub"}`:      code + "/sub",
		`{"command":["/bin/pwd"],"working_dir":"/usr/bin"}`: "/usr/bin",
	} {
		out := runnertest.NewRecorder()
		run(t, r, spec("in"+strings.ReplaceAll(want, "/", "-"), job, out))
		if diff := cmp.Diff([]string{want}, out.Lines("")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", job, diff)
		}
	}
}

func TestStart_withoutOutput(t *testing.T) {
	t.Parallel()
	out := runnertest.NewRecorder()
	res := run(t, open(t, t.TempDir(), ""), spec("job", `{"command":"sh -c 'echo hidden; echo hidden >&2; exit 3'","stream_output":false,"cpu":1024,"memory":"512"}`, out))
	if res.ExitCode != 3 || len(out.Lines("")) > 0 {
		t.Errorf("got code %d, output %q, want 3 and none", res.ExitCode, out.Lines(""))
	}
}

func TestOutput_comesAtOnce(t *testing.T) {
	t.Parallel()
	out := runnertest.NewRecorder()
	r := open(t, t.TempDir(), "")
	run(t, r, spec("warm", shell("exit 0"), nowhere{}))
	begun := time.Now()
	e, err := r.Start(patient(t), spec("job", shell("echo now; exec sleep 1000"), out))
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, 1)
	t.Logf("the first line came after %s", time.Since(begun))
	if err := e.Stop(patient(t), 0); err != nil {
		t.Error(err)
	}
}

func TestTemplate_isASchemaThatTakesItsDefaults(t *testing.T) {
	t.Parallel()
	var parts struct {
		Variables        map[string]any    `json:"variables"`
		JobConfiguration map[string]string `json:"job_configuration"`
	}
	if err := json.Unmarshal(testType.Template, &parts); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("variables.json", parts.Variables); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("variables.json")
	if err != nil {
		t.Fatal(err)
	}
	defaults := map[string]any{}
	for name, p := range parts.Variables["properties"].(map[string]any) {
		defaults[name] = p.(map[string]any)["default"]
		if got, want := parts.JobConfiguration[name], "{{ "+name+" }}"; got != want {
			t.Errorf("job configuration of %s: got %q, want %q", name, got, want)
		}
	}
	if err := schema.Validate(defaults); err != nil {
		t.Errorf("the defaults do not fit: %v", err)
	}
	b, err := json.Marshal(defaults)
	if err != nil {
		t.Fatal(err)
	}
	if err := testType.Check(b); err != nil {
		t.Errorf("the job of the defaults is refused: %v", err)
	}
}
