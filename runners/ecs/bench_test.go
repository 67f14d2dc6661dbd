package ecs

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/weir-run/weir/runners"
)

// discard is the output of a run that nobody reads.
type discard struct{}

func (discard) Last(context.Context) (int64, error) { return 0, nil }
func (discard) Line(runners.Line)                   {}
func (discard) Flush(context.Context) error         { return nil }

// BenchmarkHeld holds 5,000 running tasks, as a server does that serves a push pool: what the runner keeps in memory for each, and how
// often AWS is asked while nothing happens.
func BenchmarkHeld(b *testing.B) {
	const tasks = 5000
	account := newBench(b, forever)
	for b.Loop() {
		c := account.clients()
		c.throttle = newThrottle(100) // what is measured comes after the starts
		r := account.workerWith("w", runners.Config{}, c, "")
		goroutines := runtime.NumGoroutine()
		var wg sync.WaitGroup
		var all [tasks]*execution
		for i := range tasks {
			wg.Go(func() { all[i] = account.start(r, account.spec(fmt.Sprintf("r%d.1", i), discard{}, nil)) })
		}
		wg.Wait()
		for _, e := range all {
			<-e.Begun()
		}
		pause(b, 10*time.Second)
		runtime.GC()
		per := float64(runtime.NumGoroutine()-goroutines) / tasks
		before := account.Counts()
		const watched = 30 * time.Second
		pause(b, watched)
		after := account.Counts()
		var with, without runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&with)
		account.close(r)
		r.held, r.watchers, r.forgotten, r.words, r.reader = nil, nil, nil, nil, nil // the test's end still has r
		clear(all[:])
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&without)
		b.ReportMetric(float64(with.HeapAlloc-without.HeapAlloc)/tasks, "B/task")
		b.ReportMetric(per, "goroutines/task")
		for _, action := range []string{"ecs:DescribeTasks", "logs:FilterLogEvents", "logs:GetLogEvents"} {
			b.ReportMetric(float64(after[action]-before[action])/watched.Seconds(), action+"/s")
		}
	}
}

func pause(b *testing.B, d time.Duration) {
	select {
	case <-time.After(d):
	case <-b.Context().Done():
	}
}
