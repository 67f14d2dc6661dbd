package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// youngFor is how long a job runs before its pipes are watched. A shorter one is read once, when it ends. It is also
	// how late its first line can be.
	youngFor = 20 * time.Millisecond
	// idleFor is how long a supervisor without worker and jobs waits for the next worker.
	idleFor = time.Minute
	// maxWait bounds the loop's sleep while there are deadlines: the clock of leases runs on while the machine sleeps, the
	// kernel's timeouts do not.
	maxWait = time.Second
	// frameGarbage is about how much memory serving a frame leaves behind, beside the frame itself.
	frameGarbage = 4 << 10
	// collectAt is how much of it is left until a quiet moment is used to collect it.
	collectAt = 16 << 20
	// memoryLimit makes the runtime collect also in a moment that is not quiet.
	memoryLimit = 256 << 20
	// keepEnding is how long an ending that nobody asks for is kept.
	keepEnding = 24 * time.Hour
)

// errSupervised says that another supervisor serves the folder.
var errSupervised = errors.New("another supervisor serves this folder")

// supervisor owns the jobs of one worker. All of it belongs to one loop, which reads output, reaps and kills, and never does
// what could take long: forks and wiping happen beside it.
type supervisor struct {
	dir    string
	marker string // what the environment of every job of this folder begins with
	log    *slog.Logger

	jobs     map[string]*job // by name, until forgotten
	live     int             // jobs that have not ended
	due      int64           // clock reading before which no deadline lies; 0: there is none
	forks    *forks
	newborn  []*birth // reused by births
	forking  int      // forks under way
	garbage  int      // bytes, about, since the last collection
	poll     poller
	listener int
	peers    []*peer
	journal  *journal
	folders  *folders
	orphans  *orphans
	cgroups  *cgroups
	null     int // /dev/null
	number   int64
	young    []*job // whose pipes are not watched yet, oldest first
	buf      []byte // what one read takes
	block    []byte // what one read becomes
	leaving  bool   // the worker has said that it stops
	idle     time.Time
	lock     *os.File
}

// Supervise serves the worker whose state folder is dir: it starts its jobs, keeps their output and how they ended, and
// kills those whose lease runs out. It returns nil once there is neither worker nor job for it, or when another supervisor
// serves dir already. When ctx ends, so do the jobs. It is what the hidden command "weir supervisor" runs; it writes
// "ready" and a newline to standard output once it can be reached, and then gives standard output up. It takes the process for
// itself: signals, the garbage collector's settings and GOMAXPROCS become its own.
func Supervise(ctx context.Context, dir string) error {
	err := supervise(ctx, dir)
	if errors.Is(err, errSupervised) {
		return nil
	}
	return err
}

func supervise(ctx context.Context, dir string) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find folder %s: %w", dir, err)
	}
	if os.Getenv(guardSweeps) != "" {
		return sweepFor(dir)
	}
	defer guarded()()
	// A service manager that signals a whole group must not take the jobs from a worker that lets them finish. Notify, not
	// Ignore: what is ignored would be ignored in the jobs too.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer signal.Stop(ignored)

	// A thread that forks keeps its processor until the child's exec, and a collection of garbage waits for every such thread.
	// So there are processors enough for all of them and the loop, and garbage is collected when no fork is under way.
	runtime.GOMAXPROCS(maxForkers + 4)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)

	s, err := newSupervisor(dir)
	if err != nil {
		return err
	}
	defer s.close()
	stop := context.AfterFunc(ctx, s.poll.ring)
	defer stop()
	watched, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { s.folders.wipe(watched.Done()) })
	defer wg.Wait()
	defer unwatch()

	fmt.Fprintln(os.Stdout, "ready")
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		_ = unix.Dup2(int(null.Fd()), 1) // whoever waits for the line sees the end of it
		null.Close()
	}
	return s.run(ctx)
}

func newSupervisor(dir string) (s *supervisor, err error) {
	s = &supervisor{
		dir: dir, marker: marker(dir), log: slog.Default().With("supervisor", os.Getpid()), jobs: map[string]*job{},
		listener: -1, null: -1, buf: make([]byte, 64<<10), idle: time.Now(), poll: poller{fd: -1, bell: -1},
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.lock, err = lockFolder(dir); err != nil {
		return s, err
	}
	if err := sweep(s.marker); err != nil {
		return s, err
	}
	if s.poll, err = newPoller(); err != nil {
		return s, err
	}
	if s.null, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return s, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	if s.folders, err = openFolders(filepath.Join(dir, "jobs")); err != nil {
		return s, err
	}
	if err := s.load(); err != nil {
		return s, err
	}
	s.forks = newForks(s.poll.ring)
	s.orphans = adoptOrphans(s.jobs, s.marker, s.log)
	s.cgroups = newCgroups(s.marker, s.log)
	if s.listener, err = listen(dir); err != nil {
		return s, err
	}
	return s, s.poll.add(s.listener, unix.EPOLLIN, source{})
}

// lockFolder takes dir for this process. The kernel gives it back when the process ends, however it ends.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "supervisor.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errSupervised
	}
	return nil, fmt.Errorf("lock folder %s: %w", dir, err)
}

// load takes over the endings that an earlier supervisor left.
func (s *supervisor) load() error {
	output := filepath.Join(s.dir, "output")
	if err := os.MkdirAll(output, 0o700); err != nil {
		return fmt.Errorf("make the folder for output: %w", err)
	}
	var found []kept
	var err error
	if s.journal, found, err = openJournal(s.dir); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, k := range found {
		path := spoolPath(s.dir, k.spool)
		sp, err := findSpool(path)
		if err != nil {
			return err
		}
		known[filepath.Base(path)] = true
		s.number = max(s.number, k.spool)
		s.jobs[k.name] = &job{name: k.name, number: k.spool, pid: k.end.pid, pidfd: -1, spool: sp, ended: true, exited: true, end: k.end}
	}
	entries, err := os.ReadDir(output)
	if err != nil {
		return fmt.Errorf("list kept output: %w", err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			os.Remove(filepath.Join(output, e.Name()))
		}
	}
	return nil
}

// run is the loop.
func (s *supervisor) run(ctx context.Context) error {
	for {
		events, err := s.poll.wait(s.timeout())
		if err != nil {
			return err
		}
		for _, e := range events {
			s.handle(e)
		}
		s.tick()
		s.flush()
		if ctx.Err() != nil || s.done() {
			return nil
		}
		if s.garbage >= collectAt && s.forking == 0 {
			runtime.GC()
			s.garbage = 0
		}
	}
}

// handle serves one event.
func (s *supervisor) handle(e unix.EpollEvent) {
	src, ok := s.poll.source(e)
	switch {
	case s.poll.rang(e):
		s.births()
	case !ok: // its descriptor was closed in this round
	case src.job == nil && src.peer == nil:
		s.accept()
	case src.peer != nil:
		src.peer.ready(s, e.Events)
	case src.stream < 0:
		s.exited(src.job)
	default:
		s.read(src.job, src.stream)
	}
}

// flush writes what this round made: the endings to disk, then everything to the worker.
func (s *supervisor) flush() {
	s.keepEndings()
	for _, p := range s.peers {
		p.flush(s)
	}
}

// keepEndings brings the endings of this round to disk, and those for which there was no room when their round came. It says once that
// there is none.
func (s *supervisor) keepEndings() {
	lacking := s.journal.retry != 0
	err := s.journal.flush()
	if s.journal.stale(clock()) {
		err = s.rewriteJournal()
	}
	s.soon(s.journal.retry)
	switch {
	case err != nil && !lacking:
		s.log.Error("endings are not on disk: tried again every second", "err", err)
	case lacking && s.journal.retry == 0:
		s.log.Info("endings are on disk again")
	}
}

func (s *supervisor) rewriteJournal() error {
	old := time.Now().Add(-keepEnding).UnixNano()
	for _, j := range s.jobs {
		if j.ended && j.end.ended < old && j.peer == nil {
			s.forget(j)
		}
	}
	return s.journal.rewrite(func(b []byte) []byte {
		for _, j := range s.jobs {
			if j.ended {
				before := len(b)
				b = appendEnding(b, journalEnded, 0, j.name, j.number, &j.end)
				j.kept = len(b) - before
			}
		}
		return b
	})
}

// done tells whether nothing is left to do here.
func (s *supervisor) done() bool {
	if len(s.peers) > 0 || s.live > 0 || s.journal.retry != 0 && !s.leaving {
		s.idle = time.Now()
		return false
	}
	return s.leaving || time.Since(s.idle) >= idleFor
}

// close ends every job and gives everything back.
func (s *supervisor) close() {
	for _, j := range s.jobs {
		j.signal(unix.SIGKILL)
	}
	for _, p := range slices.Clone(s.peers) {
		p.close(s)
	}
	if s.forks != nil {
		s.forks.close()
	}
	if s.listener >= 0 {
		unlisten(s.dir)
		unix.Close(s.listener)
	}
	if s.journal != nil {
		s.journal.close()
	}
	if s.null >= 0 {
		unix.Close(s.null)
	}
	s.poll.close()
	if s.lock != nil {
		s.lock.Close()
	}
}
