package docker

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
)

// listen takes the engine's events until ctx ends: one stream for all containers. ready is closed when the first one has begun.
// After a break, what may have been missed is looked for.
func (r *runner) listen(ctx context.Context, ready chan<- struct{}) {
	for first := true; ctx.Err() == nil; first = false {
		err := r.hear(ctx, func(ctx context.Context) error {
			if first {
				close(ready)
				return nil
			}
			err := r.locate(ctx)
			if err == nil {
				err = r.resync(ctx)
			}
			if err != nil && ctx.Err() == nil {
				r.log.Warn("containers could not be looked up after the engine was away; trying again", "err", err)
				pause(ctx, longestWait)
			}
			return err
		})
		if ctx.Err() != nil {
			return
		}
		r.move()
		r.log.Debug("the engine's events ended; listening again", "err", err)
		r.outlast(ctx)
	}
}

// hear takes a stream of events until it ends, or the engine does not answer. begun is called when it has begun,
// and ends it with its error.
func (r *runner) hear(ctx context.Context, begun func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(ctx, end) })
	defer watch.Wait()
	defer end(nil)
	filters := make(client.Filters).Add("type", string(events.ContainerEventType)).
		Add("label", labelSystem+"="+r.config.System, labelPool+"="+r.config.Pool).
		Add("event", string(events.ActionDie), string(events.ActionOOM), string(events.ActionDestroy))
	stream := r.engine.api.Events(ctx, client.EventsListOptions{Filters: filters})
	if err := begun(ctx); err != nil {
		return err
	}
	for {
		select {
		case m := <-stream.Messages:
			r.event(m)
		case err := <-stream.Err:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watch calls end when the engine does not answer while something is held.
func (r *runner) watch(ctx context.Context, end context.CancelCauseFunc) {
	for pause(ctx, r.engine.test) {
		if len(r.all()) == 0 {
			continue
		}
		if err := r.engine.ping(ctx); err != nil {
			end(err)
			return
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
		e.giveUp(err)
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
