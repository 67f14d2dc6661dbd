package docker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// listen takes the engine's events until ctx ends: one stream for all containers. ready is closed when the first one has begun.
// After a break, what may have been missed is looked for.
func (r *runner) listen(ctx context.Context, ready chan<- struct{}) {
	first := true
	for ctx.Err() == nil {
		filters := make(client.Filters).Add("type", string(events.ContainerEventType)).
			Add("label", labelSystem+"="+r.config.System, labelPool+"="+r.config.Pool).
			Add("event", string(events.ActionDie), string(events.ActionOOM), string(events.ActionDestroy))
		streaming, cancel := context.WithCancel(ctx)
		stream := r.engine.api.Events(streaming, client.EventsListOptions{Filters: filters})
		if first {
			first = false
			close(ready)
		} else if err := r.resync(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("containers could not be looked up after the engine was away; trying again", "err", err)
		}
		err := r.hear(ctx, stream)
		cancel()
		if ctx.Err() != nil {
			return
		}
		r.log.Debug("the engine's events ended; listening again", "err", err)
		r.outlast(ctx)
	}
}

// hear takes a stream's events until it ends, or the engine answers nothing any more.
func (r *runner) hear(ctx context.Context, stream client.EventsResult) error {
	test := time.NewTicker(r.engine.test)
	defer test.Stop()
	for {
		select {
		case m := <-stream.Messages:
			r.event(m)
		case err := <-stream.Err:
			return err
		case <-test.C:
			if err := r.engine.ping(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *runner) event(m events.Message) {
	r.mu.Lock()
	e := r.ids[m.Actor.ID]
	r.mu.Unlock()
	if e == nil {
		return
	}
	switch m.Action {
	case events.ActionOOM:
		e.ranOut()
	case events.ActionDie:
		code, err := strconv.Atoi(m.Actor.Attributes["exitCode"])
		if err != nil {
			r.log.Warn("the engine tells of an end without an exit code", "execution", e.name, "event", m)
			r.spawn(func(ctx context.Context) { r.look(ctx, e) })
			return
		}
		e.die(death{code: code, at: time.Unix(0, m.TimeNano)})
	case events.ActionDestroy:
		e.lose(fmt.Errorf("%w: container %.12s was removed by somebody else", runners.ErrGone, e.id))
		r.release(e)
	}
}

// outlast waits for the engine. What ran on one that is away for too long is given up.
func (r *runner) outlast(ctx context.Context) {
	err := r.engine.await(ctx, true)
	if err == nil || ctx.Err() != nil {
		pause(ctx, firstWait)
		return
	}
	r.log.Error("the Docker engine is given up, and all that ran on it", "err", err)
	for _, e := range r.all() {
		e.lose(runners.Because(schemas.ReasonEngineUnreachable, fmt.Errorf("%w: %w", runners.ErrGone, err)))
	}
	_ = r.engine.await(ctx, false)
}

func (r *runner) all() []*execution {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*execution, 0, len(r.held))
	for _, e := range r.held {
		list = append(list, e)
	}
	return list
}

// resync finds out what the engine did to the held containers while its events were not heard.
func (r *runner) resync(ctx context.Context) error {
	before := r.all() // a container that is made from here on is in no list that is made now
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	list, err := r.engine.api.ContainerList(call, client.ContainerListOptions{All: true, Filters: r.filters()})
	if err != nil {
		return err
	}
	states := make(map[string]container.ContainerState, len(list.Items))
	for _, c := range list.Items {
		states[c.ID] = c.State
	}
	for _, e := range before {
		switch state, ok := states[e.id]; {
		case !ok:
			e.lose(fmt.Errorf("%w: container %.12s was not there any more when the engine came back", runners.ErrGone, e.id))
		case state == container.StateExited || state == container.StateDead:
			c, err := r.inspect(ctx, e.id)
			if err != nil {
				return err
			}
			e.die(deathOf(c, true))
		}
	}
	return nil
}
