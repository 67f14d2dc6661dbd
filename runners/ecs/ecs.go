package ecs

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/runners"
)

// runner is a worker's hold on its tasks.
type runner struct {
	config    runners.Config
	aws       *clients
	identity  *identity
	registrar *registrar
	networks  *networks
	reader    *reader
	finder    *finder
	log       *slog.Logger
	pace      pace
	queue     string                      // the URL of the queue with ECS's events; empty: there is none
	spawn     func(func(context.Context)) // runs a function in the background until the runner is closed
	atEnd     func(func()) func() bool    // runs a function when it is, unless what it returns is called before
	end       context.CancelFunc          // ends those
	closed    chan struct{}               // closed when it is
	wg        sync.WaitGroup              // waits for them
	stops     sync.WaitGroup              // tasks that are being stopped, of runs that have gone on without them
	unhear    func()                      // ends the hearing of other workers; nil: nobody is heard

	strange, undeletable sync.Once // said of the queue

	stoppedPages int         // see [fewPages]
	onlyFilter   atomic.Bool // ECS lists tasks by what they were started by and by nothing else at once

	mu        sync.Mutex
	watchers  map[string]*watcher   // by the cluster's name; under mu
	held      map[string]*execution // by the execution's name; under mu
	forgotten map[string]time.Time  // names of those whose end is recorded, and ARNs of tasks that have ended, and since when; under mu
	listed    map[string]listed     // what List has found and nobody holds, by the execution's name; under mu
	swept     time.Time             // when what is old was dropped last; under mu

	wordsMu sync.Mutex
	words   map[string]string // texts that many tasks have; under wordsMu
}

var (
	_ runners.Runner    = (*runner)(nil)
	_ runners.Placed    = (*runner)(nil)
	_ runners.Lister    = (*runner)(nil)
	_ runners.Surveyor  = (*runner)(nil)
	_ runners.Forgetter = (*runner)(nil)
)

// queueVariable names the queue that an EventBridge rule puts ECS's "ECS Task State Change" events into.
const queueVariable = "WEIR_ECS_EVENTS_QUEUE"

// newRunner makes the runner of one worker. It waits for nothing of AWS: credentials that are not there yet are found when a run needs them.
func newRunner(ctx context.Context, config runners.Config) (*runner, error) {
	log := config.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c, err := newClients(ctx, log)
	if err != nil {
		return nil, err
	}
	return open(ctx, config, c, os.Getenv(queueVariable))
}

// open makes a runner that speaks to those services.
func open(ctx context.Context, config runners.Config, c *clients, queue string) (*runner, error) {
	r := &runner{
		config: config, aws: c, identity: newIdentity(c), registrar: newRegistrar(c, config), networks: newNetworks(c), log: c.log, pace: watchPace, queue: queue,
		closed: make(chan struct{}), watchers: map[string]*watcher{}, held: map[string]*execution{}, forgotten: map[string]time.Time{},
		listed: map[string]listed{}, words: map[string]string{}, swept: time.Now(), stoppedPages: fewPages,
	}
	r.reader = newReader(r)
	r.finder = &finder{runner: r, questions: map[string][]*question{}}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	r.end = end
	r.spawn = func(f func(context.Context)) { r.wg.Go(func() { f(life) }) }
	r.atEnd = func(f func()) func() bool { return context.AfterFunc(life, f) }
	r.spawn(r.identity.learn)
	if err := r.listen(); err != nil {
		end()
		return nil, err
	}
	return r, nil
}

// closeTime is how long a runner that is closed goes on stopping what has to be stopped.
const closeTime = 15 * time.Second

// Close implements [runners.Runner]. Tasks go on.
func (r *runner) Close() error {
	close(r.closed)
	if r.unhear != nil {
		r.unhear()
	}
	stopped := make(chan struct{})
	go func() {
		r.stops.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(closeTime):
		r.log.Warn("tasks whose runs have gone on are left to the next worker: ECS does not stop them in time")
	}
	r.end()
	r.wg.Wait()
	r.aws.close()
	return nil
}

// Place implements [runners.Placed]: "<region>/<account>/<cluster>".
func (r *runner) Place(job json.RawMessage) string {
	j, err := parseJob(job)
	if err != nil {
		return ""
	}
	return placeOf(r.aws.region, r.identity.known(), j.cluster())
}

// Reaches implements [runners.Placed]. Every cluster of the region and account can be asked.
func (r *runner) Reaches(place string) bool {
	region, account, _ := splitPlace(place)
	own := r.identity.known()
	return region == r.aws.region && (account == "" || own == "" || account == own)
}

// watcher is that of a cluster, as a job names it.
func (r *runner) watcher(cluster string) *watcher {
	cluster = clusterName(cluster)
	r.mu.Lock()
	w := r.watchers[cluster]
	known := w != nil
	if !known {
		w = &watcher{runner: r, cluster: cluster, wake: make(chan struct{}, 1), tasks: map[string]*execution{}}
		r.watchers[cluster] = w
	}
	r.mu.Unlock()
	if !known {
		r.remember(cluster)
	}
	return w
}

// hold makes what is told of a task reach e. One of that name and task that is held already is returned instead.
func (r *runner) hold(e *execution) *execution {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(time.Now())
	if first := r.held[e.name]; first != nil && first.arn == e.arn {
		return first
	}
	r.held[e.name] = e
	delete(r.forgotten, e.name)
	delete(r.listed, e.name)
	return e
}

// release forgets e.
func (r *runner) release(e *execution) {
	e.watcher.drop(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[e.name] == e {
		delete(r.held, e.name)
	}
}

// holds returns the execution of that name that this runner holds, or nil.
func (r *runner) holds(name string) *execution {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[name]
}

// note remembers that a task has ended: what is told of it afterwards is of no use.
func (r *runner) note(arn string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgotten[arn] = time.Now()
}

// knownTime is how long ECS knows a stopped task at least. What is older is of no use here either.
const knownTime = time.Hour

// sweep drops what is old, now and then: names that were forgotten, and ends that nobody has come for since their run is another's. The
// caller has mu.
func (r *runner) sweep(now time.Time) {
	if now.Sub(r.swept) < knownTime/6 {
		return
	}
	r.swept = now
	for name, at := range r.forgotten {
		if now.Sub(at) > knownTime {
			delete(r.forgotten, name)
		}
	}
	for name, l := range r.listed {
		if now.Sub(l.at) > knownTime {
			delete(r.listed, name)
		}
	}
	for name, e := range r.held {
		if isClosed(e.done) && now.Sub(e.known().end()) > knownTime {
			delete(r.held, name)
		}
	}
}

// bound is ctx until the runner is closed.
func (r *runner) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := r.atEnd(func() { cancel(errClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// manyWords is how many texts are shared at most. More of them are no texts that many tasks have.
const manyWords = 4096

// shared is t with what it has in common with other tasks in one place of memory.
func (r *runner) shared(t *task) *task {
	r.wordsMu.Lock()
	defer r.wordsMu.Unlock()
	if len(r.words) > manyWords {
		clear(r.words)
	}
	share := func(s *string) {
		if known, ok := r.words[*s]; ok {
			*s = known
			return
		}
		r.words[*s] = *s
	}
	for _, s := range []*string{&t.Cluster, &t.Definition, &t.Status, &t.LaunchType, &t.CapacityProvider, &t.PlatformVersion, &t.StopCode, &t.StoppedReason} {
		share(s)
	}
	for i := range t.Containers {
		c := &t.Containers[i]
		for _, s := range []*string{&c.Name, &c.Status, &c.Reason, &c.ImageDigest} {
			share(s)
		}
	}
	return t
}
