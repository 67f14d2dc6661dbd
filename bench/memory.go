//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/process"
)

// jobMemory is what one running job costs its supervisor: the difference that so many of them make.
func jobMemory(ctx context.Context, b *bench) (rows []row, err error) {
	const jobs = 500
	kind := process.NewType(func(dir string) ([]string, error) { return []string{b.weir, "supervisor", "--dir", dir}, nil })
	dir := filepath.Join(b.dir, "memory")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	runner, err := kind.New(ctx, runners.Config{Worker: "bench", Pool: "bench", Dir: dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	var running []runners.Execution
	defer func() {
		for _, e := range running {
			err = errors.Join(err, e.Stop(ctx, 0))
		}
	}()
	start := func() error {
		name := "sleep-" + strconv.Itoa(len(running))
		e, err := runner.Start(ctx, runners.Spec{
			Name: name, Run: name, Attempt: 1, Pool: "bench", Queue: "default", Deployment: "sleep", Worker: "bench",
			Parameters: json.RawMessage("{}"), Job: json.RawMessage(`{"command": ["sh", "-c", "echo begun; exec sleep 1000"]}`), Output: discard{},
		})
		if err == nil {
			running = append(running, e)
		}
		return err
	}
	if err := start(); err != nil { // what the first costs is the supervisor's own
		return nil, err
	}
	first := running[0].ID()
	supervisor, err := strconv.Atoi(field("/proc/"+first+"/status", "PPid"))
	if err != nil {
		return nil, fmt.Errorf("find the supervisor of process %s: %w", first, err)
	}
	before := resident(supervisor)
	for range jobs {
		if err := start(); err != nil {
			return nil, err
		}
	}
	after := resident(supervisor)
	if before == 0 || after == 0 {
		return nil, errors.New("the supervisor is gone")
	}
	return []row{
		{"a running job, memory of the supervisor", fmt.Sprintf("%.1f kB", float64(after-before)/jobs/1e3), fmt.Sprintf("%d jobs", jobs), "", "< 1 MB"},
		{"a supervisor with one job, memory", fmt.Sprintf("%.1f MB", float64(before)/1e6), "", "", ""},
	}, nil
}

// resident is the memory in bytes that a process has in RAM; 0 when there is none.
func resident(pid int) int64 {
	kb, _ := strconv.ParseInt(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), " kB"), 10, 64)
	return kb << 10
}

// discard takes a job's output and keeps none.
type discard struct{}

func (discard) Last(context.Context) (int64, error) { return 0, nil }
func (discard) Line(runners.Line)                   {}
func (discard) Flush(context.Context) error         { return nil }
