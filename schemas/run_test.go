package schemas

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRunRequest_readsEveryField(t *testing.T) {
	got, err := ParseRunRequest([]byte(`{
		"parameters": {"day": "2026-01-31", "rows": 12345678901234567890}, "job_variables": {"cpu": 1024}, "tags": ["a"],
		"timeout": "10m", "parent": "etl-3", "expires_at": "2026-01-31T16:00:00+01:00"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := RunRequest{
		Parameters:   map[string]json.RawMessage{"day": json.RawMessage(`"2026-01-31"`), "rows": json.RawMessage(`12345678901234567890`)},
		JobVariables: map[string]json.RawMessage{"cpu": json.RawMessage(`1024`)},
		Tags:         []string{"a"}, Timeout: Duration(10 * time.Minute), Parent: "etl-3",
		ExpiresAt: new(time.Date(2026, 1, 31, 15, 0, 0, 0, time.UTC)),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseRunRequest_emptyBodyIsFree(t *testing.T) {
	for _, body := range []string{"", " ", "\r\n\t"} {
		if got, err := ParseRunRequest([]byte(body)); err != nil || !cmp.Equal(got, RunRequest{}) {
			t.Errorf("%q: got %v, %v, want the zero request", body, got, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = ParseRunRequest(nil) }); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

func TestParseRunRequest_saysWhatIsWrong(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	for body, want := range map[string]string{
		`{`:                            `not JSON: unexpected end of JSON input (byte 1)`,
		`{"tags":["a"]} x`:             `not JSON: there is more after the end of the JSON value (byte 16)`,
		`{} {}`:                        `not JSON: there is more after the end of the JSON value (byte 4)`,
		"{\n  \"tags\": [\"a\",]\n}":   `not JSON: invalid character ']' looking for beginning of value (line 2, column 16)`,
		`'{"tags":[]}'`:                `not JSON: invalid character '\'' looking for beginning of value (byte 1): the quotes around JSON belong to the shell`,
		"{\"tags\":[\"\xff\"]}":        `the text is not UTF-8`,
		`[]`:                           `got a list, want an object`,
		`null`:                         `got null, want an object (or leave it out)`,
		`"run"`:                        `got text, want an object`,
		`{"paramters":{}}`:             `unknown field "paramters": did you mean "parameters"?`,
		`{"x":1}`:                      `unknown field "x": there are expires_at, job_variables, parameters, parent, retries, tags, timeout`,
		`{"tags":[],"tags":[]}`:        `the field "tags" is there twice (byte 17)`,
		`{"parameters":{"a":1,"a":2}}`: `the field "a" is there twice (byte 24)`,
		`{"parameters":[1]}`:           `parameters: got a list, want an object`,
		`{"tags":"a"}`:                 `tags: got text, want a list`,
		`{"tags":["a",2]}`:             `tags[1]: got a number, want text`,
		`{"timeout":true}`:             `timeout: got true or false, want a number or text`,
		`{"timeout":null}`:             `timeout: got null, want a number or text (or leave it out)`,
		`{"timeout":-1}`:               `timeout: got -1, want at least 0`,
		`{"timeout":0.5e12}`:           `timeout: got 500000000000, want at most 315360000`,
		`{"timeout":"soon"}`:           `timeout: got "soon", want a number with a unit (90s, 10m, 1h30m)`,
		`{"timeout":"-5s"}`:            `timeout: got "-5s", want a number with a unit (90s, 10m, 1h30m)`,
		`{"timeout":1e999999999}`:      `the number 1e999999999 is out of range (byte 22)`,
		`{"parameters":{"n":-1E+400}}`: `the number -1E+400 is out of range (byte 26)`,
		`{"parent":"a.b"}`:             `parent: got "a.b", want 1 to 64 letters, digits, _ or -`,
		`{"retries":-1}`:               `retries: got -1, want at least 0`,
		`{"retries":{"backoff":1}}`:    `retries: the field "max" is missing`,
		`{"retries":{"max":1,"retry_on":["x"]}}`: `retries.retry_on[0]: got "x", want exit:<code from 1 to 255>, signal:<NAME>, or one of exit_code, signal, ` +
			`timed_out, oom_killed, start_failed, start_timed_out, image_not_found, image_pull_failed, capacity_unavailable, spot_interrupted, essential_container_exited, stopped_by_user, execution_lost, engine_unreachable, result_too_large, result_invalid, worker_lost, lease_lost, worker_stopped`,
		`{"expires_at":"tomorrow"}`:             `expires_at: got "tomorrow", want a time such as 2026-01-31T15:04:05Z`,
		`{"expires_at":1767225600}`:             `expires_at: got a number, want text`,
		`{"expires_at":"2026-02-30T00:00:00Z"}`: `expires_at: got "2026-02-30T00:00:00Z", want a time such as 2026-01-31T15:04:05Z`,
		`{"timeout":-1,"a":1,"tags":1,"parent":2,"b":3}`: `unknown field "a": there are expires_at, job_variables, parameters, parent, retries, tags, timeout; ` +
			`unknown field "b": there are expires_at, job_variables, parameters, parent, retries, tags, timeout; parent: got a number, want text; and 2 more`,
		`{"parameters":` + deep + `}`: `it is nested more than 100 deep (byte 510)`,
	} {
		r, err := ParseRunRequest([]byte(body))
		if got, want := errText(err), "the run request is not valid: "+want; got != want {
			t.Errorf("%s:\n got %s\nwant %s", clip(body), got, want)
		}
		if _, ok := errors.AsType[*InvalidError](err); !ok {
			t.Errorf("%s: got a %T, want an *InvalidError", clip(body), err)
		}
		if !cmp.Equal(r, RunRequest{}) {
			t.Errorf("%s: got %v with the error, want the zero request", clip(body), r)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

func TestParseRunRequest_boundsWhatItReads(t *testing.T) {
	largest := `{"tags":["` + strings.Repeat("a", MaxRequest-len(`{"tags":[""]}`)) + `"]}`
	if _, err := ParseRunRequest([]byte(largest)); err != nil {
		t.Errorf("%d bytes: %v", len(largest), err)
	}
	if _, err := ParseRunRequest([]byte(largest + " ")); err == nil || !strings.Contains(err.Error(), "524289 bytes, the limit is 524288") {
		t.Errorf("%d bytes: got %v, want an error with the limit", len(largest)+1, err)
	}
	for name, body := range map[string]string{
		"brackets": strings.Repeat("[", MaxRequest),
		"a number": `{"timeout":` + strings.Repeat("9", MaxRequest-12) + `}`,
		"a key":    `{"` + strings.Repeat("k", MaxRequest-6) + `":1}`,
		"fields":   `{` + strings.Repeat(`"":1,`, MaxRequest/5-1) + `"a":1}`,
	} {
		_, err := ParseRunRequest([]byte(body))
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("%s: got %.1100v, want a short error", name, err)
		}
	}
}

func TestParseDuration_table(t *testing.T) {
	const bad = -1
	for _, c := range []struct {
		in   any
		want time.Duration
	}{
		{nil, 0},
		{0, 0},
		{90, 90 * time.Second},
		{int64(90), 90 * time.Second},
		{uint64(90), 90 * time.Second},
		{0.5, 500 * time.Millisecond},
		{1e-9, 1},
		{0.001, time.Millisecond},
		{0.1, 100 * time.Millisecond},
		{"90s", 90 * time.Second},
		{"10m", 10 * time.Minute},
		{"1h30m", 90 * time.Minute},
		{"1.5h", 90 * time.Minute},
		{".5s", 500 * time.Millisecond},
		{"0", 0},
		{"3µs", 3 * time.Microsecond},
		{"87600h", maxDuration},
		{maxDuration.Seconds(), maxDuration},
		{"", bad},
		{"90", bad},
		{"soon", bad},
		{"-1s", bad},
		{"+1s", bad},
		{"1d", bad},
		{"10 m", bad},
		{"87600h1ns", bad},
		{"99999999999h", bad},
		{-0.001, bad},
		{-1, bad},
		{maxDuration.Seconds() + 1, bad},
		{math.NaN(), bad},
		{math.Inf(1), bad},
		{math.Inf(-1), bad},
		{math.MaxInt64, bad},
		{uint64(math.MaxUint64), bad},
		{true, bad},
		{[]any{1}, bad},
		{map[string]any{}, bad},
	} {
		got, err := ParseDuration(c.in)
		if c.want == bad {
			if err == nil || got != 0 || !strings.HasPrefix(err.Error(), "duration ") {
				t.Errorf("%v: got %v, %v, want an error about a duration", c.in, time.Duration(got), err)
			}
		} else if err != nil || time.Duration(got) != c.want {
			t.Errorf("%v: got %v, %v, want %v", c.in, time.Duration(got), err, c.want)
		}
	}
}

func TestDuration_isSecondsInJSON(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0", 90 * time.Second: "90", 1500 * time.Millisecond: "1.5", maxDuration: "315360000", 1: "0.000000001"} {
		got, err := json.Marshal(Duration(d))
		if err != nil || string(got) != want {
			t.Errorf("%v: got %s, %v, want %s", d, got, err, want)
		}
		var back Duration
		if err := json.Unmarshal(got, &back); err != nil || time.Duration(back) != d {
			t.Errorf("%v: got %v back, %v", d, time.Duration(back), err)
		}
	}
}

// What the schema lets pass as a duration, Go reads, and the other way round.
func TestDuration_schemaAndGoAgree(t *testing.T) {
	for _, text := range []string{
		"0", "90s", "10m", "1h30m", ".5s", "5.s", "1.5h", "3µs", "3μs", "3us", "1ns", "00", "0s0", "", "90", "s", ".s", "-1s", "+1s", "1d", "1 s", "1h 2m", "1H", "0x1s", "1_0s", "1e3s",
	} {
		_, goErr := ParseDuration(text)
		body, err := json.Marshal(map[string]string{"timeout": text})
		if err != nil {
			t.Fatal(err)
		}
		schemaErr := Validate(RunRequestSchema, body)
		if (goErr == nil) != (schemaErr == nil) {
			t.Errorf("%q: Go says %v, the schema %v", text, goErr, schemaErr)
		}
	}
}

func BenchmarkParseRunRequest(b *testing.B) {
	for name, body := range map[string]string{"empty": "", "parameters": `{"parameters":{"day":"2026-01-31","rows":100000},"tags":["backfill"]}`} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseRunRequest([]byte(body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
