//go:build linux

// Command torture runs Weir as people do, a cluster of NATS nodes, workers and a server, each a process, and breaks all of it
// while runs are asked for: it kills, freezes, cuts networks, fills disks, sets clocks wrong and cancels. What the jobs wrote
// about themselves and what was recorded is then judged by a program of its own, check. docs/torture.md says what that proves.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weir-run/weir/bench/torture/overlay"
)

type options struct {
	minutes float64  // how long things are broken
	seed    uint64   // 0: any
	workers int      // at once
	dir     string   // where all is kept; empty: a temporary folder, which is removed when all promises were kept
	only    []string // lanes; empty: all
}

// errBroken says that the checker found a promise broken.
var errBroken = errors.New("a promise was broken")

func main() {
	if len(os.Args) > 1 && os.Args[1] == "job" {
		os.Exit(job(os.Args[2:], os.Stdout))
	}
	var o options
	only := ""
	flag.Float64Var(&o.minutes, "minutes", 3, "how long things are broken")
	flag.Uint64Var(&o.seed, "seed", 0, "what decides what is done (default: another each time, which is printed)")
	flag.IntVar(&o.workers, "workers", 4, "workers at once")
	flag.StringVar(&o.dir, "dir", "", "folder for everything, kept afterwards (default: a temporary one, kept when a promise was broken)")
	flag.StringVar(&only, "only", "", "break only these, comma separated: "+strings.Join(laneNames(), ", "))
	flag.Parse()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	for _, name := range o.only {
		if !slices.Contains(laneNames(), name) {
			return fmt.Errorf("nothing is called %q; there are %s", name, strings.Join(laneNames(), ", "))
		}
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "weir-torture-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(dir)
			} else {
				fmt.Fprintln(out, "everything is kept in", dir)
			}
		}()
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	fmt.Fprintf(out, "seed %d, %g minutes, %d workers, 3 NATS nodes, in %s\n", o.seed, o.minutes, o.workers, dir)
	b, checker, err := build(ctx, dir, out)
	if err != nil {
		return err
	}
	if err := torture(ctx, o, b, dir, out); err != nil {
		return err
	}
	return judge(ctx, checker, dir, out)
}

// build makes the programs, with a clock that can be set wrong.
func build(ctx context.Context, dir string, out io.Writer) (b binaries, checker string, err error) {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return b, "", err
	}
	clock, err := overlay.Clock()
	if err != nil {
		return b, "", err
	}
	self, err := os.Executable()
	if err != nil {
		return b, "", err
	}
	b, checker = binaries{filepath.Join(bin, "weir"), filepath.Join(bin, "nats-server"), self}, filepath.Join(bin, "check")
	for _, p := range []struct {
		out, pkg string
		edits    []overlay.Edit
	}{
		{b.weir, "github.com/weir-run/weir/cmd/weir", clock},
		{b.nats, "github.com/nats-io/nats-server/v2", clock},
		{checker, "github.com/weir-run/weir/bench/torture/check", nil},
	} {
		fmt.Fprintln(out, "building", p.pkg)
		if err := overlay.Build(ctx, bin, p.out, p.pkg, p.edits...); err != nil {
			return b, "", err
		}
	}
	return b, checker, nil
}

// torture makes a history in dir.
func torture(ctx context.Context, o options, b binaries, dir string, out io.Writer) (err error) {
	s, err := newSystem(ctx, b, dir, 3, true)
	defer func() {
		for _, name := range s.stop() {
			err = errors.Join(err, fmt.Errorf("%s did not end when it was told to", name))
		}
	}()
	if err != nil {
		return err
	}
	for _, n := range s.nodes {
		if n.disk == nil && n == s.nodes[len(s.nodes)-1] {
			fmt.Fprintln(out, "disks are not filled: this user may not mount one")
		}
	}
	if err := s.addServer(); err != nil {
		return err
	}
	for i := range o.workers {
		if _, err := s.addWorker(fmt.Sprintf("w%d", i+1), i == o.workers-1); err != nil {
			return err
		}
	}
	r, err := newRecorder(s.conn, dir)
	if err != nil {
		return err
	}
	q, err := newRequests(s, r, o.seed)
	if err != nil {
		return err
	}
	recording, end := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { r.run(recording) })
	defer background.Wait()
	defer end()

	broken, mended := context.WithTimeout(ctx, time.Duration(o.minutes*float64(time.Minute)))
	defer mended()
	n := &nemesis{system: s, requests: q, out: out, began: time.Now(), counts: map[string]int{}}
	background.Go(func() { q.run(broken) })
	if err := n.run(broken, o.seed, o.only); err != nil {
		return err
	}
	for _, c := range s.clients() { // one that has ended by itself comes back, as under a service manager
		if err := c.start(); err != nil {
			return err
		}
	}
	q.wg.Wait()
	n.say("all is mended; %d requests were acknowledged, %d runs are not final yet", q.acknowledged.Load(), q.unfinished())
	if err := s.settle(ctx, q); err != nil {
		return err
	}
	fmt.Fprintln(out, "faults:", n.summary())
	for _, c := range s.clients() {
		for _, words := range c.surprises() {
			fmt.Fprintf(out, "%s ended by itself: %s\n", c.name, words)
		}
	}
	return r.dump(ctx, dir)
}

// judge runs the checker.
func judge(ctx context.Context, checker, dir string, out io.Writer) error {
	cmd := exec.CommandContext(ctx, checker, dir)
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return errBroken
	}
	return err
}
