package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{errors.New("surprise"), exitFailed},
		{&runFailedError{last: schemas.RunEvent{State: schemas.Failed}}, exitFailed},
		{usagef("wrong"), exitUsage},
		{schemas.CheckName("work pool", "a b"), exitUsage},
		{&schemas.InvalidError{What: "the parameters"}, exitUsage},
		{deploy.FileErrors{{File: "weir.yaml", Line: 1}}, exitUsage},
		{&server.StartError{Kind: server.ErrConfig}, exitUsage},
		{&streams.NotFoundError{Kind: "run", Name: "x"}, exitNotFound},
		{refusef("no"), exitRefused},
		{streams.ErrExists, exitRefused},
		{streams.ErrRefused, exitRefused},
		{&server.StartError{Kind: server.ErrExposed}, exitRefused},
		{&unreachableError{"no"}, exitNoConnection},
		{streams.ErrUnavailable, exitNoConnection},
		{&server.StartError{Kind: server.ErrUnavailable}, exitNoConnection},
		{errInterrupted, exitInterrupted},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exitCode(%v): got %d, want %d", tt.err, got, tt.want)
		}
		if tt.err == nil {
			continue
		}
		if got := exitCode(fmt.Errorf("wrapped: %w", tt.err)); got != tt.want {
			t.Errorf("exitCode of wrapped %v: got %d, want %d", tt.err, got, tt.want)
		}
	}
}
