package ecs

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
)

func TestLife(t *testing.T) {
	bubble(t, lives(time.Minute, 7, lines(3)...), func(t *testing.T, b *bench) {
		r := b.worker("w")
		out := runnertest.NewRecorder()
		var told []runners.Progress
		spec := b.spec("r.1", out, nil)
		spec.Tell = func(p runners.Progress) { told = append(told, p) }
		began := time.Now()
		e := b.start(r, spec)
		if took := time.Since(began); took < fargatePace.Provisioning || took > fargatePace.Provisioning+2*time.Second {
			t.Errorf("start took %s, want the time that the task is PROVISIONING", took)
		}
		if isClosed(e.Begun()) {
			t.Error("the job is said to run while its image is on its way")
		}
		if len(told) != 1 || told[0].ID != e.ID() || len(told[0].Details) == 0 {
			t.Errorf("told %+v, want one progress with the task's ARN", told)
		}
		<-e.Begun()
		if e.Started().IsZero() {
			t.Error("the job runs, and it is not known since when")
		}
		res := b.wait(e)
		if res.ExitCode != 7 || res.NoCode || res.Reason != "" {
			t.Errorf("got %+v, want exit code 7", res)
		}
		if ran := res.Ended.Sub(res.Started); ran < time.Minute || ran > time.Minute+2*time.Second {
			t.Errorf("the job ran %s, want a minute", ran)
		}
		if diff := cmp.Diff(lines(3), out.Lines("")); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
		var d Details
		if err := json.Unmarshal(e.Details(), &d); err != nil {
			t.Fatal(err)
		}
		if d.Task != e.ID() || d.StopCode != codeEssential || d.LogStream == "" || d.RunningMS == nil || *d.RunningMS < 60_000 || *d.PendingMS < 15_000 || *d.ProvisioningMS < 12_000 {
			t.Errorf("details: %s", e.Details())
		}
	})
}
