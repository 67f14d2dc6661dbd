// Package terraform_test looks at the Terraform modules as far as that goes without AWS's provider, which a closed network cannot have: they
// parse and are formatted, what they refer to is there, nothing is left over, and their policies are those of runners/ecs/policies.
package terraform_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

var dirs = []string{"ecs-policies", "ecs-push", "ecs-worker"}

func TestModules_areAllLookedAt(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("*/main.tf")
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	if diff := cmp.Diff(dirs, found); diff != "" {
		t.Errorf("modules (-looked at +there):\n%s", diff)
	}
}

func TestModules_sayWhatTheyTakeAndGive(t *testing.T) {
	t.Parallel()
	for _, dir := range dirs {
		m := load(t, dir)
		for name, body := range m.variables {
			if body.Attributes["type"] == nil || !described(t, body) {
				t.Errorf("%s: variable %s needs a type and a description that is a sentence", dir, name)
			}
			if !m.used["var."+name] {
				t.Errorf("%s: variable %s is not used", dir, name)
			}
			if a := body.Attributes["default"]; a != nil && len(a.Expr.Variables()) > 0 {
				t.Errorf("%s: the default of variable %s is no constant", dir, name)
			}
		}
		for name, body := range m.outputs {
			if body.Attributes["value"] == nil || !described(t, body) {
				t.Errorf("%s: output %s needs a value and a description that is a sentence", dir, name)
			}
		}
	}
}

func described(t *testing.T, body *hclsyntax.Body) bool {
	t.Helper()
	a := body.Attributes["description"]
	if a == nil {
		return false
	}
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return strings.HasSuffix(v.AsString(), ".") && len(v.AsString()) > 10
}

func TestModules_referToWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, dir := range dirs {
		m := load(t, dir)
		for ref := range m.used {
			first, rest, _ := strings.Cut(ref, ".")
			name, attribute, _ := strings.Cut(rest, ".")
			switch first {
			case "var":
				if m.variables[name] == nil {
					t.Errorf("%s: there is no variable %s", dir, name)
				}
			case "local":
				if m.locals[name] == nil {
					t.Errorf("%s: there is no local %s", dir, name)
				}
			case "module":
				if m.calls[name] == nil {
					t.Errorf("%s: there is no module %s", dir, name)
				} else if called := m.called(t, name); called.outputs[attribute] == nil {
					t.Errorf("%s: module %s has no output %s", dir, called.dir, attribute)
				}
			case "path", "count", "each":
			default:
				if m.resources[ref] == nil {
					t.Errorf("%s: there is no %s", dir, ref)
				}
			}
		}
		for name := range m.locals {
			if !m.used["local."+name] {
				t.Errorf("%s: local %s is not used", dir, name)
			}
		}
		for name := range m.resources {
			if strings.HasPrefix(name, "data.") && !m.used[name] {
				t.Errorf("%s: %s is not used", dir, name)
			}
		}
		for name, call := range m.calls {
			m.called(t, name).checkCall(t, dir+", module "+name, call)
		}
		for name := range m.functions {
			if _, known := functions[name]; !known {
				t.Errorf("%s: Terraform's function %s is not known to this test: is it one?", dir, name)
			}
		}
	}
}

// called is the module beside this one that a block calls.
func (m *module) called(t *testing.T, name string) *module {
	t.Helper()
	v, diags := m.calls[name].Attributes["source"].Expr.Value(nil)
	if diags.HasErrors() || !strings.HasPrefix(v.AsString(), "../") {
		t.Fatalf("%s: module %s is not beside it: %v", m.dir, name, diags)
	}
	return load(t, filepath.Join(m.dir, v.AsString()))
}

// A module's page has its variables and outputs, no more and no fewer, in tables, and an example that can be copied.
func TestReadmes_areOfTheirModules(t *testing.T) {
	t.Parallel()
	modules := map[string]*module{}
	for _, dir := range dirs {
		modules[dir] = load(t, dir)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)`(?: \\(needed\\))? \\|")
	for _, dir := range dirs {
		m := modules[dir]
		b, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		page := string(b)
		for heading, declared := range map[string]map[string]*hclsyntax.Body{"Inputs": m.variables, "Outputs": m.outputs} {
			_, section, _ := strings.Cut(page, "\n## "+heading+"\n")
			section, _, _ = strings.Cut(section, "\n## ")
			var got, want []string
			for _, row := range rows.FindAllStringSubmatch(section, -1) {
				got = append(got, row[1])
			}
			for name := range declared {
				want = append(want, name)
				if required := slices.Contains(m.required(), name); heading == "Inputs" && required != strings.Contains(section, "| `"+name+"` (needed) |") {
					t.Errorf("%s/README.md: %s is needed: %v, and the page says otherwise", dir, name, required)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s/README.md, %s (-module +page):\n%s", dir, heading, diff)
			}
		}
		examples := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(page, -1)
		if len(examples) == 0 {
			t.Errorf("%s/README.md has no example", dir)
		}
		for _, example := range examples {
			checkExample(t, dir+"/README.md", example[1], modules)
		}
	}
}

// checkExample parses an example and holds its calls against the modules that they call.
func checkExample(t *testing.T, page, text string, modules map[string]*module) {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(text), page, hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	called := map[string]*module{}
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		if b.Type != "module" {
			continue
		}
		source, diags := b.Body.Attributes["source"].Expr.Value(nil)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		_, dir, _ := strings.Cut(source.AsString(), "//deploy/terraform/")
		dir, _, _ = strings.Cut(dir, "?")
		m := modules[dir]
		if m == nil {
			t.Errorf("%s: %s is no module here", page, source.AsString())
			continue
		}
		m.checkCall(t, page, b.Body)
		called[b.Labels[0]] = m
	}
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		for _, a := range b.Body.Attributes {
			for _, traversal := range a.Expr.Variables() {
				if traversal.RootName() != "module" {
					continue
				}
				_, rest, _ := strings.Cut(reference(traversal), ".")
				name, output, _ := strings.Cut(rest, ".")
				if m := called[name]; m == nil || m.outputs[output] == nil {
					t.Errorf("%s: there is no %s", page, reference(traversal))
				}
			}
		}
	}
}

// The modules are checked against nothing that only AWS's provider knows, so what they ask it for is kept short and looked over by eye.
func TestModules_haveOnlyTheseResources(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"ecs-policies": nil,
		"ecs-push": {
			"aws_cloudwatch_event_rule.events", "aws_cloudwatch_event_target.events", "aws_cloudwatch_log_group.jobs", "aws_ecs_cluster.jobs",
			"aws_ecs_cluster_capacity_providers.jobs", "aws_iam_policy.runner", "aws_iam_role.execution", "aws_iam_role.job", "aws_iam_role_policy.execution",
			"aws_iam_role_policy_attachment.server", "aws_sqs_queue.events", "aws_sqs_queue_policy.events",
		},
		"ecs-worker": {
			"aws_cloudwatch_log_group.worker", "aws_ecs_service.worker", "aws_ecs_task_definition.worker", "aws_iam_role.execution", "aws_iam_role.worker",
			"aws_iam_role_policy.execution", "aws_iam_role_policy.worker", "aws_security_group.worker",
		},
	}
	for _, dir := range dirs {
		var got []string
		for name := range load(t, dir).resources {
			if !strings.HasPrefix(name, "data.") {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want[dir], got); diff != "" {
			t.Errorf("resources of %s (-want +got):\n%s", dir, diff)
		}
	}
}

// The role with which tasks are started is ECS's own to take on, the others are for what runs in a task.
func TestRoles_areTrustedToWhomTheyAreFor(t *testing.T) {
	t.Parallel()
	for _, dir := range dirs[1:] {
		for name, body := range load(t, dir).resources {
			role, ok := strings.CutPrefix(name, "aws_iam_role.")
			if !ok {
				continue
			}
			want := "tasks"
			if role == "execution" {
				want = "agent"
			}
			trust := reference(body.Attributes["assume_role_policy"].Expr.Variables()[0])
			if !strings.HasSuffix(trust, "."+want) {
				t.Errorf("%s: role %s is trusted by %s, want the policy %s", dir, role, trust, want)
			}
		}
	}
}
