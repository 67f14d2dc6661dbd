package schemas

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// exampleEvents are the events that docs/wire.md shows, and the corners of what an event can hold.
func exampleEvents() map[string]RunEvent {
	completed := completedEvent()
	pending := RunEvent{
		Run: completed.Run, Pool: completed.Pool, Queue: completed.Queue, Deployment: completed.Deployment, State: Pending, Attempt: 1,
		Worker: "atlas", Time: *completed.Claimed, Requested: completed.Requested, Sequence: 17, Claimed: completed.Claimed,
		Parameters: json.RawMessage(`{ "name": "Marvin" }`), Tags: []string{"demo", "näytä"},
	}
	running := pending
	running.State, running.Parameters, running.Tags, running.Execution = Running, nil, nil, "4711"
	running.Time, running.Started, running.Deadline = *completed.Started, completed.Started, new(completed.Started.Add(10*time.Minute))
	failed := completed
	failed.State, failed.Reason, failed.Message = Failed, ReasonSignal, "the job was ended by SIGKILL"
	failed.ExitCode, failed.Signal, failed.Result = new(137), "SIGKILL", nil
	rejected := RunEvent{
		Run: "nightly", Pool: "development", Queue: "default", Deployment: "my-flow", State: Failed, Reason: ReasonRejected,
		Message: `parameters are not valid: parameters.day: got "<today> & \"tomorrow\"", want a date` + "\u2028\n\xff", Parent: "development-3",
		Time: completed.Time, Requested: completed.Requested, Sequence: 18,
	}
	return map[string]RunEvent{"pending": pending, "running": running, "completed": completed, "failed": failed, "rejected": rejected}
}

func TestEncodeRunEvent_matchesGolden(t *testing.T) {
	for name, e := range exampleEvents() {
		body, err := EncodeRunEvent(e, 0, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "event-"+name, body)
	}
}

// byReflection is what [EncodeRunEvent] has to be equal to.
func byReflection(t testing.TB, e RunEvent, n int, traceParent string) string {
	t.Helper()
	var body strings.Builder
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(Event[RunEvent]{
		SpecVersion: "1.0", ID: eventID(e, n), Source: "/weir/" + e.Pool, Type: typePrefix + string(e.State), Subject: e.Run, Time: e.Time,
		DataContentType: "application/json", DataSchema: runEventSchema, TraceParent: traceParent, Data: e,
	}); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(body.String(), "\n")
}

func TestEncodeRunEvent_equalsEncodingJSON(t *testing.T) {
	all := reflect.New(reflect.TypeFor[RunEvent]()).Elem()
	fill(all)
	events := exampleEvents()
	events["every field"] = all.Interface().(RunEvent)
	events["zero"] = RunEvent{}
	for name, e := range events {
		for _, trace := range []string{"", "00-1-2-01"} {
			got, err := EncodeRunEvent(e, 2, trace)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(byReflection(t, e, 2, trace), string(got)); diff != "" {
				t.Errorf("%s (-encoding/json +got):\n%s", name, diff)
			}
		}
	}
}

// Any text, in any field, is written as encoding/json writes it.
func TestEncodeRunEvent_equalsEncodingJSONForAnyText(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		text := make([]byte, r.IntN(20))
		for i := range text {
			text[i] = byte(r.UintN(256))
		}
		e := RunEvent{Run: "a-1", State: Failed, Message: string(text), Worker: "é<" + string(text), Tags: []string{string(text)}, Attempt: r.Int()}
		got, err := EncodeRunEvent(e, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		if want := byReflection(t, e, 0, ""); string(got) != want {
			t.Fatalf("seed %d, text %q: got %s, want %s", seed, text, got, want)
		}
	}
}

func TestEncodeRunEvent_refusesWhatIsNoJSON(t *testing.T) {
	for name, e := range map[string]RunEvent{
		"result":     {Run: "a-1", State: Completed, Result: json.RawMessage(`{"rows":`)},
		"parameters": {Run: "a-1", State: Pending, Parameters: json.RawMessage(`x`)},
		"time":       {Run: "a-1", State: Pending, Time: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if body, err := EncodeRunEvent(e, 0, ""); err == nil || body != nil {
			t.Errorf("%s: got %s, %v, want an error alone", name, body, err)
		}
	}
}

func TestEncodeRunEvent_isTheSameEventUnlessRecordedAgain(t *testing.T) {
	for n, want := range map[int]string{0: "a-1.2.running", 1: "a-1.2.running.1", 2: "a-1.2.running.2"} {
		body, err := EncodeRunEvent(RunEvent{Run: "a-1", Attempt: 2, State: Running}, n, "")
		if err != nil {
			t.Fatal(err)
		}
		var e Event[RunEvent]
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatal(err)
		}
		if e.ID != want {
			t.Errorf("recorded %d times: got ID %q, want %q", n, e.ID, want)
		}
	}
}

func TestDecodeRunEvent_readsWhatWasEncoded(t *testing.T) {
	for name, e := range exampleEvents() {
		body, err := EncodeRunEvent(e, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeRunEvent(body)
		if err != nil {
			t.Fatal(err)
		}
		if e.Parameters != nil {
			e.Parameters = json.RawMessage(`{"name":"Marvin"}`) // blanks don't travel
		}
		e.Message = strings.ToValidUTF8(e.Message, "\ufffd") // nor does what is not UTF-8
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDecodeRunEvent_ignoresFieldsOfNewerVersions(t *testing.T) {
	body, err := EncodeRunEvent(completedEvent(), 0, "")
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(body), `"data":{`, `"tracestate":"x","data":{"priority":3,`, 1)
	if got, err := DecodeRunEvent([]byte(newer)); err != nil || got.Run != "development-17" {
		t.Errorf("got run %q, %v, want development-17", got.Run, err)
	}
}

func TestDecodeRunEvent_refuses(t *testing.T) {
	body, err := EncodeRunEvent(RunEvent{Run: "a-1", State: Running}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"no JSON":           {`{"specversion"`, `"specversion"`, "read run event: "},
		"an older envelope": {`"specversion":"1.0"`, `"specversion":"0.3"`, `specversion is "0.3", want 1.0`},
		"another major":     {"/schemas/v1/", "/schemas/v2/", "use the same version of weir everywhere"},
		"no run":            {`"run":"a-1"`, `"run":""`, "run or state is missing"},
		"no state":          {`"state":"running"`, `"state":""`, "run or state is missing"},
	} {
		_, err := DecodeRunEvent([]byte(strings.Replace(string(body), c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, c.want)
		}
	}
}
