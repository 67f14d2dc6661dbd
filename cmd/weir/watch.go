package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// watchRun shows a run's states and output as they come, until its final state. The error is a *runFailedError unless that
// is completed. format table is for people; jsonl is a line for each state and each line of output; json and yaml are the
// final event.
func (e *env) watchRun(ctx context.Context, conn *streams.Conn, r requested, format string) error {
	w := &watcher{env: e, format: format, progress: e.startProgress("waiting for a worker of pool " + r.Pool)}
	defer w.progress.end()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	claimed := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { w.sayWhyWaiting(ctx, conn, r, claimed) })
	logs := make(chan error, 1)
	others.Go(func() {
		err := conn.ReadLogs(ctx, r.Run, true, w.line)
		logs <- err
		if err != nil {
			cancel(err)
		}
	})
	var final *streams.Recorded
	err := conn.WatchRun(ctx, r.Run, func(event streams.Recorded) error {
		if claimed != nil {
			close(claimed)
			claimed = nil
			w.progress.say("")
		}
		if event.State.Final() {
			final = &event // after the last line of output
			return nil
		}
		return w.state(event)
	})
	if err == nil && final == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = <-logs
	}
	if err != nil && final == nil {
		cancel(err)
	}
	if claimed != nil {
		close(claimed)
	}
	others.Wait()
	if final == nil {
		return err
	}
	if shown := w.state(*final); shown != nil {
		return shown
	}
	if final.State != schemas.Completed {
		return &runFailedError{last: final.RunEvent}
	}
	return err
}

// watcher prints one run. Its methods may be called from several goroutines.
type watcher struct {
	env      *env
	format   string
	progress *progress
	mu       sync.Mutex
	partial  bool // the last line of output goes on; under mu
}

// lineEvent and stateEvent are the two kinds of line that --output jsonl has.
type lineEvent struct {
	Kind string `json:"kind"` // log
	streams.LogLine
}

type stateEvent struct {
	Kind string `json:"kind"` // state
	schemas.RunEvent
}

func (w *watcher) line(l streams.LogLine) error {
	switch w.format {
	case "jsonl":
		return w.write(func() error { return writeLine(w.env.stdout, lineEvent{Kind: "log", LogLine: l}) })
	case "json", "yaml":
		return nil
	}
	return w.write(func() error { return w.env.printLogLine(l) })
}

func (w *watcher) state(r streams.Recorded) error {
	switch w.format {
	case "jsonl":
		return w.write(func() error { return writeLine(w.env.stdout, stateEvent{Kind: "state", RunEvent: r.RunEvent}) })
	case "json", "yaml":
		if !r.State.Final() {
			return nil
		}
		return w.write(func() error { return writeValue(w.env.stdout, w.format, r.RunEvent) })
	}
	if r.Reason == schemas.ReasonHeld {
		return nil
	}
	return w.write(func() error {
		_, err := fmt.Fprintf(w.env.stdout, "%s  %s  %s\n", clock(r.Time), w.env.paint(w.env.stdoutTTY, stateColor(string(r.State)), fmt.Sprintf("%-10s", title(r.State))),
			printable(stateSentence(r.RunEvent)))
		if err == nil && len(r.Result) > 0 {
			_, err = fmt.Fprintf(w.env.stdout, "%14sResult: %s\n", "", printable(string(r.Result)))
		}
		return err
	})
}

func (w *watcher) write(do func() error) (err error) {
	w.progress.print(func() { err = do() })
	return err
}

func (e *env) printLogLine(l streams.LogLine) error {
	mark := "│"
	if l.Stream != "stdout" {
		mark = e.paint(e.stdoutTTY, yellow, "│")
		if l.Stream == "weir" {
			mark = e.paint(e.stdoutTTY, grey, "┊")
		}
	}
	_, err := fmt.Fprintf(e.stdout, "%s  %s %s\n", e.paint(e.stdoutTTY, grey, clock(l.Time)), mark, strings.TrimRight(l.Line, "\r\n"))
	return err
}

// title is a state as a word on the screen: Completed.
func title(s schemas.State) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(string(s[:1])) + string(s[1:])
}

// stateSentence is what there is to say about an event beside its state.
func stateSentence(r schemas.RunEvent) string {
	var parts []string
	switch {
	case r.State == schemas.Pending && r.Worker != "":
		parts = append(parts, "claimed by "+r.Worker)
		if r.QueuedMS != nil {
			parts = append(parts, "after "+tookMS(r.QueuedMS))
		}
	case r.State == schemas.Running && r.Execution != "":
		parts = append(parts, "execution "+r.Execution)
	case r.State.Final() && r.RunningMS != nil:
		parts = append(parts, "after "+tookMS(r.RunningMS))
	}
	if r.Attempt > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", r.Attempt))
	}
	if r.Reason != "" {
		parts = append(parts, string(r.Reason))
	}
	s := strings.Join(parts, ", ")
	if r.Message != "" {
		if s != "" {
			s += ": "
		}
		s += r.Message
	}
	return s
}

// whyAfter is how long a run may wait before people are told why; whyEvery is how often it is looked at again.
const (
	whyAfter = 2 * time.Second
	whyEvery = 5 * time.Second
)

// sayWhyWaiting tells, while nobody claims the run, why that is: once, and again when the cause changes.
func (w *watcher) sayWhyWaiting(ctx context.Context, conn *streams.Conn, r requested, claimed <-chan struct{}) {
	said := ""
	for wait := time.NewTimer(whyAfter); ; wait.Reset(whyEvery) {
		select {
		case <-claimed:
			wait.Stop()
			return
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
		why, err := whyWaiting(ctx, conn, r)
		if err != nil || why == said {
			continue // the watch itself tells what is wrong with NATS
		}
		if said = why; why != "" {
			w.progress.print(func() { fmt.Fprintln(w.env.stderr, w.env.paint(w.env.stderrTTY, yellow, why)) })
		}
	}
}
