//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-run/weir/bench/torture/overlay"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// TestMain also is the job that the tests' runs execute.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "job" {
		os.Exit(job(os.Args[2:], os.Stdout))
	}
	os.Exit(m.Run())
}

// casOff lets an event be stored whatever came before it.
var casOff = []overlay.Edit{
	{File: "../../streams/events.go", Old: "jetstream.ExpectedLastSubjSeqHeader:     {strconv.FormatUint(last, 10)},", New: `"Broken": {strconv.FormatUint(last, 10)},`},
	{File: "../../streams/events.go", Old: "jetstream.ExpectedLastSubjSeqSubjHeader: {expectedFilter(e, last)},", New: ""},
}

// switchOff lets jobs outlive their leases.
var switchOff = []overlay.Edit{
	{File: "../../runners/process/deadlines.go", Old: "if j.lease != 0 && now >= j.lease {", New: "if false {"},
}

// oneNode is a system on one NATS node with two workers, a and b, of a weir that was built with edits.
type oneNode struct {
	*system
	recorder *recorder
	requests *requests
	a, b     *client
}

func newOneNode(t *testing.T, edits ...overlay.Edit) *oneNode {
	t.Helper()
	if os.Getenv("WEIR_TORTURE") == "" {
		t.Skip("takes a minute: make torture-broken")
	}
	t.Parallel()
	bin, dir := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := binaries{filepath.Join(bin, "weir"), filepath.Join(bin, "nats-server"), self}
	if err := overlay.Build(t.Context(), bin, b.weir, "../../cmd/weir", edits...); err != nil {
		t.Fatal(err)
	}
	if err := overlay.Build(t.Context(), bin, b.nats, "github.com/nats-io/nats-server/v2"); err != nil {
		t.Fatal(err)
	}
	s, err := newSystem(t.Context(), b, dir, 1, false)
	t.Cleanup(func() { s.stop() })
	if err != nil {
		t.Fatal(err)
	}
	o := &oneNode{system: s}
	for name, c := range map[string]**client{"a": &o.a, "b": &o.b} {
		if *c, err = s.newWorker(name, false); err != nil {
			t.Fatal(err)
		}
		s.seats = append(s.seats, *c)
	}
	if o.recorder, err = newRecorder(s.conn, dir); err != nil {
		t.Fatal(err)
	}
	if o.requests, err = newRequests(s, o.recorder, 1); err != nil {
		t.Fatal(err)
	}
	recording, end := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { o.recorder.run(recording) })
	t.Cleanup(func() { end(); wg.Wait() })
	return o
}

// start starts a worker and waits until it can take runs.
func (o *oneNode) start(t *testing.T, c *client) {
	t.Helper()
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	o.await(t, "worker "+c.name+" is listed", func() bool {
		workers, _ := o.conn.Workers(t.Context(), pool)
		for _, w := range workers {
			if w.Name == c.name && w.Status == schemas.WorkerOnline {
				return true
			}
		}
		return false
	})
}

func (o *oneNode) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for limit := time.After(time.Minute); !done(); {
		select {
		case <-limit:
			t.Fatalf("waited a minute: %s\n%s", what, o.logs())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// logs is what the workers said.
func (o *oneNode) logs() string {
	var all strings.Builder
	for _, c := range []*client{o.a, o.b} {
		b, _ := os.ReadFile(filepath.Join(c.dir, "log"))
		fmt.Fprintf(&all, "worker %s:\n%s", c.name, b)
	}
	return all.String()
}

// judge mends everything and has the history judged.
func (o *oneNode) judge(t *testing.T) (said string, broken bool) {
	t.Helper()
	for _, c := range []*client{o.a, o.b} {
		c.line.set(false, false, 0)
	}
	short, cancel := context.WithTimeout(t.Context(), 40*time.Second) // a broken system may never settle
	defer cancel()
	if err := o.settle(short, o.requests); err != nil {
		t.Fatal(err)
	}
	if err := o.recorder.dump(t.Context(), o.dir); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.Command("go", "run", "./check", o.dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("the checker could not judge: %v\n%s", err, out.String())
	}
	return out.String(), err != nil
}

// collide has two workers, to which everything takes its time, claim runs that are asked for twice.
func collide(t *testing.T, edits ...overlay.Edit) (said string, broken bool) {
	o := newOneNode(t, edits...)
	o.start(t, o.a)
	o.start(t, o.b)
	for _, c := range []*client{o.a, o.b} {
		c.line.set(false, false, 150*time.Millisecond)
	}
	for i := range 4 {
		for range 2 {
			o.requests.publish(streams.Request{Pool: pool, Deployment: "steady", RunID: fmt.Sprintf("twice-%d", i)})
		}
	}
	o.await(t, "every run is claimed", func() bool {
		for i := range 4 {
			if o.recorder.state(fmt.Sprintf("twice-%d", i)) == schemas.Scheduled {
				return false
			}
		}
		return true
	})
	return o.judge(t)
}

// outlive freezes a worker past the lease of a job that goes on for long after, with another worker at hand.
func outlive(t *testing.T, edits ...overlay.Edit) (said string, broken bool) {
	o := newOneNode(t, edits...)
	o.start(t, o.a)
	o.requests.publish(streams.Request{Pool: pool, Deployment: "long", RunID: "held"})
	o.await(t, "the run is running", func() bool { return o.recorder.state("held") == schemas.Running })
	o.start(t, o.b)
	o.a.freeze()
	o.await(t, "another worker has taken the run", func() bool {
		last, err := o.conn.Run(t.Context(), "held")
		return err == nil && last.Attempt == 2 && last.State == schemas.Running || o.recorder.state("held").Final()
	})
	pause(t.Context(), 2*beatEvery+time.Second) // both write
	o.a.thaw()
	return o.judge(t)
}

const overlap = "no two executions of a run overlap"

func TestBroken_compareAndSetOffIsCaught(t *testing.T) {
	said, broken := collide(t, casOff...)
	if !broken || !strings.Contains(said, "BROKEN: "+overlap) {
		t.Errorf("without compare-and-set the checker says:\n%s", said)
	}
}

func TestBroken_compareAndSetOnIsNot(t *testing.T) {
	if said, broken := collide(t); broken {
		t.Errorf("the checker says:\n%s", said)
	}
}

func TestBroken_deadMansSwitchOffIsCaught(t *testing.T) {
	said, broken := outlive(t, switchOff...)
	if !broken || !strings.Contains(said, "BROKEN: "+overlap) {
		t.Errorf("without the dead man's switch the checker says:\n%s", said)
	}
}

func TestBroken_deadMansSwitchOnIsNot(t *testing.T) {
	if said, broken := outlive(t); broken {
		t.Errorf("the checker says:\n%s", said)
	}
}
