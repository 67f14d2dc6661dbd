package docker

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// How old what nobody has removed may become. An ended container is as long the only witness of a run whose end nobody has
// recorded as events are kept, and no longer.
const (
	leftoverAge  = 7 * 24 * time.Hour
	tombstoneAge = 24 * time.Hour
	sweepEvery   = time.Hour
)

// Forget implements [runners.Forgetter]: the container is removed, or kept where the job says so. That goes on in the background,
// also while the engine is away.
func (r *runner) Forget(name string) {
	e := r.holds(name)
	if e != nil {
		r.release(e)
	}
	r.mu.Lock()
	r.forgotten[name] = true
	r.mu.Unlock()
	r.removals.Add(1)
	r.spawn(func(ctx context.Context) {
		defer r.removals.Done()
		for ctx.Err() == nil {
			err := r.putAway(ctx, name, e)
			if err == nil {
				break
			}
			if ctx.Err() == nil && !unreachable(err) {
				r.log.Warn("a container that is done with could not be removed; it is a leftover", "execution", name, "err", err)
				break
			}
			_ = r.engine.await(ctx, false)
			pause(ctx, firstWait)
		}
		r.mu.Lock()
		delete(r.forgotten, name)
		r.mu.Unlock()
	})
}

// putAway removes or keeps an execution's container. e is what is known of it; nil: nothing.
func (r *runner) putAway(ctx context.Context, name string, e *execution) error {
	if e != nil && !e.keeps() {
		return r.removeContainer(ctx, e.id)
	}
	c, err := r.inspect(ctx, r.containerName(name))
	if errdefs.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	if !r.ours(c.Config.Labels) || c.Config.Labels[labelTombstone] != "" {
		return nil
	}
	k := parseKeep(c.Config.Labels[labelKeep])
	failed := ended(c) && c.State.ExitCode != 0 && (e == nil || !e.wasStopped())
	if !ended(c) || !k.always && (k.failed == 0 || !failed) {
		return r.removeContainer(ctx, c.ID)
	}
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err = r.engine.api.ContainerRename(call, c.ID, client.ContainerRenameOptions{NewName: r.containerName(name) + keptSuffix})
	if err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
		return err
	}
	if !k.always {
		return r.trim(ctx, c.Config.Labels[labelDeployment], k.failed)
	}
	return nil
}

// keeps tells whether the container may be one to keep.
func (e *execution) keeps() bool { return e.keep.always || e.keep.failed > 0 && !e.wasStopped() }

func (e *execution) wasStopped() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stopped
}

// removeContainer removes a container with the volumes that are its alone. One that is not there, or is being removed, is not an error.
func (r *runner) removeContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := r.engine.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return err
}

// removeUnstarted removes a container that was seen as one that has not started. It may run by now, and then the engine refuses,
// with a conflict: whoever asks looks again.
func (r *runner) removeUnstarted(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := r.engine.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{RemoveVolumes: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return err
}

// trim removes all but the n containers of a deployment that failed last, of those that were kept for that.
func (r *runner) trim(ctx context.Context, deployment string, n int) error {
	list, err := r.list(ctx)
	if err != nil {
		return err
	}
	ends := map[string]time.Time{}
	for _, c := range list {
		if !kept(c.Names) || c.Labels[labelDeployment] != deployment || parseKeep(c.Labels[labelKeep]).always {
			continue
		}
		switch c, err := r.inspect(ctx, c.ID); {
		case err == nil:
			ends[c.ID] = deathOf(c, false).at
		case !errdefs.IsNotFound(err):
			return err
		}
	}
	newest := slices.SortedFunc(maps.Keys(ends), func(a, b string) int { return ends[b].Compare(ends[a]) })
	for _, id := range newest[min(n, len(newest)):] {
		if err := r.removeContainer(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// list returns this system's and pool's containers.
func (r *runner) list(ctx context.Context) ([]container.Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	all, err := r.engine.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: r.filters()})
	return slices.DeleteFunc(all.Items, func(c container.Summary) bool { return !r.owns(&c) }), err
}

// sweep removes what is too old to be of use, now and then.
func (r *runner) sweep(ctx context.Context) {
	for {
		if list, err := r.list(ctx); err == nil {
			for _, c := range list {
				if r.leftover(c, time.Now()) && !r.endedLately(ctx, c.ID) {
					if err := r.removeContainer(ctx, c.ID); err == nil {
						r.log.Info("removed an old container", "name", c.Names, "state", c.State)
					}
				}
			}
		}
		if !pause(ctx, sweepEvery) {
			return
		}
	}
}

// endedLately tells whether a container has ended within [leftoverAge]: one may have run for longer, and its end is recorded now.
func (r *runner) endedLately(ctx context.Context, id string) bool {
	c, err := r.inspect(ctx, id)
	return err != nil || ended(c) && time.Since(deathOf(c, false).at) < leftoverAge
}

// leftover tells whether a container of this pool is there without use. Nobody holds one that has ended or never started for so long.
func (r *runner) leftover(c container.Summary, now time.Time) bool {
	age := now.Sub(time.Unix(c.Created, 0))
	switch {
	case c.Labels[labelTombstone] != "":
		return age > tombstoneAge
	case c.State == container.StateCreated, c.State == container.StateExited, c.State == container.StateDead:
		return age > leftoverAge && r.holds(c.Labels[labelExecution]) == nil
	}
	return false
}
