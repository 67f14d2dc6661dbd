// Package process runs jobs as processes of the worker's machine.
//
// They are not the worker's own children: a supervisor, one process per worker and the same binary ([Supervise]), starts
// them, keeps their output and how they ended, and kills those whose lease runs out. So a worker that was killed or replaced
// finds its jobs running, one that is frozen or gone leaves none behind, and a supervisor that is killed takes its jobs with
// it. What a run is, and when a lease is confirmed, is left to others.
package process

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

//go:embed template.json
var template []byte

// Type is the process pool, with supervisors started as this binary's "supervisor --dir DIR".
var Type = NewType(func(dir string) ([]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{exe, "supervisor", "--dir", dir}, nil
})

// NewType is the process pool with another way to start supervisors: command is the program and its arguments, which must
// call [Supervise] with dir.
func NewType(command func(dir string) ([]string, error)) runners.Type {
	return runners.Type{
		Name:     "process",
		Summary:  "a process on the worker's machine",
		Template: template, EndsWithLease: true,
		New: func(ctx context.Context, config runners.Config) (runners.Runner, error) {
			return newRunner(config, command)
		},
		Check: check,
	}
}

// runner is the worker's side.
type runner struct {
	config  runners.Config
	command func(dir string) ([]string, error)
	base    []string // the environment of every job: the worker's own without what is not theirs
	dialing chan struct{}
	link    atomic.Pointer[link]
	parsed  atomic.Pointer[parsed]
	python  pythons
}

// parsed is the job configuration that was read last: most runs in a row have the same.
type parsed struct {
	raw json.RawMessage
	job *Job
}

var (
	_ runners.Runner    = (*runner)(nil)
	_ runners.Forgetter = (*runner)(nil)
)

func newRunner(config runners.Config, command func(string) ([]string, error)) (*runner, error) {
	var err error
	if config.Dir, err = filepath.Abs(config.Dir); err != nil {
		return nil, fmt.Errorf("find the worker's folder: %w", err)
	}
	if config.Code != "" {
		if config.Code, err = filepath.Abs(config.Code); err != nil {
			return nil, fmt.Errorf("find the code's folder: %w", err)
		}
	}
	return &runner{config: config, command: command, base: baseEnviron(os.Environ()), dialing: make(chan struct{}, 1)}, nil
}

// Start implements [runners.Runner].
func (r *runner) Start(ctx context.Context, spec runners.Spec) (runners.Execution, error) {
	job, err := r.job(spec.Job)
	if err != nil {
		return nil, runners.Permanent(schemas.ReasonStartFailed, err)
	}
	l, err := r.launch(&spec, job)
	if err != nil {
		return nil, err
	}
	k, err := r.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return k.start(ctx, l, spec.Output)
}

// Find implements [runners.Runner]. An execution that this runner holds already is returned as it is: its output goes on to
// where it went.
func (r *runner) Find(ctx context.Context, sought runners.Sought) (runners.Execution, error) {
	k, err := r.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", sought.Name, err)
	}
	return k.find(ctx, sought.Name, sought.Output)
}

// Forget implements [runners.Forgetter].
func (r *runner) Forget(name string) {
	if k := r.link.Load(); k != nil {
		k.forget(name)
	}
}

// Close implements [runners.Runner].
func (r *runner) Close() error {
	r.dialing <- struct{}{}
	defer func() { <-r.dialing }()
	if k := r.link.Swap(nil); k != nil {
		k.close()
	}
	return nil
}

func (r *runner) job(raw json.RawMessage) (*Job, error) {
	if p := r.parsed.Load(); p != nil && bytes.Equal(p.raw, raw) {
		return p.job, nil
	}
	job, err := parseJob(raw)
	if err == nil {
		r.parsed.Store(&parsed{bytes.Clone(raw), job})
	}
	return job, err
}

// code is the folder that the deployment was deployed from, where this machine has it, or else the worker's own.
func (r *runner) code(spec *runners.Spec) string {
	if spec.Code == "" || spec.Code == r.config.Code || !filepath.IsAbs(spec.Code) {
		return r.config.Code
	}
	if info, err := os.Stat(spec.Code); err != nil || !info.IsDir() {
		return r.config.Code
	}
	return spec.Code
}

// launch turns a spec into what the supervisor needs.
func (r *runner) launch(spec *runners.Spec, job *Job) (*launch, error) {
	if spec.Name == "" || strings.ContainsAny(spec.Name, "/\x00") {
		return nil, runners.Permanent(schemas.ReasonStartFailed, fmt.Errorf("start: %q cannot name an execution", spec.Name))
	}
	config := r.config
	config.Code = r.code(spec)
	vars, err := job.Env.Resolve(config.Code)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	l := &launch{
		name: spec.Name, argv: job.Command, params: string(spec.Parameters), lease: clockAt(spec.Lease),
		discard: job.StreamOutput != nil && !*job.StreamOutput, cpu: int64(job.CPU), memory: int64(job.Memory),
	}
	l.dir = config.Code
	if job.WorkingDir != "" {
		l.dir = under(config.Code, job.WorkingDir)
		if !filepath.IsAbs(l.dir) {
			return nil, refused("working directory %s is relative, and this worker has no code folder to take it from", job.WorkingDir)
		}
	}
	own := spec.Environ()
	if len(l.argv) == 0 {
		if l.argv, err = r.python.command(config, job, spec.Entrypoint); err != nil {
			return nil, err
		}
		own = append(own, "PYTHONUNBUFFERED=1")
	}
	l.env = overlay(r.base, vars, own)
	l.path, err = program(l.argv[0], variable(l.env, "PATH"))
	return l, err
}
