package terraform_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/weir-run/weir/runners/ecs/policies"
)

// functions are Terraform's that the modules use.
var functions = map[string]function.Function{
	"can": tryfunc.CanFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "flatten": stdlib.FlattenFunc, "jsondecode": stdlib.JSONDecodeFunc,
	"jsonencode": stdlib.JSONEncodeFunc, "length": stdlib.LengthFunc, "merge": stdlib.MergeFunc, "regex": stdlib.RegexFunc,
	"slice": stdlib.SliceFunc, "templatefile": templateFile, "tostring": stdlib.MakeToFunc(cty.String), "try": tryfunc.TryFunc,
	"values": stdlib.ValuesFunc,
}

// scope computes what the expressions of a module see, as Terraform does: variables, locals, and what is given of resources and data.
func (m *module) scope(t *testing.T, given, resources map[string]cty.Value) map[string]cty.Value {
	t.Helper()
	variables := map[string]cty.Value{}
	for name, body := range m.variables {
		value, ok := given[name]
		if !ok {
			a := body.Attributes["default"]
			if a == nil {
				t.Fatalf("%s: variable %s is not given", m.dir, name)
			}
			value = m.value(t, a.Expr, nil)
		}
		of, diags := typeexpr.TypeConstraint(body.Attributes["type"].Expr)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		value, err := convert.Convert(value, of)
		if err != nil {
			t.Fatalf("%s: variable %s: %v", m.dir, name, err)
		}
		variables[name] = value
	}
	scope := map[string]cty.Value{
		"var": cty.ObjectVal(variables), "path": cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(m.dir)}),
	}
	maps.Copy(scope, resources)
	locals := map[string]cty.Value{}
	var local func(name string)
	local = func(name string) {
		if _, done := locals[name]; done {
			return
		}
		for _, traversal := range m.locals[name].Variables() {
			if other, ok := strings.CutPrefix(reference(traversal), "local."); ok {
				local(other)
			}
		}
		scope["local"] = cty.ObjectVal(locals)
		locals[name] = m.value(t, m.locals[name], scope)
	}
	for name := range m.locals {
		local(name)
	}
	scope["local"] = cty.ObjectVal(locals)
	return scope
}

func (m *module) value(t *testing.T, e hclsyntax.Expression, scope map[string]cty.Value) cty.Value {
	t.Helper()
	v, diags := e.Value(&hcl.EvalContext{Variables: scope, Functions: functions})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return v
}

var templateFile = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "values", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		text, err := os.ReadFile(args[0].AsString())
		if err != nil {
			return cty.NilVal, err
		}
		e, diags := hclsyntax.ParseTemplate(text, args[0].AsString(), hcl.InitialPos)
		if diags.HasErrors() {
			return cty.NilVal, diags
		}
		v, diags := e.Value(&hcl.EvalContext{
			Variables: args[1].AsValueMap(), Functions: map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc},
		})
		if diags.HasErrors() {
			return cty.NilVal, diags
		}
		return v, nil
	},
})

// What Terraform makes of the texts is what weir work-pool provision makes of them.
func TestPolicies_areThoseThatWeirItselfUses(t *testing.T) {
	t.Parallel()
	m := load(t, "ecs-policies")
	for name, scope := range map[string]policies.Scope{
		"least": {Partition: "aws", Region: "us-east-1", Account: "123456789012", Cluster: "weir"},
		"usual": {
			Partition: "aws", Region: "us-east-1", Account: "123456789012", Cluster: "weir", LogGroups: []string{"/weir/jobs"},
			Roles: []string{"arn:aws:iam::123456789012:role/weir-execution", "arn:aws:iam::123456789012:role/weir-job"},
		},
		"everything": {
			Partition: "aws-cn", Region: "cn-north-1", Account: "123456789012", Cluster: "jobs", FamilyPrefix: "team-", Families: []string{"nightly", "weekly"},
			Roles: []string{"r1", "r2", "r3"}, LogGroups: []string{"/a", "/b"}, Repositories: []string{"p1", "p2"}, Secrets: []string{"s"},
			Parameters: []string{"m"}, Keys: []string{"k"}, Queue: "q", Rule: "u",
		},
	} {
		given := map[string]cty.Value{
			"partition": cty.StringVal(scope.Partition), "region": cty.StringVal(scope.Region), "account": cty.StringVal(scope.Account),
			"cluster": cty.StringVal(scope.Cluster), "queue": cty.StringVal(scope.Queue), "rule": cty.StringVal(scope.Rule),
			"families": texts(scope.Families...), "roles": texts(scope.Roles...), "log_groups": texts(scope.LogGroups...),
			"repositories": texts(scope.Repositories...), "secrets": texts(scope.Secrets...), "parameters": texts(scope.Parameters...),
			"keys": texts(scope.Keys...),
		}
		if scope.FamilyPrefix != "" {
			given["family_prefix"] = cty.StringVal(scope.FamilyPrefix)
		}
		here := m.scope(t, given, nil)
		for output, policy := range map[string]policies.Policy{
			"runner": policies.Runner, "execution": policies.Execution, "agent": policies.Agent, "tasks": policies.Tasks, "events": policies.Events,
		} {
			want, err := policy.Document(scope)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decoded(t, string(want)), decoded(t, m.value(t, m.outputs[output].Attributes["value"].Expr, here).AsString())); diff != "" {
				t.Errorf("%s for %s (-weir +terraform):\n%s", output, name, diff)
			}
		}
	}
	if text, err := filepath.Glob("ecs-policies/*.json.tftpl"); err != nil || len(text) != len(m.outputs) {
		t.Errorf("got outputs %d and texts %v", len(m.outputs), text)
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// texts is a list as it is written.
func texts(list ...string) cty.Value {
	var values []cty.Value
	for _, s := range list {
		values = append(values, cty.StringVal(s))
	}
	return cty.TupleVal(values)
}
