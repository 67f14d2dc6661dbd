package consumers

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// heartbeat writes the worker's record every few seconds and whenever it is poked, and takes it back when ctx ends.
// No lease lasts longer than the record is confirmed, see [lease].
func (w *Worker) heartbeat(ctx context.Context) {
	every := time.NewTicker(streams.HeartbeatEvery)
	defer every.Stop()
	for {
		pool, _, _ := w.config.current()
		every.Reset(streams.Heartbeat(pool)) // the pool's ack wait may have changed
		select {
		case <-every.C:
		case <-w.beat:
		case <-ctx.Done():
			if !w.letsGo && w.left(ctx) {
				return // what it could not report it may still have: its record says so until that has ended by itself
			}
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := w.conn.RemoveWorker(last, w.record()); err != nil {
				w.Logger.Warn("worker's record is not removed; it shows as offline", "err", err)
			}
			return
		}
		w.writeRecord(ctx)
	}
}

// writeRecord writes the worker's record once, after the one it wrote last. A failure is only told: the next heartbeat tries
// again. One that another worker of this name has written meanwhile ends this one.
func (w *Worker) writeRecord(ctx context.Context) {
	sent := time.Now()
	bounded, cancel := context.WithTimeout(ctx, w.ackWait()/6)
	defer cancel()
	sequence, err := w.conn.PutWorker(bounded, w.record(), w.lastRecord)
	if errors.Is(err, streams.ErrOvertaken) {
		var now streams.WorkerRecord
		if now, err = w.conn.WorkerRecord(bounded, w.Pool, w.Name); err == nil {
			if now.Instance != "" && now.Instance != w.instance && !w.ownHome(now.Worker) {
				w.drain(takenError(now.Worker))
				w.halt()
				return
			}
			sent = time.Now()
			sequence, err = w.conn.PutWorker(bounded, w.record(), now.Sequence)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			w.Logger.Warn("heartbeat is not written", "err", err)
		}
		return
	}
	w.lastRecord = sequence
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote = sent
}

// recorded is when the last record that NATS has confirmed was sent.
func (w *Worker) recorded() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrote
}

// left tells whether the worker has executions of runs that are still in its name, though it holds no run any more.
func (w *Worker) left(ctx context.Context) bool {
	lister, ok := w.runner.(runners.Lister)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	names, err := lister.List(ctx)
	return err != nil || slices.ContainsFunc(names, func(name string) bool { return w.mine(ctx, name) })
}

// mine tells whether a run is at that execution, in the name of this worker. What cannot be known counts as mine.
func (w *Worker) mine(ctx context.Context, execution string) bool {
	run, attempt, err := parseExecutionName(execution)
	if err != nil {
		return true
	}
	last, err := w.conn.LastEventIn(ctx, w.Pool, run)
	if errors.Is(err, streams.ErrNotFound) {
		return false
	}
	return err != nil || last.Worker == w.Name && last.Attempt == attempt && !last.State.Final()
}

// has tells whether the worker has an execution, or is about to. What it cannot know counts as had.
func (w *Worker) has(ctx context.Context, execution string) bool {
	run, attempt, err := parseExecutionName(execution)
	if err != nil {
		return true
	}
	w.mu.Lock()
	owned := slices.ContainsFunc(w.owned[run], func(c *claim) bool { return c.attempt == attempt })
	w.mu.Unlock()
	if owned {
		return true
	}
	if !w.config.kind.EndsWithLease {
		return false // it is not held: whoever asks finds it on the infrastructure as well as this worker would
	}
	lister, ok := w.runner.(runners.Lister)
	if !ok {
		return true
	}
	names, err := lister.List(ctx)
	return err != nil || slices.Contains(names, execution)
}

// record is what others see of the worker.
func (w *Worker) record() schemas.Worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := schemas.Worker{
		Name: w.Name, Pool: w.Pool, Type: w.config.kind.Name, Status: schemas.WorkerOnline, Queues: w.queues, Slots: w.Slots, Used: len(w.held),
		Version: w.Version, PID: os.Getpid(), Instance: w.instance, Home: w.home, Started: w.started, Seen: time.Now().UTC(),
	}
	r.Host, _ = os.Hostname()
	if w.draining {
		r.Status = schemas.WorkerDraining
	}
	for _, run := range w.held {
		if len(r.Runs) < 100 {
			r.Runs = append(r.Runs, run)
		}
	}
	slices.Sort(r.Runs)
	return r
}

// serves notes the queues that are served from now on, and says so.
func (w *Worker) serves(queues []string) {
	w.mu.Lock()
	changed := !slices.Equal(w.queues, queues)
	w.queues = queues
	w.mu.Unlock()
	if changed {
		w.poke()
	}
}

// poke asks for a heartbeat at once.
func (w *Worker) poke() {
	select {
	case w.beat <- struct{}{}:
	default:
	}
}

// register makes the worker a NATS micro service: nats micro ls shows it, and a request makes it drain.
func (w *Worker) register(ctx context.Context) (micro.Service, error) {
	service, err := micro.AddService(w.conn.NC, micro.Config{
		Name: "weir-worker", Version: serviceVersion(w.Version), Description: "Weir worker " + w.Name + " of pool " + w.Pool,
		Metadata: map[string]string{"worker": w.Name, "pool": w.Pool, "instance": w.instance}, QueueGroupDisabled: true,
	})
	if err != nil {
		return nil, err
	}
	err = service.AddEndpoint("has", micro.HandlerFunc(func(r micro.Request) {
		answer := streams.HasIt
		if !w.has(ctx, string(r.Data())) {
			answer = streams.HasItNot
		}
		_ = r.Respond([]byte(answer)) // unheard, it counts as yes
	}), micro.WithEndpointSubject(streams.HasSubject(w.Pool, w.Name)))
	if err != nil {
		return service, err
	}
	return service, service.AddEndpoint("drain", micro.HandlerFunc(func(r micro.Request) {
		w.Drain()
		_ = r.RespondJSON(streams.Draining{Status: schemas.WorkerDraining, Running: w.Held()}) // the worker drains, heard or not
	}), micro.WithEndpointSubject(streams.DrainSubject(w.Pool, w.Name)))
}

// semantic matches a semantic version (semver.org) without the leading v.
var semantic = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// serviceVersion is version where it is a semantic one, as micro services must have.
func serviceVersion(version string) string {
	if semantic.MatchString(version) {
		return version
	}
	return "0.0.0"
}
