package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// State tells what there is already.
type State interface {
	Pools(ctx context.Context) ([]schemas.Pool, error)
	Deployments(ctx context.Context) ([]schemas.Deployment, error)
}

// Options say how a project is deployed. The zero value deploys all of it as it is written.
type Options struct {
	Pool               string         // put every deployment on this pool, whatever the file says
	CreateMissingPools bool           // make a process pool of every pool that a deployment names and nobody has
	Types              []runners.Type // the pool types there are
	Names              []string       // deploy only these, and the pools they use; empty: everything
}

// missingPoolType is the type of the pools that CreateMissingPools makes.
const missingPoolType = "process"

// Plan finds out what deploying p would do. Everything that is wrong with the file is told at once, as [FileErrors].
//
// A pool's settings that the file leaves out stay as they are, work queues among them: they may have been set by hand, and
// a queue may hold runs. A deployment is the file's alone: what the file leaves out is taken away.
func Plan(ctx context.Context, current State, p *Project, opts Options) (*Diff, error) {
	if opts.Pool != "" {
		if err := schemas.CheckName("pool", opts.Pool); err != nil {
			return nil, err
		}
	}
	selected, err := choose(p, opts.Names)
	if err != nil {
		return nil, err
	}
	pools, err := current.Pools(ctx)
	if err != nil {
		return nil, fmt.Errorf("read work pools: %w", err)
	}
	deployments, err := current.Deployments(ctx)
	if err != nil {
		return nil, fmt.Errorf("read deployments: %w", err)
	}
	b := planner{
		project: p, opts: opts, errs: p.errors(), diff: &Diff{Pools: []PoolChange{}, Deployments: []DeploymentChange{}},
		was: map[string]schemas.Pool{}, pools: map[string]schemas.Pool{}, renderers: map[string]*runners.Renderer{}, missing: map[string][]string{},
	}
	for _, pool := range pools {
		b.was[pool.Name], b.pools[pool.Name] = pool, pool
	}
	planned := b.filePools(selected)
	for i := range selected {
		planned = append(planned, b.place(&selected[i])...)
	}
	for _, d := range selected {
		b.check(d)
	}
	if err := b.errs.err(); err != nil {
		return nil, err
	}
	if err := b.poolChanges(planned); err != nil {
		return nil, err
	}
	return b.diff, b.deploymentChanges(selected, deployments)
}

// choose returns the deployments of those names, in the order of the file.
func choose(p *Project, names []string) ([]schemas.Deployment, error) {
	if len(names) == 0 {
		return slices.Clone(p.Deployments), nil
	}
	var known []string
	var selected []schemas.Deployment
	for _, d := range p.Deployments {
		known = append(known, d.Name)
		if slices.Contains(names, d.Name) {
			selected = append(selected, d)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			hint := didYouMean(name, known)
			if hint == "" {
				hint = "; it has " + strings.Join(known, ", ")
			}
			return nil, fmt.Errorf("%s has no deployment %q%s", p.Path, name, hint)
		}
	}
	return selected, nil
}

// planner holds a plan while it is made.
type planner struct {
	project   *Project
	opts      Options
	errs      *source
	diff      *Diff
	was       map[string]schemas.Pool // pools there are
	pools     map[string]schemas.Pool // pools there will be
	missing   map[string][]string     // pools that nobody has, and the deployments that name each
	renderers map[string]*runners.Renderer
}

func (b *planner) poolChanges(names []string) error {
	for _, name := range names {
		var old any
		if was, exists := b.was[name]; exists {
			old = was
		}
		next := b.pools[name]
		change, err := compare(name, old, next)
		if err != nil {
			return fmt.Errorf("compare work pool %s: %w", name, err)
		}
		if users := b.missing[name]; users != nil {
			change.Note = "it does not exist and is used by " + strings.Join(users, ", ")
		}
		b.diff.Pools = append(b.diff.Pools, PoolChange{Change: change, Pool: next})
	}
	return nil
}

func (b *planner) deploymentChanges(selected, current []schemas.Deployment) error {
	was := make(map[string]schemas.Deployment, len(current))
	for _, d := range current {
		was[d.Name] = d
	}
	for _, next := range selected {
		var old any
		if w, exists := was[next.Name]; exists {
			old, next.Created = w, w.Created
		}
		change, err := compare(next.Name, old, next)
		if err != nil {
			return fmt.Errorf("compare deployment %s: %w", next.Name, err)
		}
		if b.project.absent[next.Name] != nil && change.Action != Unchanged {
			change.Note = "its entrypoint's file is not beside the project file: it has to be in the image, and its parameters are not checked"
		}
		b.diff.Deployments = append(b.diff.Deployments, DeploymentChange{Change: change, Deployment: next})
	}
	return nil
}
