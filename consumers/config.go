package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// config is the worker's live copy of its pool and of all deployments, kept by a watch: what all runs of a deployment share is worked
// out once.
type config struct {
	kind runners.Type

	mu          sync.Mutex
	pool        schemas.Pool        // under mu
	render      *runners.Renderer   // under mu
	deployments map[string]deployed // under mu
	changed     chan struct{}       // closed and replaced when the pool changes; under mu
	poolGone    bool                // under mu
}

// deployed is a deployment as it was recorded with that revision, which was the current one when the pool's stream had so many requests.
type deployed struct {
	*prepared
	revision uint64
	upTo     uint64 // sequence of a request
}

func newConfig(kind runners.Type, pool schemas.Pool) (*config, error) {
	r, err := runners.NewRenderer(kind, pool.BaseJobTemplate)
	if err != nil {
		return nil, fmt.Errorf("base job template of work pool %s: %w", pool.Name, err)
	}
	return &config{kind: kind, pool: pool, render: r, deployments: map[string]deployed{}, changed: make(chan struct{})}, nil
}

func (c *config) renderer() *runners.Renderer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.render
}

// current returns the pool's record, whether it still exists, and a channel that is closed when either changes.
func (c *config) current() (schemas.Pool, bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pool, !c.poolGone, c.changed
}

// deployment returns the deployment of a request, as it was recorded when that was stored, or later. A request may be faster than the
// watch: a run that is requested once weir deploy has returned is of what was deployed. So NATS is asked (0.1 ms), once for all that
// waits in the pool at that moment.
func (c *config) deployment(ctx context.Context, conn *streams.Conn, request *streams.Delivery) (*prepared, error) {
	name := request.Deployment
	c.mu.Lock()
	d, r := c.deployments[name], c.render
	c.mu.Unlock()
	if request.Sequence <= d.upTo {
		return d.prepared, nil
	}
	record, revision, err := conn.DeploymentNow(ctx, name, d.revision)
	if err != nil {
		return nil, err
	}
	if record != nil {
		d = deployed{prepare(r, *record), revision, 0}
	}
	d.upTo = max(d.upTo, request.Horizon)
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.deployments[name]; c.render == r && now.revision <= d.revision {
		d.upTo = max(d.upTo, now.upTo)
		c.deployments[name] = d
	}
	return d.prepared, nil
}

// jobs are the configurations of what is deployed on the pool, without what a run may say over them.
func (c *config) jobs() []json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []json.RawMessage
	for _, d := range c.deployments {
		if d.record.Pool == c.pool.Name && d.plain != nil {
			list = append(list, d.plain.configuration)
		}
	}
	return list
}

// apply takes one change of the watch.
func (c *config) apply(ch streams.ConfigChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ch.Deployment != "" && ch.Revision < c.deployments[ch.Deployment].revision: // a later one has been asked for meanwhile
	case ch.Deployment != "" && ch.Record == nil:
		delete(c.deployments, ch.Deployment)
	case ch.Deployment != "":
		c.deployments[ch.Deployment] = deployed{prepare(c.render, *ch.Record), ch.Revision, c.deployments[ch.Deployment].upTo}
	case ch.Pool == c.pool.Name:
		c.applyPool(ch.PoolRecord)
	}
}

// applyPool replaces the pool's record. A template that does not compile leaves the one before in force: it was refused when
// it was written, so this one came past Weir. mu is held.
func (c *config) applyPool(p *schemas.Pool) {
	if c.poolGone = p == nil; !c.poolGone {
		c.pool = *p
		if r, err := runners.NewRenderer(c.kind, p.BaseJobTemplate); err == nil {
			c.render = r
			for name, d := range c.deployments {
				c.deployments[name] = deployed{prepare(r, d.record), d.revision, d.upTo}
			}
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// watch keeps the copy until ctx ends. ready is closed when all there is has arrived.
func (c *config) watch(ctx context.Context, conn *streams.Conn, ready chan<- struct{}, warn func(error)) {
	complete := sync.OnceFunc(func() { close(ready) })
	for ctx.Err() == nil {
		first, over := make(chan struct{}), make(chan struct{})
		var pass sync.WaitGroup
		pass.Go(func() {
			select {
			case <-first:
				complete()
			case <-over:
			}
		})
		err := conn.WatchConfig(ctx, first, c.apply)
		close(over)
		pass.Wait()
		if err == nil || errors.Is(err, context.Canceled) {
			return
		}
		warn(err)
		pause(ctx, time.Second)
	}
}
