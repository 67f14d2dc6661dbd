package runnertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

type fakeRunner struct{ fake *Fake }

var (
	_ runners.Runner    = fakeRunner{}
	_ runners.Forgetter = fakeRunner{}
	_ runners.Lister    = fakeRunner{}
	_ runners.Execution = (*fakeJob)(nil)
	_ runners.Leased    = (*fakeJob)(nil)
)

// Start implements [runners.Runner].
func (r fakeRunner) Start(ctx context.Context, spec runners.Spec) (runners.Execution, error) {
	f := r.fake
	plan := Plan{}
	if f.Plan != nil {
		plan = f.Plan(spec)
	}
	f.mu.Lock()
	j, found := f.jobs[spec.Name]
	if !found && plan.Refuse == nil {
		j = &fakeJob{fake: f, plan: plan, index: len(f.starts), done: make(chan struct{})}
		f.jobs[spec.Name] = j
		f.starts = append(f.starts, Started{Spec: spec, Begun: time.Now()})
		f.signal()
		j.setLease(spec.Lease)
	}
	f.mu.Unlock()
	if found {
		return j, nil
	}
	if plan.Refuse != nil {
		return nil, plan.Refuse
	}
	for i, l := range plan.Lines {
		spec.Output.Line(runners.Line{Stream: l.Stream, At: time.Now(), Position: int64(i) + 1, Text: []byte(l.Text), Continued: l.Continued})
	}
	if len(plan.Lines) > 0 {
		if err := spec.Output.Flush(ctx); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case plan.Done:
		j.end(plan.Result)
	case plan.After > 0 && !j.ended:
		j.timer = j.endAfter(plan.After, plan.Result)
	}
	return j, nil
}

// Find implements [runners.Runner].
func (r fakeRunner) Find(_ context.Context, sought runners.Sought) (runners.Execution, error) {
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	if j := r.fake.jobs[sought.Name]; j != nil {
		return j, nil
	}
	return nil, fmt.Errorf("find %s: %w", sought.Name, runners.ErrGone)
}

// List implements [runners.Lister].
func (r fakeRunner) List(context.Context) ([]string, error) {
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	return slices.Sorted(maps.Keys(r.fake.jobs)), nil
}

// Forget implements [runners.Forgetter].
func (r fakeRunner) Forget(name string) {
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	if j := r.fake.jobs[name]; j != nil && j.ended {
		delete(r.fake.jobs, name)
	}
}

// Close implements [runners.Runner].
func (fakeRunner) Close() error { return nil }

// ID implements [runners.Execution].
func (j *fakeJob) ID() string { return strconv.Itoa(j.index + 1) }

// Wait implements [runners.Execution].
func (j *fakeJob) Wait(ctx context.Context) (runners.Result, error) {
	select {
	case <-j.done:
	case <-ctx.Done():
		return runners.Result{}, context.Cause(ctx)
	}
	j.fake.mu.Lock()
	defer j.fake.mu.Unlock()
	if j.gone {
		return runners.Result{}, runners.ErrGone
	}
	return j.result, nil
}

// Stop implements [runners.Execution].
func (j *fakeJob) Stop(ctx context.Context, grace time.Duration) error {
	wait, signal := j.plan.Ignores, "SIGTERM"
	if wait > grace {
		wait, signal = grace, "SIGKILL"
	}
	timer := j.endAfter(wait, killed(signal))
	defer timer.Stop()
	_, err := j.Wait(ctx)
	return err
}

// Lease implements [runners.Leased].
func (j *fakeJob) Lease(until time.Time) error {
	j.fake.mu.Lock()
	defer j.fake.mu.Unlock()
	j.setLease(until)
	return nil
}

// setLease sets the dead man's switch. The caller holds the fake's lock.
func (j *fakeJob) setLease(until time.Time) {
	if j.lease != nil {
		j.lease.Stop()
		j.lease = nil
	}
	if until.IsZero() || j.ended {
		return
	}
	result := killed("SIGKILL")
	result.Reason = schemas.ReasonLeaseLost
	j.lease = j.endAfter(max(time.Until(until), 0), result)
}

func killed(signal string) runners.Result {
	code := 128 + 15
	if signal == "SIGKILL" {
		code = 128 + 9
	}
	return runners.Result{ExitCode: code, Signal: signal}
}
