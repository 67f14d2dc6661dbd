//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A row is one line of the report. Figures are text, for they have units.
type row struct {
	what, system, ceiling, ratio, goal string
}

// printReport prints the rows under what one must know to judge them. load is how many programs wanted a processor before the first
// measurement, over one minute: above 0.5 something else runs here, and rates say little.
func printReport(w io.Writer, load string, rows []row) {
	fmt.Fprintln(w, machine())
	fmt.Fprintf(w, "load when it began: %s\n", load)
	fmt.Fprintf(w, "command: go run ./bench %s\n\n", strings.Join(os.Args[1:], " "))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "measured\tsystem\tceiling\tratio\tgoal")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.what, r.system, r.ceiling, r.ratio, r.goal)
	}
	_ = t.Flush()
}

// machine says on what the figures were measured.
func machine() string {
	cpu := field("/proc/cpuinfo", "model name")
	memory := field("/proc/meminfo", "MemTotal")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	commit, _ := exec.Command("git", "describe", "--always", "--dirty").Output()
	return fmt.Sprintf("%s: %s, %d cores, %s of memory, Linux %s\n%s, nats-server %s, nats.go %s, weir %s",
		time.Now().UTC().Format(time.DateOnly), cpu, runtime.NumCPU(), memory, strings.TrimSpace(string(kernel)),
		runtime.Version(), natsserver.VERSION, nats.Version, strings.TrimSpace(string(commit)))
}

// field is the first value of key in a file of "key : value" lines; "unknown" without one.
func field(file, key string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// loadAverage is the machine's, over the last minute.
func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// quantile is the value below which q of all lie, of a list that it sorts.
func quantile[T int | float64 | time.Duration](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

// turns has ceiling and system take turns, so that what else the machine does meets both, and returns the median of each
// and of their ratios system/ceiling.
func turns(b *bench, ceiling, system func() (float64, error)) (c, s, ratio float64, err error) {
	var cs, ss, ratios []float64
	for turn := range b.pairs {
		c, err := ceiling()
		if err != nil {
			return 0, 0, 0, fmt.Errorf("ceiling: %w", err)
		}
		s, err := system()
		if err != nil {
			return 0, 0, 0, err
		}
		b.say("  turn %d of %d: %.4g of %.4g = %.2f", turn+1, b.pairs, s, c, s/c)
		cs, ss, ratios = append(cs, c), append(ss, s), append(ratios, s/c)
	}
	return quantile(cs, 0.5), quantile(ss, 0.5), quantile(ratios, 0.5), nil
}
