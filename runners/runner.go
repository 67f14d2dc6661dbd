// Package runners says what a kind of infrastructure has to do for a run, and nothing about NATS: start an execution,
// find it again, wait for it, stop it. Each pool type has a folder of its own below this one.
package runners

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/weir-run/weir/schemas"
)

// A Runner starts executions on one kind of infrastructure, and finds them again.
type Runner interface {
	// Start returns once the infrastructure has taken the job. A name that already runs is found, not started twice.
	// ctx bounds the starting, never the job: when it ends first, what was begun is undone, unless its cause is [ErrLetGo]. An error
	// that trying again cannot mend is [Permanent].
	Start(ctx context.Context, spec Spec) (Execution, error)

	// Find looks up what any worker started under a name, running or ended. [ErrGone]: there is nothing.
	Find(ctx context.Context, sought Sought) (Execution, error)

	// Close gives back what the runner holds. Executions that can outlive their worker go on.
	Close() error
}

// An Execution is a job on its infrastructure: a process, a container, a task, a Kubernetes Job.
type Execution interface {
	// ID is what the infrastructure calls it: a PID, a container ID, an ARN, a Job name.
	ID() string

	// Wait returns once the job has ended and its Output has been given all lines; whoever records the end flushes them first.
	// It may be called more than once and from several goroutines. [ErrGone]: the job is gone and nobody knows how it ended.
	// Any other error that has a reason ([Because], [Permanent]) says that the job never ran, and will not; without one it may live on.
	Wait(ctx context.Context) (Result, error)

	// Stop ends the job: the polite signal, then after grace the end of everything it started. It returns once the
	// job is confirmed gone; a second call hurries the first. A job that has ended is not an error.
	Stop(ctx context.Context, grace time.Duration) error
}

// Leased is an Execution that ends by itself when its worker's right to the run runs out: the one who holds it says how
// long that right is confirmed. Past that time the job is killed even if the worker is frozen or dead.
type Leased interface {
	Lease(until time.Time) error
}

// Imaged is an Execution that runs an image, which a name stood for as it started.
type Imaged interface {
	// Image is the image's ID, to be given to the run's next attempt as [Spec.Image].
	Image() string
}

// Dated is an Execution that knows when its job started, whoever started it.
type Dated interface {
	// Started is that time by the infrastructure's clock; zero: it is not known.
	Started() time.Time
}

// Provisioned is an Execution whose job may not run yet when Start returns, or Find: its machine and image are on their way.
type Provisioned interface {
	// Begun is closed when the job runs, or has run; never, when the execution ends without that.
	Begun() <-chan struct{}
}

// Drained is an Execution whose job may have ended some time before Wait says how: its output takes so long to come.
type Drained interface {
	// Over is closed once the job has ended. What is done to it from then on changes nothing of how.
	Over() <-chan struct{}
}

// Described is an Execution of which more can be told than its ID.
type Described interface {
	// Details is a JSON object for people and programs, of the pool type's own shape, as far as it is known by now; nil: nothing is.
	Details() json.RawMessage
}

// Placed is a Runner whose executions are at one place of several: a machine's own container engine, a cluster. It is recorded with a
// run, for whoever looks for its execution.
type Placed interface {
	// Place names the place of what would be started now with that job configuration; nil: none is known. It becomes another one
	// when the engine at its address is replaced.
	Place(job json.RawMessage) string

	// Reaches tells whether what is at that place can be found from here. Elsewhere it is left to a worker that does.
	Reaches(place string) bool
}

// Signalled is an Execution whose polite signal can be another one than its usual.
type Signalled interface {
	// StopBy names the signal, such as SIGINT, for every Stop that follows. One that the infrastructure cannot send is as if it was not
	// named. It is not called while a Stop is under way.
	StopBy(signal string)
}

// Forgetter is a Runner that keeps what an ended execution left (its result, its output) until it is told that the
// final state is recorded.
type Forgetter interface {
	Forget(name string)
}

// Lister is a Runner that can tell which executions it has, so that a worker that starts again under its name takes up what
// its predecessor left.
type Lister interface {
	// List returns the names of the executions that run, or have ended and were not forgotten, in no order. It starts
	// nothing that was not there. ctx bounds the asking.
	List(ctx context.Context) ([]string, error)
}

// Surveyor is a Lister that does not know by itself where all its executions can be, as after a worker was moved to another machine.
type Surveyor interface {
	// Survey names the places, as [Placed] has them, where what is deployed would be started now. It is called before List.
	Survey(places []string)
}

// Spec is one job to start: everything is resolved, nothing is left to look up.
type Spec struct {
	Name       string          // names the execution, unique for run and attempt: the key of Find
	Run        string          // run ID
	Attempt    int             // from 1
	Pool       string          // pool's name
	Queue      string          // work queue's name
	Deployment string          // deployment's name
	Worker     string          // worker's name
	Parameters json.RawMessage // the parameters' JSON object; never empty
	Trace      string          // traceparent, or empty
	Job        json.RawMessage // the rendered job configuration, in the pool type's own shape
	Code       string          // folder against which Entrypoint and a relative working directory are resolved; empty: Config.Code
	Entrypoint string          // file.py:function, or empty when the job has a command
	Image      string          // ID of the image that the attempt before ran, or empty: this one runs the same, if it can
	Output     Output          // receives the job's output; never nil
	Lease      time.Time       // until when the worker's right to the run is confirmed; zero: no limit
	Held       func() bool     // tells whether that right is confirmed at this moment, after renewals; nil: it is
	Tell       func(Progress)  // says how far Start has come, in its own goroutine, before it returns; nil: nobody listens
}

// Progress is what there is to say of an execution that does not run yet. It becomes the run's next pending event.
type Progress struct {
	ID      string          // the execution's, where it has one by now
	Reason  schemas.Reason  // why it goes on waiting (capacity_unavailable), or empty
	Message string          // the same for people
	Details json.RawMessage // as [Described] has them, or nil
}

// Sought is what is known of an execution that is looked for.
type Sought struct {
	Name   string // the execution's
	ID     string // what the infrastructure called it, if that was recorded
	Place  string // where it was started, as [Placed] has it, if that was recorded
	Output Output // receives its output; never nil
}

// Output takes one execution's output and knows what of it is stored, so that each line is stored once over any number of
// workers: a runner keeps what it was not told to be stored, and gives it again to the output of the worker that finds the
// execution. Lines come from one goroutine; Flush may be called by several.
type Output interface {
	// Last returns the position of the last line that is stored, by whichever worker; 0: none is. A runner whose
	// infrastructure can be asked for output from a place on asks here first. The others need not: see Line.
	Last(ctx context.Context) (int64, error)

	// Line takes a line and does not wait. A line whose position is not above that of one that is stored is stored
	// already, and left out.
	Line(line Line)

	// Flush returns once every line given so far is stored. A runner calls it whenever it has nothing more at hand, so
	// that lines show as they come, and gives no more than [MaxUnstored] bytes in between. It goes on trying while NATS
	// is away: an error says only that ctx has ended.
	Flush(ctx context.Context) error
}

// Line is one line of a job's output, or a part of one that is longer than [MaxLine].
type Line struct {
	Stream    Stream
	At        time.Time // when the runner read it
	Position  int64     // the runner's own place in the execution's output, above 0; it grows from line to line over both streams
	Text      []byte    // without newline; the receiver's to keep
	Continued bool      // the line goes on in the next one of its stream
}

// Stream tells a job's two outputs apart.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// MaxLine is the length in bytes at which a line of output is split.
const MaxLine = 64 << 10

// MaxUnstored is about how many bytes of one execution's output a worker holds in memory until they are stored. The rest waits
// where the runner keeps it.
const MaxUnstored = 1 << 20

// Result is how an execution ended, as the infrastructure tells it.
type Result struct {
	ExitCode int             // the process's own; 128+n when signal n ended it, as shells count
	NoCode   bool            // ExitCode is not known
	Signal   string          // the signal that ended it (SIGKILL), or empty
	Reason   schemas.Reason  // what the infrastructure knows beyond the exit code (oom_killed, lease_lost, engine_unreachable), or empty
	Message  string          // the infrastructure's own words, or empty
	Value    json.RawMessage // the run's result, valid JSON of at most MaxResult bytes, or nil
	Started  time.Time       // when the job started
	Ended    time.Time       // when it ended
}

// MaxResult is the size in bytes up to which a result travels in the completed event.
const MaxResult = 64 << 10

// Type is a kind of work pool this binary can serve.
type Type struct {
	Name     string          // process, docker, ecs, kubernetes
	Summary  string          // one line for people: what runs where
	Template json.RawMessage // the default base job template: {"variables": {JSON Schema}, "job_configuration": {...}}

	// EndsWithLease says that an execution ends by itself when its worker's right to the run runs out (see [Leased]): once
	// that is over, the run can be given up without asking the infrastructure.
	EndsWithLease bool

	// Push says that the server executes the pool's runs itself: no worker is started for it.
	Push bool

	// AckWait is that of a new pool which does not say; 0: [schemas.DefaultAckWait].
	AckWait time.Duration

	// OwnFiles says that a job may have its files with it, as a container has those of its image: that an entrypoint's is not
	// where it is deployed from is not an error.
	OwnFiles bool

	// New makes a runner for one worker. dir is the worker's own state folder, which survives its restart.
	New func(ctx context.Context, config Config) (Runner, error)

	// Check refuses a rendered job configuration that could never start, with a sentence that says why. It is called
	// when a deployment is deployed and before a run is claimed a slot; it reaches no infrastructure.
	Check func(job json.RawMessage) error

	// Provision prepares what a pool needs around it on the infrastructure; nil: nothing is needed.
	Provision Provision
}

// Config is what a worker gives its runner.
type Config struct {
	System string // identity of the NATS system: what another one's workers started on the same infrastructure is not ours
	Worker string // the worker's name
	Pool   string // the pool's name
	Dir    string // state folder of this worker, which exists and survives a restart under the same name
	Code   string // folder against which entrypoints and relative working directories are resolved

	Logger *slog.Logger // for what concerns no single run, such as infrastructure that does not answer; nil: nobody is told
	Lock   Lock         // nil: there are no other workers
	Peers  Peers        // nil: there are no other workers
}

// Lock makes its caller the only one of all workers of the NATS system that has that key, until unlock is called, or for half a minute
// after its process has died or lost NATS. It saves work that is done twice, and proves nothing: what must not happen twice is decided
// elsewhere. key is any text. An error says only that ctx has ended.
type Lock func(ctx context.Context, key string) (unlock func(), err error)

// Peers are the workers of this pool type, over all pools of the NATS system.
type Peers interface {
	// Tell gives a message to all others. It returns true once one of them has said that it was meant, and false when nobody has
	// said so for a second, or ctx has ended.
	Tell(ctx context.Context, message []byte) bool

	// Hear has each message of others given to heard, which says whether it was meant and must not block, until stop is called.
	Hear(heard func(message []byte) bool) (stop func(), err error)
}
