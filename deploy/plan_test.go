package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// records is a State and a Target in memory.
type records struct {
	pools       map[string]schemas.Pool
	deployments map[string]schemas.Deployment
	did         []string
	fail        string // what to fail at
}

func newRecords() *records {
	return &records{pools: map[string]schemas.Pool{}, deployments: map[string]schemas.Deployment{}}
}

var errRefused = errors.New("refused")

func (r *records) do(what string) error {
	if what == r.fail {
		return errRefused
	}
	r.did = append(r.did, what)
	return nil
}

func (r *records) Pools(context.Context) ([]schemas.Pool, error) {
	var all []schemas.Pool
	for _, name := range keys(r.pools) {
		all = append(all, r.pools[name])
	}
	return all, nil
}

func (r *records) Deployments(context.Context) ([]schemas.Deployment, error) {
	var all []schemas.Deployment
	for _, name := range keys(r.deployments) {
		all = append(all, stored(r.deployments[name]))
	}
	return all, nil
}

// stored is v after a way through JSON, as records come back.
func stored[T any](v T) T {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var back T
	if err := json.Unmarshal(raw, &back); err != nil {
		panic(err)
	}
	return back
}

func (r *records) CreatePool(_ context.Context, p schemas.Pool) (schemas.Pool, error) {
	p.Created, p.Updated = time.Now(), time.Now()
	r.pools[p.Name] = stored(p)
	return p, r.do("create pool " + p.Name)
}

func (r *records) UpdatePool(_ context.Context, p schemas.Pool) (schemas.Pool, error) {
	p.Updated = time.Now()
	r.pools[p.Name] = stored(p)
	return p, r.do("update pool " + p.Name)
}

func (r *records) PutDeployment(_ context.Context, d schemas.Deployment) (schemas.Deployment, error) {
	d.Updated = time.Now()
	r.deployments[d.Name] = stored(d)
	return d, r.do("put deployment " + d.Name)
}

var types = []runners.Type{{
	Name: "process",
	Template: json.RawMessage(`{
		"variables": {"type": "object", "properties": {
			"command": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
			"env": {"type": "object"}, "cpu": {"type": "integer"}, "memory": {"type": "integer"}, "stream_output": {"type": "boolean"}
		}},
		"job_configuration": {"command": "{{ command }}", "env": "{{ env }}", "cpu": "{{ cpu }}", "memory": "{{ memory }}"}
	}`),
	Check: func(job json.RawMessage) error {
		if strings.Contains(string(job), `"cpu":99`) {
			return errors.New("no machine has 99 cores")
		}
		return nil
	},
}, {Name: "docker", AckWait: 24 * time.Second, Template: json.RawMessage(`{"variables": {"properties": {"image": {"type": "string"}}}, "job_configuration": {"image": "{{ image }}"}}`)}}

func plan(t testing.TB, r *records, p *Project, opts Options) *Diff {
	t.Helper()
	opts.Types = types
	d, err := Plan(t.Context(), r, p, opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func formatted(t testing.TB, d *Diff, color bool) string {
	t.Helper()
	var b strings.Builder
	if err := d.Format(&b, color); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPlan_createsWhatIsMissing(t *testing.T) {
	r := newRecords()
	p := load(t, "testdata/guide.yaml")
	for i := range p.Deployments {
		p.Deployments[i].Directory = "/src"
	}
	d := plan(t, r, p, Options{CreateMissingPools: true})
	golden(t, "guide.plan.golden.txt", formatted(t, d, false))
	golden(t, "guide.plan.golden.json", indented(t, d))
	if d.Empty() {
		t.Error("got an empty plan, want one with something to do")
	}
	if err := Apply(t.Context(), r, d); err != nil {
		t.Fatal(err)
	}
	want := []string{"create pool development", "create pool production", "put deployment my-flow", "put deployment heavy-etl"}
	if diff := cmp.Diff(want, r.did); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	d = plan(t, r, p, Options{CreateMissingPools: true})
	golden(t, "guide.again.golden.txt", formatted(t, d, false))
	if !d.Empty() {
		t.Error("got something to do after deploying, want nothing")
	}
	if err := Apply(t.Context(), r, d); err != nil || len(r.did) != len(want) {
		t.Errorf("an empty plan did %q (%v), want nothing", r.did[len(want):], err)
	}
}

func TestPlan_tellsEachChangedField(t *testing.T) {
	r := newRecords()
	before := load(t, "testdata/weir.yaml")
	for i := range before.Deployments {
		before.Deployments[i].Directory = "/src"
	}
	if err := Apply(t.Context(), r, plan(t, r, before, Options{})); err != nil {
		t.Fatal(err)
	}
	after := project(t,
		"pools:",
		"  - {name: etl, type: process, concurrency_limit: 9, ack_wait: 1m, work_queues: [{name: bulk, priority: 3}, {name: night}]}",
		"  - name: scripts",
		"    type: process",
		"    base_job_template: {variables: {properties: {command: {type: string}}}, job_configuration: {command: '{{ command }}', fixed: <&>}}",
		"deployments:",
		"  - {name: clean, command: [sh, -c, 'rm -rf \"$WORK\"/*'], work_pool: {name: etl, work_queue_name: night, job_variables: {env: {A: '1'}}}, grace: 10, expires_after: 600}",
		"  - {name: copy, command: [rsync, -a, --bwlimit, '1000', 'src dir/', dst/], work_pool: {name: scripts}}",
		"  - {name: load, command: 'true', description: \"two\\nlines\", tags: [a, b], work_pool: {name: etl, work_queue_name: bulk}, timeout: 90m, grace: 10s}",
		"  - {name: new, command: 'true', work_pool: {name: etl}}",
	)
	d := plan(t, r, after, Options{})
	golden(t, "weir.plan.golden.txt", formatted(t, d, false))
	golden(t, "weir.plan.color.golden.txt", formatted(t, d, true))
	golden(t, "weir.plan.golden.json", indented(t, d))

	r.did = nil
	if err := Apply(t.Context(), r, d); err != nil {
		t.Fatal(err)
	}
	want := []string{"update pool etl", "update pool scripts", "put deployment clean", "put deployment load", "put deployment new"}
	if diff := cmp.Diff(want, r.did); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := r.pools["etl"]; got.Description != "Loads and reports" || got.Replicas != 3 || len(got.WorkQueues) != 3 {
		t.Errorf("got pool %+v, want what the file leaves out to stay", got)
	}
	if d := plan(t, r, after, Options{}); !d.Empty() {
		t.Errorf("got after deploying:\n%s", formatted(t, d, false))
	}
}

// A pool type may have an ack wait of its own, for new pools that do not say.
func TestPlan_newPoolsHaveTheAckWaitOfTheirType(t *testing.T) {
	r := newRecords()
	r.pools["old"] = schemas.Pool{Name: "old", Type: "docker"}
	file := project(t, "pools:", "  - {name: fresh, type: docker}", "  - {name: told, type: docker, ack_wait: 1m}", "  - {name: old, type: docker, description: as it was}",
		"  - {name: other, type: process}")
	if err := Apply(t.Context(), r, plan(t, r, file, Options{})); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]time.Duration{"fresh": 24 * time.Second, "told": time.Minute, "old": 0, "other": 0} {
		if got := time.Duration(r.pools[name].AckWait); got != want {
			t.Errorf("pool %s: got ack wait %s, want %s", name, got, want)
		}
	}
	if d := plan(t, r, file, Options{}); !d.Empty() {
		t.Errorf("got after deploying:\n%s", formatted(t, d, false))
	}
}

func TestPlan_tellsWhereTheFileIsWrong(t *testing.T) {
	r := newRecords()
	r.pools["development"] = schemas.Pool{Name: "development", Type: "process", WorkQueues: []schemas.WorkQueue{{Name: "urgent"}}}
	r.pools["images"] = schemas.Pool{Name: "images", Type: "docker"}
	r.pools["cloud"] = schemas.Pool{Name: "cloud", Type: "ecs"}
	p := project(t,
		"pools:",
		"  - {name: images, type: process}",
		"  - {name: typo, type: proces}",
		"deployments:",
		"  - {name: a, command: x, work_pool: {name: developmnt}}",
		"  - {name: b, command: x, work_pool: {name: elsewhere}}",
		"  - {name: c, command: x}",
		"  - {name: d, command: x, work_pool: {name: development, work_queue_name: urgnt}}",
		"  - name: e",
		"    command: x",
		"    work_pool:",
		"      name: development",
		"      job_variables:",
		"        cpus: 1",
		"        memory: lots",
		"        env: [1]",
		"  - {name: f, command: x, work_pool: {name: development, job_variables: {cpu: 99}}}",
		"  - {name: g, command: x, work_pool: {name: cloud}}",
		"  - {name: h, command: x, work_pool: {name: typo}}",
		"  - {name: i, entrypoint: 'a.py:f', work_pool: {name: development, job_variables: {stream_output: 1}}}",
	)
	_, err := Plan(t.Context(), r, p, Options{Types: types})
	if _, ok := errors.AsType[FileErrors](err); !ok {
		t.Fatalf("got %v, want FileErrors", err)
	}
	golden(t, "plan-errors.golden.txt", err.Error()+"\n")
}

func TestPlan_takesThePoolThatIsAskedFor(t *testing.T) {
	r := newRecords()
	r.pools["production"] = schemas.Pool{Name: "production", Type: "process"}
	p := project(t, "deployments:", "  - {name: a, command: x, work_pool: {name: development}}", "  - {name: b, command: x}")
	d := plan(t, r, p, Options{Pool: "production"})
	for _, c := range d.Deployments {
		if c.Deployment.Pool != "production" {
			t.Errorf("got %s on pool %s, want production", c.Name, c.Deployment.Pool)
		}
	}
	if len(d.Pools) > 0 {
		t.Errorf("got pools %v, want none", d.Pools)
	}
	if p.Deployments[0].Pool != "development" {
		t.Error("the plan changed the project")
	}
	_, err := Plan(t.Context(), r, p, Options{Pool: "a.b"})
	if _, ok := errors.AsType[*schemas.NameError](err); !ok {
		t.Errorf("got %v, want a *NameError", err)
	}
}

func TestPlan_limitsItselfToTheNamesThatAreAskedFor(t *testing.T) {
	r := newRecords()
	d := plan(t, r, load(t, "testdata/weir.yaml"), Options{Names: []string{"copy"}})
	var names []string
	for _, c := range d.changes() {
		names = append(names, fmt.Sprint(c.Action, " ", c.Name))
	}
	if want := []string{"create scripts", "create copy"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	_, err := Plan(t.Context(), r, load(t, "testdata/weir.yaml"), Options{Names: []string{"cop"}})
	if err == nil || !strings.Contains(err.Error(), `did you mean "copy"?`) {
		t.Errorf("got %v, want the nearest name in it", err)
	}
}

func TestApply_stopsAtTheFirstError(t *testing.T) {
	for _, tt := range []struct{ fail, want string }{
		{"create pool production", "create work pool production: refused"},
		{"put deployment my-flow", "create deployment my-flow: refused"},
	} {
		r := newRecords()
		d := plan(t, r, load(t, "testdata/guide.yaml"), Options{CreateMissingPools: true})
		r.fail = tt.fail
		if err := Apply(t.Context(), r, d); !errors.Is(err, errRefused) || err.Error() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
		if slices.Contains(r.did, "put deployment heavy-etl") {
			t.Errorf("it went on after the error: %q", r.did)
		}
	}
}

func TestShortDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m", 1500 * time.Millisecond: "1.5s", 10 * time.Second: "10s",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
