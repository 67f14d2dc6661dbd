package main

import (
	"context"
	"errors"
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
	w := &watcher{env: e, format: format, progress: e.startProgress("waiting for pool " + r.Pool + " to take the run")}
	defer w.progress.end()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var others sync.WaitGroup
	defer others.Wait()
	waiting, claimed := context.WithCancel(ctx)
	defer claimed()
	others.Go(func() { w.sayWhyWaiting(waiting, conn, r) })
	logs := make(chan error, 1)
	others.Go(func() {
		err := conn.ReadLogs(ctx, r.Run, true, w.line)
		if err != nil {
			cancel(err)
		}
		logs <- err
	})
	var final *streams.Recorded
	err := conn.WatchRun(ctx, r.Run, func(event streams.Recorded) error {
		claimed()
		w.progress.say("")
		if event.State.Final() {
			final = &event // is shown after the last line of output
			return nil
		}
		return w.state(event)
	})
	if final == nil {
		if err == nil {
			err = context.Cause(ctx)
		}
		cancel(err)
		return err
	}
	err = <-logs
	if shown := w.state(*final); shown != nil {
		return shown
	}
	if final.State != schemas.Completed {
		return &runFailedError{last: final.RunEvent}
	}
	return err
}

// watchAlone is watchRun for a command that does nothing else: whoever leaves it is told that the run goes on.
func (e *env) watchAlone(ctx context.Context, conn *streams.Conn, r requested, format string) error {
	err := e.watchRun(ctx, conn, r, format)
	if errors.Is(context.Cause(ctx), errInterrupted) {
		fmt.Fprintf(e.stderr, "\nThe run goes on. Watch it again with: %s flow-run watch %s\n", e.again(), r.Run)
	}
	return err
}

// watcher prints one run. Its methods may be called from several goroutines: progress lets one print at a time.
type watcher struct {
	env      *env
	format   string
	progress *progress
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
	_, err := fmt.Fprintf(e.stdout, "%s  %s %s\n", e.paint(e.stdoutTTY, grey, clock(l.Time)), mark, e.outputLine(l.Line))
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
	case r.State == schemas.Pending && r.Reason == "" && r.Execution != "": // whoever has the run has asked its infrastructure for it
		parts = append(parts, "asked for execution "+r.Execution)
	case r.State == schemas.Pending && r.Message != "" && r.Reason != schemas.ReasonHeld && r.Reason != schemas.ReasonWorkerStopped:
		parts = append(parts, "waits")
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

// sayWhyWaiting tells, until ctx ends because somebody has claimed the run, why nobody does: once, and again when the cause
// changes.
func (w *watcher) sayWhyWaiting(ctx context.Context, conn *streams.Conn, r requested) {
	said := ""
	for wait := whyAfter; ; wait = whyEvery {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
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
