package runners

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-run/weir/schemas"
)

// A Renderer makes the jobs of one pool: the type's defaults, the pool's base job template, the deployment, the run, each
// over the one before. It is compiled once for a pool's record and is safe for concurrent use.
type Renderer struct {
	kind        Type
	template    Template
	wordCommand bool // the template takes a command as a list of words
}

// NewRenderer compiles a pool's base job template over its type's. An empty template stands for the type's own.
func NewRenderer(t Type, pool json.RawMessage) (*Renderer, error) {
	own, err := ParseTemplate(t.Template)
	if err != nil {
		return nil, fmt.Errorf("pool type %s: %w", t.Name, err)
	}
	own.see = "weir work-pool get-default-base-job-template --type " + t.Name
	r := &Renderer{kind: t, template: own}
	if len(pool) > 0 && string(pool) != "null" {
		theirs, err := ParseTemplate(pool)
		if err != nil {
			return nil, err
		}
		theirs.see = own.see
		if !slices.Equal(theirs.Variables.names, own.Variables.names) {
			theirs.see = "weir work-pool inspect POOL --output json"
		}
		if r.template, err = theirs.over(own); err != nil {
			return nil, err
		}
	}
	words := map[string]json.RawMessage{"command": json.RawMessage(`["true"]`)}
	r.wordCommand = len(r.template.Variables.mismatches(words)) == 0
	return r, nil
}

// Template returns what the renderer fills.
func (r *Renderer) Template() Template { return r.template }

// Job renders the job of a run of d with the run's own job variables, which may be nil. What is wrong with a variable is an
// [*schemas.InvalidError]; any other error is the type's, about a job that could never start.
func (r *Renderer) Job(d schemas.Deployment, run map[string]json.RawMessage) (json.RawMessage, error) {
	layers := []map[string]json.RawMessage{d.JobVariables, run}
	if len(d.Command) > 0 {
		if _, set := d.JobVariables["command"]; !set {
			command, err := r.command(d.Command)
			if err != nil {
				return nil, fmt.Errorf("deployment %s: command: %w", d.Name, err)
			}
			layers = append([]map[string]json.RawMessage{{"command": command}}, layers...)
		}
	}
	job, err := r.template.Render(layers...)
	if err != nil {
		return nil, err
	}
	if r.kind.Check != nil {
		if err := r.kind.Check(job); err != nil {
			return nil, err
		}
	}
	return job, nil
}

// command writes words as the template wants them: Prefect's templates take text that is split again as a shell does.
func (r *Renderer) command(words schemas.Command) (json.RawMessage, error) {
	if r.wordCommand {
		return encode([]string(words))
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = ShellQuote(w)
	}
	return encode(strings.Join(quoted, " "))
}

// ShellQuote writes w so that [schemas.SplitCommand], like any POSIX shell, reads it as one word.
func ShellQuote(w string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%_-+=:,./", r)
	}
	if w != "" && strings.TrimFunc(w, plain) == "" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// Job renders one job as [Renderer] does, for a caller that renders once.
func Job(t Type, pool schemas.Pool, d schemas.Deployment, run map[string]json.RawMessage) (json.RawMessage, error) {
	r, err := NewRenderer(t, pool.BaseJobTemplate)
	if err != nil {
		return nil, fmt.Errorf("pool %s: %w", pool.Name, err)
	}
	return r.Job(d, run)
}
