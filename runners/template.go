package runners

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-run/weir/schemas"
)

// A Template is a base job template in Prefect's two parts. [ParseTemplate] compiles it once; after that it is read-only,
// so one Template serves any number of goroutines.
type Template struct {
	Variables        *Variables      // what may be set, with defaults
	JobConfiguration json.RawMessage // what {{ name }} in it makes the job

	see   string // the command that shows what can be set; empty: nobody knows
	root  node
	used  map[string]bool // variables that JobConfiguration uses
	plain json.RawMessage // the job without overrides, or nil where a required variable has no default
}

// noEffect are the variables that Prefect's own templates declare and that a pool may have no use for: each is accepted even
// where job_configuration never uses it, so that deployments written for Prefect go on working.
var noEffect = map[string]bool{
	"name":                               true, // executions are named by run and attempt
	"labels":                             true, // nothing to put them on, where there is no container
	"stream_output":                      true, // output always goes to the run's log
	"auto_remove":                        true,
	"auto_deregister_task_definition":    true,
	"match_latest_revision_in_family":    true,
	"task_watch_poll_interval":           true,
	"job_watch_timeout_seconds":          true,
	"pod_watch_timeout_seconds":          true,
	"prefect_api_key_secret_arn":         true, // jobs do not speak to a server
	"prefect_api_auth_string_secret_arn": true,
}

// ParseTemplate reads {"variables": {JSON Schema of an object}, "job_configuration": {…}}. The error says which part is wrong.
func ParseTemplate(raw json.RawMessage) (Template, error) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return Template{}, fmt.Errorf("base job template: it is not a JSON object: %w", err)
	}
	names := []string{"job_configuration", "variables"}
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		if !slices.Contains(names, key) {
			return Template{}, fmt.Errorf("base job template: unknown key %q: it has the two keys variables and job_configuration%s",
				key, didYouMean(key, names))
		}
	}
	if len(parts["job_configuration"]) == 0 {
		return Template{}, errors.New("base job template: job_configuration is missing: it says what job the variables make")
	}
	vars, err := parseVariables(parts["variables"])
	if err != nil {
		return Template{}, fmt.Errorf("base job template: variables: %w", err)
	}
	t := Template{Variables: vars, JobConfiguration: parts["job_configuration"], used: map[string]bool{}}
	config, err := decode(t.JobConfiguration)
	if err != nil {
		return Template{}, fmt.Errorf("base job template: job_configuration: %w", err)
	}
	if _, ok := config.(map[string]any); !ok {
		return Template{}, fmt.Errorf("base job template: job_configuration: got %.60s, want an object", t.JobConfiguration)
	}
	p := parser{known: vars.names, used: t.used}
	if t.root, err = p.parse(config, "job_configuration"); err != nil {
		return Template{}, fmt.Errorf("base job template: %w", err)
	}
	t.plain = t.renderPlain()
	return t, nil
}

// Render fills the job configuration with the template's defaults and the layers over them, as [Merge] does. Every wrong
// variable is named in the one [*schemas.InvalidError] that it returns. A value is never searched for placeholders.
func (t Template) Render(layers ...map[string]json.RawMessage) (json.RawMessage, error) {
	given := map[string]bool{}
	for _, layer := range layers {
		for name := range layer {
			given[name] = true
		}
	}
	if len(given) == 0 && t.plain != nil {
		return bytes.Clone(t.plain), nil
	}
	problems := t.misplaced(given)
	vars, err := Merge(append([]map[string]json.RawMessage{t.Variables.defaults}, layers...)...)
	if err != nil {
		return nil, invalid([]schemas.Problem{{Field: "job_variables", Text: err.Error()}})
	}
	problems = append(problems, t.Variables.check(vars, given)...)
	if len(problems) > 0 {
		return nil, invalid(problems)
	}
	return t.render(vars), nil
}

// misplaced names the variables that the template does not know, or knows and never uses: each would be without effect.
func (t Template) misplaced(given map[string]bool) []schemas.Problem {
	var problems []schemas.Problem
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch {
		case !t.Variables.has(name):
			problems = append(problems, problem(name, "the pool's base job template has no such variable%s", t.instead(name)))
		case !t.used[name] && !noEffect[name]:
			problems = append(problems, problem(name, "the pool's base job template declares it and never uses it, so it would have no effect; "+
				"use {{ %s }} in its job_configuration or leave it out", name))
		}
	}
	return problems
}

// instead says what there is instead of a variable that the template does not have: the one that was meant, else some, and where to see all.
func (t Template) instead(name string) string {
	const most = 12
	names := t.Variables.names
	said := didYouMean(name, names)
	if said == "" {
		said = "; it has " + orNone(names[:min(most, len(names))])
		if len(names) <= most {
			return said
		}
		said += fmt.Sprintf(" and %d more", len(names)-most)
	}
	if t.see != "" {
		said += "; see all with: " + t.see
	}
	return said
}

func (t Template) render(vars map[string]json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	b.Grow(len(t.JobConfiguration))
	t.root.render(&b, vars)
	var job bytes.Buffer
	if err := json.Compact(&job, b.Bytes()); err != nil {
		panic(err) // the template is JSON, and Merge has checked the values
	}
	return job.Bytes()
}

func (t Template) renderPlain() json.RawMessage {
	if len(t.Variables.check(t.Variables.defaults, nil)) > 0 {
		return nil
	}
	return t.render(t.Variables.defaults)
}

// over returns t with the defaults of base for the variables of t that have none, or an object to merge with. What would
// not fit the schema of t is left out.
func (t Template) over(base Template) (Template, error) {
	below := map[string]json.RawMessage{}
	for name, value := range base.Variables.defaults {
		one := map[string]json.RawMessage{name: value}
		if t.Variables.has(name) && len(t.Variables.mismatches(one)) == 0 {
			below[name] = value
		}
	}
	defaults, err := Merge(below, t.Variables.written)
	if err != nil {
		return Template{}, err
	}
	vars := *t.Variables
	vars.defaults = defaults
	t.Variables = &vars
	t.plain = t.renderPlain()
	return t, nil
}

func invalid(problems []schemas.Problem) error {
	return &schemas.InvalidError{What: "the job variables", Problems: problems}
}

func problem(name, format string, args ...any) schemas.Problem {
	return schemas.Problem{Field: "job_variables." + name, Text: fmt.Sprintf(format, args...)}
}

func didYouMean(name string, known []string) string {
	if near := schemas.Nearest(name, known); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
