//go:build linux

// Command bench measures Weir against ceilings measured in the same run on the same machine, and prints both with their ratio.
// README.md beside it says what each figure means. It starts everything it needs on loopback, in a temporary folder, and ends it again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options bound how long the whole takes.
type options struct {
	only    string        // comma separated measurement names; empty: all
	runs    int           // no-op runs of one system measurement
	pairs   int           // times that ceiling and system take turns
	samples int           // requests of the latency measurement
	cancels int           // cancels of the cancel measurement
	bulk    int           // requests of one bulk measurement
	waiting int           // runs that wait in the claim measurement
	idle    time.Duration // how long an idle worker is watched
	weir    string        // a weir binary; empty: built from this checkout
}

// A measurement is one row, or a few, of the report.
type measurement struct {
	name  string
	does  string
	run   func(context.Context, *bench) ([]row, error)
	named bool // only where it is asked for by its name: it needs more than Go
}

var measurements = []measurement{
	{name: "up", does: "no-op process runs under weir up", run: noopUp},
	{name: "worker", does: "no-op process runs, nats-server and worker as processes of their own", run: noopWorker},
	{name: "latency", does: "publish → process started", run: startLatency},
	{name: "cancel", does: "cancel request → SIGTERM in the job", run: cancelLatency},
	{name: "bulk", does: "bulk requests", run: bulkRequests},
	{name: "claim", does: "claim latency with few and many runs waiting", run: claimLatency},
	{name: "idle", does: "an idle worker", run: idleWorker},
	{name: "memory", does: "what a running job costs its supervisor", run: jobMemory},
	{name: "docker", does: "containers of a docker pool, against docker run", run: dockerRuns, named: true},
	{name: "ecs", does: "an ecs:push pool, against an AWS endpoint of the tests", run: ecsPools, named: true},
}

// A bench is what the measurements share: options, built programs, a folder, and where to say what is going on.
type bench struct {
	options
	dir        string // temporary; removed at the end
	natsServer string // path of the nats-server binary
	progress   io.Writer
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "measure only these, comma separated: "+strings.Join(names(), ", "))
	flag.IntVar(&o.runs, "runs", 3000, "no-op runs of one turn")
	flag.IntVar(&o.pairs, "pairs", 7, "turns of ceiling and system; the median of their ratios is reported")
	flag.IntVar(&o.samples, "samples", 1000, "requests of the latency measurement")
	flag.IntVar(&o.cancels, "cancels", 300, "cancels of the cancel measurement")
	flag.IntVar(&o.bulk, "bulk", 100_000, "requests of one turn of the bulk measurement")
	flag.IntVar(&o.waiting, "waiting", 1_000_000, "runs that wait in the claim measurement")
	flag.DurationVar(&o.idle, "idle", 30*time.Second, "how long the idle worker is watched")
	flag.StringVar(&o.weir, "weir", "", "weir binary to measure (default: built from ./cmd/weir)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out, progress io.Writer) (err error) {
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	load := loadAverage()
	b := &bench{options: o, dir: dir, progress: progress, natsServer: filepath.Join(dir, "nats-server")}
	if err := b.build(ctx); err != nil {
		return err
	}
	var rows []row
	for _, m := range chosen {
		b.say("measuring %s: %s", m.name, m.does)
		r, err := m.run(ctx, b)
		if err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
		rows = append(rows, r...)
	}
	printReport(out, load, rows)
	return nil
}

// build makes the two programs. The nats-server is the module's own main, so that both ways of running NATS are the same code.
func (b *bench) build(ctx context.Context) error {
	builds := map[string]string{b.natsServer: "github.com/nats-io/nats-server/v2"}
	if b.weir == "" {
		b.weir = filepath.Join(b.dir, "weir")
		builds[b.weir] = "./cmd/weir"
	}
	for path, pkg := range builds {
		b.say("building %s", pkg)
		if out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

func names() []string {
	var all []string
	for _, m := range measurements {
		all = append(all, m.name)
	}
	return all
}

func choose(only string) ([]measurement, error) {
	if only == "" {
		return slices.DeleteFunc(slices.Clone(measurements), func(m measurement) bool { return m.named }), nil
	}
	var chosen []measurement
	for name := range strings.SplitSeq(only, ",") {
		i := slices.Index(names(), name)
		if i < 0 {
			return nil, fmt.Errorf("there is no measurement %q; there are %s", name, strings.Join(names(), ", "))
		}
		chosen = append(chosen, measurements[i])
	}
	return chosen, nil
}
