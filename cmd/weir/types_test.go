package main

import (
	"strings"
	"testing"

	"github.com/weir-run/weir/schemas"
)

// Who has only a pool's record knows by its type's name who executes its runs.
func TestPoolTypes_pushIsInTheName(t *testing.T) {
	for _, k := range poolTypes {
		if got := (schemas.Pool{Type: k.Name}).Push(); got != k.Push {
			t.Errorf("type %s: Push is %v, and by its name it is %v", k.Name, k.Push, got)
		}
	}
}

// Nobody is told to start a worker that there is none of.
func TestDeploymentRun_saysThatNoServerExecutesIt(t *testing.T) {
	t.Parallel()
	url, conn := newProject(t)
	weir(t, "-s", url, "work-pool", "create", "paper", "--type", "ecs:push").ok(t)
	d := schemas.Deployment{Name: "print", Pool: "paper", Queue: schemas.DefaultQueue, Command: schemas.Command{"true"}}
	d.JobVariables = decodeJSON[schemas.Deployment](t, `{"job_variables": {"image": "busybox:1"}}`).JobVariables
	if _, err := conn.PutDeployment(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	got := weir(t, "-s", url, "deployment", "run", "print", "--id", "sheet")
	got.ok(t)
	if !strings.Contains(got.stderr, "The log of a server that runs says why") || strings.Contains(got.stdout+got.stderr, "worker") {
		t.Errorf("got %s%s", got.stdout, got.stderr)
	}
	for _, args := range []string{"flow-run ls --pool paper", "flow-run inspect sheet"} {
		out := weir(t, append([]string{"-s", url}, strings.Fields(args)...)...).ok(t)
		if !strings.Contains(out, "waits for a server that executes the runs of pool paper") {
			t.Errorf("%s: got %s", args, out)
		}
	}
}
