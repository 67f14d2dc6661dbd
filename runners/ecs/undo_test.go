package ecs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/smithy-go"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/schemas"
)

// A run is cancelled while its task waits for room, and ECS refuses the stop (or is away): the worker is told to stop meanwhile, and has to be
// able to end. Start does not hear of it, for its context has ended already, of the cancel.
func TestStart_undoWhileStopIsRefused(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.Tune(func(k *ecstest.Knobs) { k.Pace.Provisioning = time.Hour })
		c := b.clients()
		refuse(&c.ecs.StopTask, func(int64, *ecs.StopTaskInput) error { return &smithy.GenericAPIError{Code: "AccessDeniedException"} })
		r := b.workerWith("w", runners.Config{}, c, "")
		ctx, cancel := context.WithCancelCause(t.Context())
		spec := b.spec("r.1", nil, nil)
		spec.Tell = func(runners.Progress) { cancel(errTest) }
		done := make(chan error, 1)
		go func() { _, err := r.Start(ctx, spec); done <- err }()
		select {
		case err := <-done:
			if !errors.Is(err, runners.ErrLetGo) {
				t.Errorf("start = %v, want that the task is left to the next worker", err)
			}
		case <-time.After(50 * time.Minute):
			t.Error("the start does not end")
		}
	})
}

// Whoever sees the task in AWS's console sees why a start was called off.
func TestStart_undoSaysWhy(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		ctx, cancel := context.WithCancelCause(t.Context())
		spec := b.spec("r.1", nil, nil)
		spec.Tell = func(runners.Progress) { cancel(errTest) }
		if _, err := b.worker("w").Start(ctx, spec); !errors.Is(err, errTest) {
			t.Errorf("start = %v, want the test's own reason", err)
		}
		if got, want := b.one().StoppedReason, "weir: the run is ended: r.1: "+errTest.Error(); got != want {
			t.Errorf("the task was stopped with %q, want %q", got, want)
		}
	})
}

// A worker whose credentials have run out starts nothing and fails nothing: what it was given waits, says why, and starts with new ones.
func TestStart_waitsForCredentials(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		if err := b.AddUser("AKIASECOND", "second", `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`); err != nil {
			t.Fatal(err)
		}
		c := b.clients()
		keys := &changing{key: adminKey}
		keys.into(b, c)
		b.Expire(adminKey)
		spec := b.spec("r.1", nil, nil)
		var told []runners.Progress
		spec.Tell = func(p runners.Progress) {
			if told = append(told, p); p.ID == "" {
				time.AfterFunc(time.Hour, func() { keys.set("AKIASECOND") })
			}
		}
		began := time.Now()
		e := b.start(b.workerWith("w", runners.Config{}, c, ""), spec)
		if waited := time.Since(began); waited < time.Hour || waited > time.Hour+2*lastRoomWait {
			t.Errorf("started after %s, want as soon as there were credentials, after an hour", waited)
		}
		if len(told) != 2 || told[0].Reason != schemas.ReasonStartFailed || !strings.Contains(told[0].Message, "credentials have expired: log in again") || told[1].ID != e.ID() {
			t.Errorf("told %+v, want once why it waits, and then the task", told)
		}
	})
}
