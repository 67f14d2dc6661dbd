package process

import (
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// withRoomTo runs f while no file of this process may grow beyond size bytes. The limit is the whole process's: no test runs beside it.
func withRoomTo(t *testing.T, size int64, f func()) {
	t.Helper()
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(size), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// endingsIn are the names of the jobs whose endings the journal in dir has.
func endingsIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	j, found, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	j.close()
	for _, k := range found {
		names = append(names, k.name)
	}
	slices.Sort(names)
	return names
}

func TestJournal_afterAFullDiskHasWhatEndedSince(t *testing.T) {
	dir := t.TempDir()
	j, _, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	e := &ending{pid: 1, code: 3, ended: time.Now().UnixNano(), message: "x"}
	j.ended("before", 1, e)
	if err := j.flush(); err != nil {
		t.Fatal(err)
	}
	j.ended("during", 2, e)
	withRoomTo(t, j.size+10, func() {
		if err := j.flush(); err == nil {
			t.Fatal("the disk was not full")
		}
	})
	j.ended("after", 3, e)
	if err := j.flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := endingsIn(t, dir), []string{"after", "before"}; !slices.Equal(got, want) {
		t.Errorf("endings on disk: got %v, want %v", got, want)
	}
}

func TestSupervisor_bringsEndingsToDiskOnceThereIsRoom(t *testing.T) {
	dir := t.TempDir()
	s := &supervisor{dir: dir, log: slog.New(slog.DiscardHandler), jobs: map[string]*job{}}
	var err error
	if s.journal, _, err = openJournal(dir); err != nil {
		t.Fatal(err)
	}
	defer s.journal.close()
	end := func(name string) {
		j := &job{name: name, ended: true, end: ending{pid: 1, ended: time.Now().UnixNano()}}
		s.jobs[name] = j
		j.kept = s.journal.ended(name, 1, &j.end)
		s.flush()
	}
	end("before")
	withRoomTo(t, s.journal.size+10, func() { end("during") })
	if s.due == 0 || s.due > clock()+int64(journalRetry) {
		t.Fatalf("the loop looks again at %d, want within %s of %d", s.due, journalRetry, clock())
	}
	if s.done() {
		t.Error("the supervisor would end while an ending is not on disk")
	}
	withRoomTo(t, s.journal.size+10, func() {
		s.journal.retry = clock()
		s.flush() // still none
	})
	s.journal.retry = clock()
	s.flush()
	if got, want := endingsIn(t, dir), []string{"before", "during"}; !slices.Equal(got, want) {
		t.Errorf("endings on disk: got %v, want %v", got, want)
	}
	if s.journal.retry != 0 {
		t.Error("the journal lacks nothing, and would be rewritten")
	}
}

func TestSpool_afterAFullDiskHoldsWholeRecords(t *testing.T) {
	s := &spool{path: spoolPath(t.TempDir(), 1)}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		t.Fatal(err)
	}
	long := appendRecord(nil, 0, 1, make([]byte, 1000))
	withRoomTo(t, 500, func() {
		if err := s.write(long); err == nil {
			t.Fatal("the disk was not full")
		}
	})
	short := appendRecord(nil, 0, 2, []byte("kept"))
	if err := s.write(short); err != nil {
		t.Fatal(err)
	}
	s.rest()
	found, err := findSpool(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if found.size != int64(len(short)) {
		t.Errorf("the next supervisor finds %d bytes of output, want the %d of the whole record", found.size, len(short))
	}
}
