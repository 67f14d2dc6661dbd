package schemas

import (
	"encoding/json"
	"testing"
	"time"
)

func BenchmarkEncodeRunEvent(b *testing.B) {
	e := completedEvent()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EncodeRunEvent(e, 0, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeRunEvent(b *testing.B) {
	body, err := EncodeRunEvent(completedEvent(), 0, "")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeRunEvent(body); err != nil {
			b.Fatal(err)
		}
	}
}

func completedEvent() RunEvent {
	requested := time.Date(2026, 1, 31, 15, 4, 5, 123e6, time.UTC)
	claimed, started := requested.Add(4*time.Millisecond), requested.Add(5*time.Millisecond)
	return RunEvent{
		Run: "development-17", Pool: "development", Queue: "default", Deployment: "my-flow", State: Completed, Attempt: 1, Worker: "atlas",
		Time: requested.Add(1278 * time.Millisecond), Execution: "4711", Previous: 42, Requested: requested, Sequence: 17, Claimed: &claimed, Started: &started,
		ExitCode: new(0), Result: json.RawMessage(`{"rows":100000}`), QueuedMS: new(int64(4)), ProvisionMS: new(int64(1)), RunningMS: new(int64(1273)),
	}
}
