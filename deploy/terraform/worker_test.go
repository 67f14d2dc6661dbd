package terraform_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zclconf/go-cty/cty"
)

var update = flag.Bool("update", false, "write the golden files")

// worker is what the worker's module sees, with given beside what it needs.
func worker(t *testing.T, given map[string]cty.Value) (*module, map[string]cty.Value) {
	t.Helper()
	m := load(t, "ecs-worker")
	all := map[string]cty.Value{
		"pool": cty.StringVal("production"), "image": cty.StringVal("weir:1"), "cluster_arn": cty.StringVal("arn"), "jobs_cluster": cty.StringVal("jobs"),
		"jobs_roles": texts("r1", "r2"), "vpc_id": cty.StringVal("vpc-1"), "subnets": texts("subnet-1"),
	}
	for name, value := range given {
		all[name] = value
	}
	this := func(attribute, value string) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"this": cty.ObjectVal(map[string]cty.Value{attribute: cty.StringVal(value)})})
	}
	return m, m.scope(t, all, map[string]cty.Value{
		"data": cty.ObjectVal(map[string]cty.Value{"aws_region": this("id", "eu-central-1")}),
		"aws_cloudwatch_log_group": cty.ObjectVal(map[string]cty.Value{
			"worker": cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal("/weir/worker/weir-worker")}),
		}),
	})
}

// The container that ECS is asked for: credentials by reference only, and time to drain.
func TestWorker_container(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]map[string]cty.Value{
		"url": {"nats_url_secret": cty.StringVal("arn:url")},
		"creds": {
			"nats_url_secret": cty.StringVal("arn:url"), "nats_creds_secret": cty.StringVal("arn:creds"), "slots": cty.NumberIntVal(50),
			"arguments":   texts("--work-queue", "urgent"),
			"environment": cty.ObjectVal(map[string]cty.Value{"WEIR_ECS_EVENTS_QUEUE": cty.StringVal("https://queue")}),
		},
	} {
		m, scope := worker(t, given)
		got := decoded(t, m.value(t, m.resources["aws_ecs_task_definition.worker"].Attributes["container_definitions"].Expr, scope).AsString())
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "worker."+name+".golden.json")
		if *update {
			if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(b)+"\n"); diff != "" {
			t.Errorf("%s (-want +got, go test -update rewrites it):\n%s", file, diff)
		}
	}
}

// The secrets are usually made in the same plan, when nobody knows their ARNs.
func TestWorker_canBePlannedBeforeItsSecretsExist(t *testing.T) {
	t.Parallel()
	m, scope := worker(t, map[string]cty.Value{"nats_url_secret": cty.UnknownVal(cty.String), "nats_creds_secret": cty.UnknownVal(cty.String)})
	got := m.value(t, m.resources["aws_ecs_task_definition.worker"].Attributes["container_definitions"].Expr, scope)
	if got.IsKnown() || got.Type() != cty.String {
		t.Errorf("got %#v, want text that is known later", got)
	}
	p := load(t, "ecs-policies")
	later := p.scope(t, map[string]cty.Value{
		"region": cty.StringVal("r"), "account": cty.StringVal("123456789012"), "cluster": cty.StringVal("c"), "secrets": cty.UnknownVal(cty.List(cty.String)),
	}, nil)
	if got := p.value(t, p.outputs["execution"].Attributes["value"].Expr, later); got.IsKnown() || got.Type() != cty.String {
		t.Errorf("the policy is %#v, want text that is known later", got)
	}
}
