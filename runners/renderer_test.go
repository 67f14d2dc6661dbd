package runners

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/schemas"
)

const typeTemplate = `{
	"variables": {"type": "object", "properties": {
		"command": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
		"python": {"type": "string", "default": "python3"},
		"cpu": {"type": "integer"},
		"env": {"type": "object", "default": {"TYPE": "1", "ALL": "type"}}
	}},
	"job_configuration": {"command": "{{ command }}", "python": "{{ python }}", "cpu": "{{ cpu }}", "env": "{{ env }}"}
}`

var errNoCPU = errors.New("no machine has 99 cores")

func kind() Type {
	return Type{Name: "process", Template: json.RawMessage(typeTemplate), Check: func(job json.RawMessage) error {
		if strings.Contains(string(job), `"cpu":99`) {
			return errNoCPU
		}
		return nil
	}}
}

func TestRenderer_mergesTypePoolDeploymentRun(t *testing.T) {
	pool := json.RawMessage(`{
		"variables": {"type": "object", "properties": {
			"command": {"type": "string"}, "python": {"type": "string"}, "cpu": {"type": "integer", "default": 1},
			"env": {"type": "object", "default": {"POOL": "1", "ALL": "pool"}}
		}},
		"job_configuration": {"command": "{{ command }}", "python": "{{ python }}", "cpu": "{{ cpu }}", "env": "{{ env }}", "pool": true}
	}`)
	d := schemas.Deployment{Name: "d", JobVariables: vars(t, `{"env":{"DEPLOYMENT":"1","ALL":"deployment"},"cpu":2}`)}
	for _, tt := range []struct {
		name, run, want string
		pool            json.RawMessage
	}{
		{"type and deployment", ``, `{"cpu":2,"env":{"ALL":"deployment","DEPLOYMENT":"1","TYPE":"1"},"python":"python3"}`, nil},
		{"null template is the type's", ``, `{"cpu":2,"env":{"ALL":"deployment","DEPLOYMENT":"1","TYPE":"1"},"python":"python3"}`, json.RawMessage(`null`)},
		{"pool between", ``, `{"cpu":2,"env":{"ALL":"deployment","DEPLOYMENT":"1","POOL":"1","TYPE":"1"},"pool":true,"python":"python3"}`, pool},
		{
			"run over all", `{"env":{"ALL":"run","TYPE":null},"cpu":null,"python":"pypy"}`,
			`{"env":{"ALL":"run","DEPLOYMENT":"1","POOL":"1"},"pool":true,"python":"pypy"}`, pool,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Job(kind(), schemas.Pool{Name: "p", BaseJobTemplate: tt.pool}, d, vars(t, tt.run))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRenderer_givesTheCommandAsTheTemplateTakesIt(t *testing.T) {
	text := json.RawMessage(`{"variables":{"properties":{"command":{"type":"string"}}},"job_configuration":{"command":"{{ command }}"}}`)
	words := schemas.Command{"sh", "-c", "echo 'a b' > /dev/null", "", "it's"}
	for _, tt := range []struct {
		name, variables, want string
		pool                  json.RawMessage
	}{
		{"as words", ``, `["sh","-c","echo 'a b' > /dev/null","","it's"]`, nil},
		{"as text", ``, `"sh -c 'echo '\\''a b'\\'' > /dev/null' '' 'it'\\''s'"`, text},
		{"the job variable wins", `{"command":"true"}`, `"true"`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := schemas.Deployment{Name: "d", Command: words, JobVariables: vars(t, tt.variables)}
			job, err := Job(kind(), schemas.Pool{BaseJobTemplate: tt.pool}, d, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := vars(t, string(job))["command"]
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			var back schemas.Command
			if err := json.Unmarshal(got, &back); err != nil {
				t.Fatal(err)
			}
			if tt.variables == "" && cmp.Diff(words, back) != "" {
				t.Errorf("read back: got %q, want %q", back, words)
			}
		})
	}
}

func TestRenderer_asksTheType(t *testing.T) {
	r, err := NewRenderer(kind(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Job(schemas.Deployment{}, vars(t, `{"cpu":99}`)); !errors.Is(err, errNoCPU) {
		t.Errorf("got %v, want the type's error", err)
	}
	if _, err := r.Job(schemas.Deployment{}, vars(t, `{"cpu":"99"}`)); !strings.Contains(err.Error(), "job_variables.cpu") {
		t.Errorf("got %v, want an error about cpu", err)
	}
}

func TestRenderer_leavesOutDefaultsThatDoNotFitThePool(t *testing.T) {
	pool := `{"variables":{"properties":{"python":{"enum":["pypy"]},"env":{"type":"object","maxProperties":1}}},
		"job_configuration":{"python":"{{ python }}","env":"{{ env }}"}}`
	job, err := Job(kind(), schemas.Pool{BaseJobTemplate: json.RawMessage(pool)}, schemas.Deployment{}, nil)
	if err != nil || string(job) != `{}` {
		t.Errorf("got %s, %v, want an empty job", job, err)
	}
}

func BenchmarkRenderer(b *testing.B) {
	r, err := NewRenderer(kind(), nil)
	if err != nil {
		b.Fatal(err)
	}
	d := schemas.Deployment{Name: "d", Command: schemas.Command{"/bin/true"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Job(d, nil); err != nil {
			b.Fatal(err)
		}
	}
}
