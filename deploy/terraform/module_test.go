package terraform_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// module is a Terraform module as it is written.
type module struct {
	dir       string
	variables map[string]*hclsyntax.Body
	outputs   map[string]*hclsyntax.Body
	locals    map[string]hclsyntax.Expression
	resources map[string]*hclsyntax.Body // type.name, and data.type.name
	calls     map[string]*hclsyntax.Body
	used      map[string]bool // var.x, local.x, module.x.y, type.name, data.type.name
	functions map[string]bool
}

// load reads the module in dir. What cannot be parsed, or is not formatted as terraform fmt does, fails the test.
func load(t *testing.T, dir string) *module {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: got %v, %v, want a module", dir, files, err)
	}
	m := &module{
		dir: dir, variables: map[string]*hclsyntax.Body{}, outputs: map[string]*hclsyntax.Body{}, locals: map[string]hclsyntax.Expression{},
		resources: map[string]*hclsyntax.Body{}, calls: map[string]*hclsyntax.Body{}, used: map[string]bool{}, functions: map[string]bool{},
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(hclwrite.Format(source), source) {
			t.Errorf("%s is not formatted: terraform fmt (or tofu fmt) mends it", file)
		}
		m.read(t, file, source)
	}
	return m
}

func (m *module) read(t *testing.T, file string, source []byte) {
	t.Helper()
	parsed, diags := hclsyntax.ParseConfig(source, file, hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	body := parsed.Body.(*hclsyntax.Body)
	for name := range body.Attributes {
		t.Errorf("%s: %s stands outside every block", file, name)
	}
	for _, b := range body.Blocks {
		where := b.DefRange().String()
		want := map[string]int{"variable": 1, "output": 1, "locals": 0, "resource": 2, "data": 2, "module": 1, "terraform": 0}
		if n, ok := want[b.Type]; !ok || n != len(b.Labels) {
			t.Errorf("%s: a block %s with labels %v", where, b.Type, b.Labels)
			continue
		}
		name := strings.Join(b.Labels, ".")
		if b.Type == "data" {
			name = "data." + name
		}
		known := m.variables[name] != nil && b.Type == "variable" || m.outputs[name] != nil && b.Type == "output" || m.calls[name] != nil && b.Type == "module" ||
			m.resources[name] != nil
		if known {
			t.Errorf("%s: there is a second %s %s", where, b.Type, name)
		}
		switch b.Type {
		case "variable":
			m.variables[name] = b.Body
		case "output":
			m.outputs[name] = b.Body
		case "locals":
			for name, a := range b.Body.Attributes {
				m.locals[name] = a.Expr
			}
		case "resource", "data":
			m.resources[name] = b.Body
		case "module":
			m.calls[name] = b.Body
		}
		m.look(t, b.Body, b.Type == "variable")
	}
}

// look collects what the expressions of a block refer to.
func (m *module) look(t *testing.T, body *hclsyntax.Body, declares bool) {
	t.Helper()
	for name, a := range body.Attributes {
		if declares && name == "type" {
			continue // string and list(string) are no references
		}
		_ = hclsyntax.VisitAll(a.Expr, func(n hclsyntax.Node) hcl.Diagnostics {
			if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
				m.functions[call.Name] = true
			}
			return nil
		})
		for _, traversal := range a.Expr.Variables() {
			if ref := reference(traversal); ref != "" {
				m.used[ref] = true
			} else {
				t.Errorf("%s: %s is not understood", traversal.SourceRange(), traversal.RootName())
			}
		}
	}
	for _, b := range body.Blocks {
		if b.Type == "provisioner" || b.Type == "connection" {
			t.Errorf("%s: a module runs nothing", b.DefRange())
		}
		m.look(t, b.Body, false)
	}
}

// reference names what a traversal refers to: its first two parts, or three where the first is module or data.
func reference(t hcl.Traversal) string {
	parts := []string{t.RootName()}
	want := 2
	if t.RootName() == "module" || t.RootName() == "data" {
		want = 3
	}
	for _, step := range t[1:] {
		attr, ok := step.(hcl.TraverseAttr)
		if !ok || len(parts) == want {
			break
		}
		parts = append(parts, attr.Name)
	}
	if len(parts) != want {
		return ""
	}
	return strings.Join(parts, ".")
}

// required are the variables without a default.
func (m *module) required() []string {
	var names []string
	for name, body := range m.variables {
		if body.Attributes["default"] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkCall tells what is wrong with a call of m.
func (m *module) checkCall(t *testing.T, where string, call *hclsyntax.Body) {
	t.Helper()
	for name := range call.Attributes {
		if m.variables[name] == nil && !slices.Contains([]string{"source", "version", "count", "for_each", "providers"}, name) {
			t.Errorf("%s: module %s has no variable %s", where, m.dir, name)
		}
	}
	for _, name := range m.required() {
		if call.Attributes[name] == nil {
			t.Errorf("%s: module %s needs %s", where, m.dir, name)
		}
	}
}
