package deploy

import (
	"context"
	"errors"
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

// filePools plans the file's pools, or those of them that the selected deployments use, and returns their names.
func (b *planner) filePools(selected []schemas.Deployment) []string {
	var names []string
	for _, file := range b.project.Pools {
		used := slices.ContainsFunc(selected, func(d schemas.Deployment) bool { return file.Name == b.poolOf(d) })
		if len(b.opts.Names) > 0 && !used {
			continue
		}
		at := b.project.poolPlaces(file.Name)
		was, exists := b.was[file.Name]
		if _, ok := b.typeOf(file.Type); !ok {
			b.pools[file.Name] = overlay(was, file) // so that its deployments are not told that it is missing
			b.errs.fail(at.kind, "pool %s: there is no pool type %q%s; there are %s", file.Name, file.Type,
				didYouMean(file.Type, b.typeNames()), strings.Join(b.typeNames(), ", "))
			continue
		}
		if exists && was.Type != file.Type {
			b.errs.fail(at.kind, "pool %s has type %s, which cannot change: give the new pool another name, or delete the old one first with: "+
				"weir work-pool delete %s", file.Name, was.Type, file.Name)
			continue
		}
		b.pools[file.Name] = overlay(was, file)
		names = append(names, file.Name)
	}
	return names
}

// overlay returns was with what file says.
func overlay(was, file schemas.Pool) schemas.Pool {
	was.Name, was.Type = file.Name, file.Type
	if file.Description != "" {
		was.Description = file.Description
	}
	if file.ConcurrencyLimit != 0 {
		was.ConcurrencyLimit = file.ConcurrencyLimit
	}
	if file.AckWait != 0 {
		was.AckWait = file.AckWait
	}
	if file.Replicas != 0 {
		was.Replicas = file.Replicas
	}
	if len(file.BaseJobTemplate) > 0 {
		was.BaseJobTemplate = file.BaseJobTemplate
	}
	was.WorkQueues = slices.Clone(was.WorkQueues)
	for _, q := range file.WorkQueues {
		if i := slices.IndexFunc(was.WorkQueues, func(w schemas.WorkQueue) bool { return w.Name == q.Name }); i >= 0 {
			was.WorkQueues[i] = q
		} else {
			was.WorkQueues = append(was.WorkQueues, q)
		}
	}
	return was
}

func (b *planner) poolOf(d schemas.Deployment) string {
	if b.opts.Pool != "" {
		return b.opts.Pool
	}
	return d.Pool
}

// place settles which pool and queue d uses, and returns the pool's name if it has to be made.
func (b *planner) place(d *schemas.Deployment) []string {
	at := b.project.deploymentPlaces(d.Name)
	if d.Queue == "" {
		d.Queue = schemas.DefaultQueue
	}
	d.Pool = b.poolOf(*d)
	if d.Pool == "" {
		b.errs.fail(at.pool, "deployment %s names no work pool: write work_pool: {name: …}, or choose one with --pool", d.Name)
		return nil
	}
	pool, ok := b.pools[d.Pool]
	if !ok {
		if !b.opts.CreateMissingPools {
			b.errs.fail(at.pool, "deployment %s names the work pool %q, which does not exist%s; create it with: weir work-pool create %s --type %s",
				d.Name, d.Pool, didYouMean(d.Pool, keys(b.pools)), d.Pool, missingPoolType)
			return nil
		}
		pool = schemas.Pool{Name: d.Pool, Type: missingPoolType}
	}
	if users := b.missing[d.Pool]; !ok || users != nil {
		b.missing[d.Pool] = append(users, d.Name)
		if d.Queue != schemas.DefaultQueue && !hasQueue(pool, d.Queue) {
			pool.WorkQueues = append(pool.WorkQueues, schemas.WorkQueue{Name: d.Queue})
		}
		b.pools[d.Pool] = pool
	}
	if !hasQueue(pool, d.Queue) {
		b.errs.fail(at.queue, "work pool %s has no work queue %q%s; create it with: weir work-queue create %s --pool %s",
			pool.Name, d.Queue, didYouMean(d.Queue, queueNames(pool)), d.Queue, pool.Name)
	}
	if !ok {
		return []string{d.Pool}
	}
	return nil
}

func hasQueue(p schemas.Pool, name string) bool { return slices.Contains(queueNames(p), name) }

func queueNames(p schemas.Pool) []string {
	var names []string
	for _, q := range p.Queues() {
		names = append(names, q.Name)
	}
	return names
}

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
		b.diff.Deployments = append(b.diff.Deployments, DeploymentChange{Change: change, Deployment: next})
	}
	return nil
}
