package schemas

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

func readRetries(t *testing.T, body string) Retries {
	t.Helper()
	var r Retries
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRetries_waitsGrowUpToTheLongest(t *testing.T) {
	for body, want := range map[string][]time.Duration{
		`3`:                                {10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second},
		`{"max":9,"backoff":1,"factor":3}`: {time.Second, 3 * time.Second, 9 * time.Second},
		`{"max":9,"backoff":"1m","max_backoff":"90s"}`: {time.Minute, 90 * time.Second, 90 * time.Second},
		`{"max":9,"backoff":"1h"}`:                     {time.Hour, time.Hour},
		`{"max":99,"backoff":"2s","factor":1}`:         {2 * time.Second, 2 * time.Second},
	} {
		r := readRetries(t, body)
		for i, w := range want {
			if got := r.Wait(i+1, 0.5); got != w { // in the middle of what chance allows
				t.Errorf("%s: got %s before retry %d, want %s", body, got, i+1, w)
			}
		}
	}
	if got := readRetries(t, `{"max":100,"backoff":"2s"}`).Wait(100, 0.999); got != 10*time.Minute {
		t.Errorf("got %s before the hundredth retry, want the longest wait", got)
	}
}

func TestRetries_jitterIsAShareOfTheWait(t *testing.T) {
	r := readRetries(t, `{"max":1,"backoff":100,"jitter":0.5}`)
	if low, high := r.Wait(1, 0), r.Wait(1, 0.999999); low != 50*time.Second || high < 149*time.Second || high > 150*time.Second {
		t.Errorf("got waits from %s to %s, want from 50s to 2m30s", low, high)
	}
	if got := readRetries(t, `{"max":1,"backoff":100,"jitter":0}`).Wait(1, 0); got != 100*time.Second {
		t.Errorf("got %s without jitter, want 1m40s", got)
	}
}

func TestRetries_wantWhatTheCausesSay(t *testing.T) {
	exit := func(code int) RunEvent { return RunEvent{State: Failed, Reason: ReasonExitCode, ExitCode: &code} }
	killed := RunEvent{State: Failed, Reason: ReasonSignal, Signal: "SIGSEGV", ExitCode: new(139)}
	lost := RunEvent{State: Crashed, Reason: ReasonWorkerLost}
	for _, c := range []struct {
		retries string
		event   RunEvent
		want    bool
	}{
		{`1`, exit(1), true},
		{`1`, killed, true},
		{`1`, lost, false},
		{`1`, RunEvent{State: Failed, Reason: ReasonResultInvalid, ExitCode: new(0)}, false},
		{`{"max":1,"retry_on":["result_invalid"]}`, RunEvent{State: Failed, Reason: ReasonResultInvalid, ExitCode: new(0)}, true},
		{`{"max":1,"retry_on":["exit:75","oom_killed"]}`, exit(75), true},
		{`{"max":1,"retry_on":["exit:75","oom_killed"]}`, exit(7), false},
		{`{"max":1,"retry_on":["exit:139"]}`, killed, false},
		{`{"max":1,"retry_on":["signal:SIGSEGV"]}`, killed, true},
		{`{"max":1,"retry_on":["worker_lost"]}`, lost, true},
		{`{"max":1,"never_on":["exit:2"]}`, exit(2), false},
		{`{"max":1,"never_on":["exit:2"]}`, exit(3), true},
		{`{"max":1,"retry_on":["exit_code"],"never_on":["exit:2"]}`, exit(2), false},
	} {
		if got := readRetries(t, c.retries).Want(c.event); got != c.want {
			t.Errorf("%s after %s %s: got %v, want %v", c.retries, c.event.Reason, c.event.Signal, got, c.want)
		}
	}
}

func TestRetries_refuseCausesThatCannotBeMet(t *testing.T) {
	for _, cause := range []string{"exit:0", "exit:256", "exit:-1", "exit:", "signal:KILL", "rejected", "expired", "cancel_requested", "held", "EXIT:1", ""} {
		body, err := json.Marshal(map[string]any{"max": 1, "never_on": []string{cause}})
		if err != nil {
			t.Fatal(err)
		}
		var r Retries
		if err := json.Unmarshal(body, &r); err == nil {
			t.Errorf("%q: got no error, want one that says what can be written", cause)
		}
	}
}

// Every reason is either one that retries can name or known to be none.
func TestRetries_namesEveryReasonThatCanEndAnAttempt(t *testing.T) {
	none := []Reason{ReasonExpired, ReasonRejected, ReasonCancelRequest, ReasonHeld}
	for _, r := range Reasons {
		if named := Cause(r).Check() == nil; named == slices.Contains(none, r) {
			t.Errorf("reason %s: got nameable %v", r, named)
		}
	}
}
