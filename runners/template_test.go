package runners

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// small has one variable of each kind and each way to use one.
const small = `{
	"variables": {"type": "object", "required": ["image"], "properties": {
		"image": {"type": "string"},
		"command": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": null},
		"cpu": {"type": "integer", "minimum": 1, "default": 256},
		"pull": {"enum": ["always", "never"], "default": "always"},
		"env": {"type": "object", "additionalProperties": {"type": "string"}, "default": {"A": "1"}},
		"debug": {"type": "boolean"},
		"stream_output": {"type": "boolean", "default": true},
		"forgotten": {"type": "string"}
	}},
	"job_configuration": {
		"image": "{{ image }}", "command": "{{command}}", "cpu": "{{ cpu }}", "env": "{{ env }}",
		"note": "cpu={{ cpu }} pull={{pull}} debug={{ debug }} env={{ env }}", "args": ["{{ debug }}", "x", "{{ cpu }}"],
		"nested": {"deep": [{"cpu": "{{ cpu }}", "debug": "{{ debug }}"}]}, "format": "{{.Names}} {{ not closed", "fixed": {"b": 1.50, "a": [null, "<&>"]}
	}
}`

func TestRender_fillsTheJobConfiguration(t *testing.T) {
	tpl := parse(t, small)
	for _, tt := range []struct{ name, vars, want string }{
		{"defaults", `{"image":"i"}`, `{"args":["x",256],"cpu":256,"env":{"A":"1"},"fixed":{"a":[null,"<&>"],"b":1.50},"format":"{{.Names}} {{ not closed","image":"i",` +
			`"nested":{"deep":[{"cpu":256}]},"note":"cpu=256 pull=always debug= env={\"A\":\"1\"}"}`},
		{
			"overrides keep their types", `{"image":"i","cpu":512,"debug":true,"command":["a","b"],"env":{"B":"2"},"pull":"never"}`,
			`{"args":[true,"x",512],"command":["a","b"],"cpu":512,"env":{"A":"1","B":"2"},"fixed":{"a":[null,"<&>"],"b":1.50},"format":"{{.Names}} {{ not closed","image":"i",` +
				`"nested":{"deep":[{"cpu":512,"debug":true}]},"note":"cpu=512 pull=never debug=true env={\"A\":\"1\",\"B\":\"2\"}"}`,
		},
		{
			"values are not searched for placeholders", `{"image":"{{ cpu }}","pull":null,"env":null}`,
			`{"args":["x",256],"cpu":256,"fixed":{"a":[null,"<&>"],"b":1.50},"format":"{{.Names}} {{ not closed","image":"{{ cpu }}",` +
				`"nested":{"deep":[{"cpu":256}]},"note":"cpu=256 pull= debug= env="}`,
		},
		{
			"references and Prefect's variables without effect pass", `{"image":"<i>","stream_output":false,"env":{"A":null,"T":{"from_env":"TOKEN"}}}`,
			`{"args":["x",256],"cpu":256,"env":{"T":{"from_env":"TOKEN"}},"fixed":{"a":[null,"<&>"],"b":1.50},"format":"{{.Names}} {{ not closed","image":"<i>",` +
				`"nested":{"deep":[{"cpu":256}]},"note":"cpu=256 pull=always debug= env={\"T\":{\"from_env\":\"TOKEN\"}}"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tpl.Render(vars(t, tt.vars))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRender_namesEveryWrongVariable(t *testing.T) {
	tpl := parse(t, small)
	for _, tt := range []struct {
		vars string
		want []string
	}{
		{``, []string{`job_variables.image: is required`}},
		{`{"image":null}`, []string{`job_variables.image: is required`}},
		{`{"image":"i","imag":"x"}`, []string{`job_variables.imag: `, `has no such variable (did you mean "image"?)`}},
		{`{"image":"i","xyzzy":1}`, []string{`job_variables.xyzzy: `, `it has command,`}},
		{`{"image":"i","forgotten":"x"}`, []string{`job_variables.forgotten: `, `never uses it`}},
		{`{"image":1}`, []string{`job_variables.image: got a number, want text`}},
		{`{"image":"i","cpu":0}`, []string{`job_variables.cpu: got 0, want at least 1`}},
		{`{"image":"i","cpu":"512"}`, []string{`job_variables.cpu: got text, want an integer`}},
		{`{"image":"i","pull":"no"}`, []string{`job_variables.pull: `, `always`, `never`}},
		{`{"image":"i","env":{"B":2}}`, []string{`job_variables.env.B: got a number, want text`}},
		{`{"image":"i","env":{"B":{"from_vault":"x"}}}`, []string{`job_variables.env.B: got an object, want text`}},
		{`{"image":2,"cpu":"x","foo":1}`, []string{`job_variables.image`, `job_variables.cpu`, `job_variables.foo`}},
	} {
		_, err := tpl.Render(vars(t, tt.vars))
		if _, ok := errors.AsType[*schemas.InvalidError](err); !ok {
			t.Errorf("Render(%s) = %v, want an *InvalidError", tt.vars, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Render(%s):\ngot  %v\nwant %q in it", tt.vars, err, want)
			}
		}
	}
}

func TestParseTemplate_saysWhichPartIsWrong(t *testing.T) {
	for _, tt := range []struct{ template, want string }{
		{``, `it is not a JSON object`},
		{`[]`, `it is not a JSON object`},
		{`{}`, `job_configuration is missing`},
		{`{"job_configuration":{}}`, `variables: it is missing`},
		{`{"variables":{},"job_config":{}}`, `unknown key "job_config"`},
		{`{"variables":{},"job_configuration":[]}`, `want an object`},
		{`{"variables":1,"job_configuration":{}}`, `variables: want a JSON Schema object`},
		{`{"variables":{"properties":[]},"job_configuration":{}}`, `properties: want an object`},
		{`{"variables":{"required":1},"job_configuration":{}}`, `required: want a list`},
		{`{"variables":{"properties":{"a":{"type":"strin"}}},"job_configuration":{}}`, `variables: `},
		{`{"variables":{"properties":{"a":{"$ref":"file:///etc/passwd"}}},"job_configuration":{}}`, `only refer to its own parts`},
		{
			`{"variables":{"properties":{"image":{}}},"job_configuration":{"a":[{"b":"{{ imag }}"}]}}`,
			`job_configuration.a[0].b uses {{ imag }}, which variables does not declare (did you mean "image"?); it declares image`,
		},
		{`{"variables":{},"job_configuration":{"b":"x{{ $TOKEN }}"}}`, `which only Prefect fills in`},
		{`{"variables":{},"job_configuration":{"b":"{{ prefect.blocks.secret.x }}"}}`, `which only Prefect fills in`},
	} {
		_, err := ParseTemplate(json.RawMessage(tt.template))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseTemplate(%s):\ngot  %v\nwant %q in it", tt.template, err, tt.want)
		}
	}
}

func TestParseTemplate_takesPrefectsTemplatesUnchanged(t *testing.T) {
	for _, tt := range []struct{ name, vars string }{
		{"prefect-process", `{"working_dir":"/srv","env":{"A":"1","T":{"from_env":"TOKEN"}},"stream_output":false}`},
		{"prefect-kubernetes", `{"image":"alpine:3","name":"etl","finished_job_ttl":60,"env":{"A":"1"},"command":"echo hi","pair":["a",1],"job_watch_timeout_seconds":5}`},
		{"prefect-ecs", `{"image":"busybox","command":"echo 'hi there'","env":{"A":"1","T":{"from_aws":"/prod/token"}},"cpu":512,"memory":1024,"labels":{"team":"data"},"vpc_id":"vpc-1","family":"etl",` +
			`"execution_role_arn":"arn:aws:iam::123456789012:role/e","launch_type":"FARGATE_SPOT","configure_cloudwatch_logs":true,"prefect_api_key_secret_arn":"arn:x"}`},
		{"prefect-ecs-2023", `{"task_definition_arn":"etl:7","env":{"A":"1"},"cluster":"jobs","task_role_arn":"arn:aws:iam::123456789012:role/t","network_configuration":{"subnets":["subnet-1"]},"stream_output":true}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata", tt.name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			job, err := parse(t, string(raw)).Render(vars(t, tt.vars))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name+".golden.json", job)
		})
	}
}

func parse(t testing.TB, template string) Template {
	t.Helper()
	tpl, err := ParseTemplate(json.RawMessage(template))
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

func golden(t *testing.T, name string, job json.RawMessage) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, job, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, job)
	}
	pretty.WriteByte('\n')
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Errorf("%s (-want +got)\n%s", file, diff)
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add([]byte(small), []byte(`{"image":"i","cpu":1}`))
	f.Add([]byte(`{"variables":{"properties":{"a":{"default":{"b":null}}}},"job_configuration":{"x":["{{ a }}","{{a}}{{a}}"]}}`), []byte(`{"a":"{{ a }}"}`))
	f.Add([]byte(`{"variables":{"properties":{"a":true}},"job_configuration":{"":"{{ a }}\ud800"}}`), []byte(`{"a":"\ud800"}`))
	for _, name := range []string{"prefect-process", "prefect-kubernetes", "prefect-ecs", "prefect-ecs-2023"} {
		raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, []byte(`{"env":{"A":"1"}}`))
	}
	f.Fuzz(func(t *testing.T, template, variables []byte) {
		tpl, err := ParseTemplate(template)
		if err != nil {
			return
		}
		var v map[string]json.RawMessage
		if json.Unmarshal(variables, &v) != nil {
			v = nil
		}
		job, err := tpl.Render(v)
		if err != nil {
			return
		}
		if !json.Valid(job) || !isObject(job) {
			t.Errorf("Render(%s) of %s = %s, want a JSON object", variables, template, job)
		}
		again, err := tpl.Render(v)
		if err != nil || !bytes.Equal(job, again) {
			t.Errorf("rendered twice: %s, then %s (%v)", job, again, err)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	raw, err := os.ReadFile("testdata/prefect-process.json")
	if err != nil {
		b.Fatal(err)
	}
	tpl := parse(b, string(raw))
	for name, v := range map[string]map[string]json.RawMessage{"plain": nil, "overrides": vars(b, `{"working_dir":"/srv","env":{"A":"1"}}`)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tpl.Render(v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An unknown variable is answered by the one that was meant, or by a few, and where to see all: not by a whole list.
func TestRender_ofAnUnknownVariableIsShort(t *testing.T) {
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf(`"variable%02d": {"type": "string"}`, i))
	}
	base := func(names ...string) json.RawMessage {
		return json.RawMessage(`{"variables": {"type": "object", "properties": {"image": {"type": "string"}` + strings.Join(names, "") + `}}, "job_configuration": {}}`)
	}
	kind := Type{Name: "paper", Template: base(", " + strings.Join(many, ", "))}
	const see = "; see all with: weir work-pool get-default-base-job-template --type paper"
	for _, tt := range []struct {
		pool       json.RawMessage
		name, want string
	}{
		{nil, "imag", ` (did you mean "image"?)` + see},
		{nil, "xyzzy", "; it has image, variable00, variable01, variable02, variable03, variable04, variable05, variable06, variable07, variable08, " +
			"variable09, variable10 and 19 more" + see},
		{kind.Template, "imag", ` (did you mean "image"?)` + see},
		{base(), "imag", ` (did you mean "image"?); see all with: weir work-pool inspect POOL --output json`},
		{base(), "xyzzy", "; it has image"},
	} {
		r, err := NewRenderer(kind, tt.pool)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Job(schemas.Deployment{Name: "d"}, map[string]json.RawMessage{tt.name: json.RawMessage("1")})
		if want := "the job variables are not valid: job_variables." + tt.name + ": the pool's base job template has no such variable" + tt.want; err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.name, err, want)
		}
	}
}
