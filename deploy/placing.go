package deploy

import (
	"slices"
	"strings"

	"github.com/weir-run/weir/schemas"
)

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
		if kind, _ := b.typeOf(file.Type); !exists {
			was.AckWait = schemas.Duration(kind.AckWait)
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
