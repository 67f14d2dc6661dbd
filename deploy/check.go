package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// check renders d's job once, so that a wrong job variable is found now and not by the first run.
func (b *planner) check(d schemas.Deployment) {
	pool, ok := b.pools[d.Pool]
	if !ok {
		return // told by place
	}
	at := b.project.deploymentPlaces(d.Name)
	r, err := b.renderer(pool)
	if err != nil {
		b.errs.fail(at.pool, "deployment %s: work pool %s: %s", d.Name, pool.Name, err)
		return
	}
	if r == nil {
		return // told by filePools
	}
	for _, code := range keys(d.ExitCodes) {
		if d.ExitCodes[code] == schemas.EndRetry && d.Retries == nil {
			b.errs.fail(at.exitCodes.find("."+code), "deployment %s: exit code %s means retry, and retries says how often: write retries: 3, or what you like", d.Name, code)
		}
	}
	if absent := b.project.absent[d.Name]; absent != nil {
		if t, _ := b.typeOf(pool.Type); !t.OwnFiles {
			b.errs.fail(at.entrypoint, "%s", about(d.Entrypoint, absent))
		}
	}
	_, err = r.Job(d, nil)
	if err == nil {
		return
	}
	where := at.command
	if at.jobVariables != nil {
		where = at.jobVariables.at
	} else if where.line == 0 {
		where = at.pool
	}
	invalid, ok := errors.AsType[*schemas.InvalidError](err)
	if !ok {
		b.errs.fail(where, "deployment %s could not start on work pool %s: %s", d.Name, pool.Name, err)
		return
	}
	for _, problem := range invalid.Problems {
		path := strings.TrimPrefix(problem.Field, "job_variables")
		if at.jobVariables != nil {
			where = at.jobVariables.find(path)
		}
		b.errs.fail(where, "deployment %s: %s", d.Name, problem)
	}
}

func (b *planner) renderer(pool schemas.Pool) (*runners.Renderer, error) {
	if r, ok := b.renderers[pool.Name]; ok {
		return r, nil
	}
	t, ok := b.typeOf(pool.Type)
	if !ok {
		if b.project.pools[pool.Name] != nil {
			return nil, nil
		}
		return nil, fmt.Errorf("it has type %q, which this weir does not know; it knows %s", pool.Type, strings.Join(b.typeNames(), ", "))
	}
	r, err := runners.NewRenderer(t, pool.BaseJobTemplate)
	if err == nil {
		b.renderers[pool.Name] = r
	}
	return r, err
}

func (b *planner) typeOf(name string) (runners.Type, bool) {
	i := slices.IndexFunc(b.opts.Types, func(t runners.Type) bool { return t.Name == name })
	if i < 0 {
		return runners.Type{}, false
	}
	return b.opts.Types[i], true
}

func (b *planner) typeNames() []string {
	names := make([]string, len(b.opts.Types))
	for i := range names {
		names[i] = b.opts.Types[i].Name
	}
	return names
}
