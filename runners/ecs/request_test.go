package ecs

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest/golden"
)

// orderOf is what would start a run of a job now.
func orderOf(job *Job) *order {
	d := &definition{arn: "arn:aws:ecs:us-east-1:123456789012:task-definition/fam:3", container: job.ContainerName, containers: []string{job.ContainerName}, awsvpc: true, cpu: "1024", memory: "2048"}
	o := &order{system: "0a1b2c3d", spec: specOf(job), job: job, definition: d, place: job.placements()[0], try: 1, tags: tagList(map[string]string{tagContainer: d.container})}
	if job.Network.given() {
		o.network = &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: job.Network.Subnets}}
	}
	return o
}

// What ECS is asked to run.
func TestRequest_isAsReviewed(t *testing.T) {
	eachCase(t, func(t *testing.T, name string, job *Job) {
		before := string(wireJSON(job.Request.input))
		in, err := orderOf(job).request()
		if err != nil {
			t.Fatal(err)
		}
		golden.JSON(t, name+".request.golden.json", wire(in))
		if after := string(wireJSON(job.Request.input)); after != before {
			t.Errorf("the template was changed:\n%s\nwas\n%s", after, before)
		}
		if n := len(*in.ClientToken); n > 64 {
			t.Errorf("the token has %d characters, ECS takes 64", n)
		}
	})
}

func TestRequest_refusesWhatECSCannotTake(t *testing.T) {
	for _, tt := range []struct {
		name string
		bend func(*order)
		want string
	}{
		{"long parameters", func(o *order) { o.spec.Parameters = json.RawMessage(`{"x":"` + strings.Repeat("x", 8000) + `"}`) }, `the parameters 8008 of them, and ECS takes 8192`},
		{"long variables", func(o *order) { o.job.Env = env{"A": {text: strings.Repeat("x", 8192)}} }, `characters of JSON, the parameters 7 of them`},
		{"no function", func(o *order) { o.job.Command, o.spec.Entrypoint = nil, "flow.py" }, `entrypoint "flow.py" is not file.py:function`},
		{"entrypoint in a definition of others", func(o *order) { o.job.Command, o.job.TaskDefinition, o.spec.Entrypoint = nil, "x:1", "flow.py:f" }, `give a command, or leave task_definition_arn out`},
	} {
		o := orderOf(jobOf(t, cases["least"]))
		tt.bend(o)
		_, err := o.request()
		if _, final := runners.IsPermanent(err); err == nil || !final || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want a permanent error with %q", tt.name, err, tt.want)
		}
	}
}

func TestRequest_countsCharactersAsECSDoes(t *testing.T) {
	o := orderOf(jobOf(t, `{"image": "i", "command": "x"}`))
	fill := func(text string, n int) int {
		o.job.Env = env{"A": {text: strings.Repeat(text, n)}}
		over, err := o.overrides()
		if err != nil {
			return -1
		}
		return len([]rune(string(wireJSON(over))))
	}
	room := maxOverrides - fill("", 0)
	room -= fill("x", 1) - fill("", 0) - 1 // an empty value is left out
	if got := fill("ü", room); got != maxOverrides {
		t.Errorf("filled up it is %d characters, want %d", got, maxOverrides)
	}
	if got := fill("<", room); got != maxOverrides {
		t.Errorf("< counts as more than one: %d characters, want %d", got, maxOverrides)
	}
	if got := fill("x", room+1); got != -1 {
		t.Errorf("%d characters are taken, want no more than %d", got, maxOverrides)
	}
}

// ECS starts one task for a token: whoever asks again has the same one, and only another try has another.
func TestRequest_hasOneTokenForATry(t *testing.T) {
	token := func(bend func(*order)) string {
		o := orderOf(jobOf(t, cases["least"]))
		bend(o)
		in, err := o.request()
		if err != nil {
			t.Fatal(err)
		}
		return *in.ClientToken + " " + *in.StartedBy
	}
	first := token(func(*order) {})
	if token(func(o *order) { o.spec.Worker, o.spec.Trace = "another", "" }) != first {
		t.Error("another worker has another token")
	}
	once, again := strings.Fields(first), strings.Fields(token(func(o *order) { o.try = 2 }))
	if once[0] == again[0] || once[1] != again[1] {
		t.Error("another try has to have another token, and to be found like the first")
	}
	for what, bend := range map[string]func(*order){
		"execution": func(o *order) { o.spec.Name = "prod-17.3" }, "pool": func(o *order) { o.spec.Pool = "p" }, "system": func(o *order) { o.system = "s" },
	} {
		if other := strings.Fields(token(bend)); strings.Contains(first, other[0]) || strings.Contains(first, other[1]) {
			t.Errorf("another %s has the same token or is found like the first", what)
		}
	}
}

func TestRequest_namesFargatesVersionWhereItIsFargate(t *testing.T) {
	job := jobOf(t, `{"image": "i", "platform_version": "1.4.0", "capacity": ["FARGATE_SPOT", "EC2", "FARGATE", "gpu"]}`)
	want := []string{"1.4.0", "", "1.4.0", ""}
	for i, place := range job.placements() {
		o := orderOf(job)
		o.place = place
		in, err := o.request()
		if err != nil || deref(in.PlatformVersion) != want[i] {
			t.Errorf("%s: platform version %q, %v, want %q", place.name, deref(in.PlatformVersion), err, want[i])
		}
	}
}
