package docker

import (
	"testing"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

func TestConclude_saysWhatTheFactsMean(t *testing.T) {
	begun := time.Unix(1000, 0)
	for _, tt := range []struct {
		name   string
		f      facts
		signal string
		reason schemas.Reason
	}{
		{"well", facts{code: 0}, "", ""},
		{"exit code", facts{code: 7}, "", ""},
		{"a signal", facts{code: 139}, "SIGSEGV", ""},
		{"128 is no signal", facts{code: 128}, "", ""},
		{"255 is no signal", facts{code: 255}, "", ""},
		{"memory", facts{code: 137, oom: true}, "SIGKILL", schemas.ReasonOOMKilled},
		{"memory of a child", facts{code: 1, oom: true}, "", schemas.ReasonOOMKilled},
		{"memory of a child that was not missed", facts{code: 0, oom: true}, "", ""},
		{"killed by the engine", facts{code: 137, engine: true}, "SIGKILL", schemas.ReasonEngineUnreachable},
		{"stopped by the engine", facts{code: 143, engine: true}, "SIGTERM", schemas.ReasonEngineUnreachable},
		{"lost by the engine", facts{code: 255, engine: true}, "", schemas.ReasonEngineUnreachable},
		{"ended while the engine was away", facts{code: 7, engine: true}, "", ""},
		{"ended well while the engine was away", facts{code: 0, engine: true}, "", ""},
		{"stopped by Weir while the engine was away", facts{code: 137, engine: true, stopped: true}, "SIGKILL", ""},
	} {
		tt.f.started, tt.f.ended = begun, begun.Add(-time.Millisecond) // the engine's clock is behind
		r := conclude(tt.f)
		if r.ExitCode != tt.f.code || r.Signal != tt.signal || r.Reason != tt.reason || (r.Message == "") != (tt.reason == "") {
			t.Errorf("%s: got code %d, signal %q, reason %q (%s), want signal %q, reason %q", tt.name, r.ExitCode, r.Signal, r.Reason, r.Message, tt.signal, tt.reason)
		}
		if r.Ended.Before(r.Started) {
			t.Errorf("%s: ended before it started", tt.name)
		}
	}
}

func TestTake_readsResults(t *testing.T) {
	for _, tt := range []struct {
		content string
		reason  schemas.Reason
	}{
		{``, ""},
		{`{"a": 1}`, ""},
		{`{"a"`, schemas.ReasonResultInvalid},
		{`"` + string(make([]byte, runners.MaxResult)) + `"`, schemas.ReasonResultTooLarge},
	} {
		r := take(runners.Result{}, []byte(tt.content))
		if r.Reason != tt.reason || (string(r.Value) != tt.content) != (tt.reason != "") {
			t.Errorf("%.20q: got value %.20q, reason %q, want reason %q", tt.content, r.Value, r.Reason, tt.reason)
		}
	}
}
