package streams

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// LogLine is a line of a job's output.
type LogLine struct {
	Run       string    `json:"run"`
	Stream    string    `json:"stream"` // stdout, stderr, or weir for the worker's own
	Continued bool      `json:"continued,omitempty"`
	Time      time.Time `json:"time"` // when NATS stored it
	Line      string    `json:"line"`
}

// ReadLogs calls each for the run's lines, oldest first. With follow it goes on with those that come until the run's final
// state is recorded and every line before it has been read, or ctx ends.
func (c *Conn) ReadLogs(ctx context.Context, run string, follow bool, each func(LogLine) error) error {
	if err := schemas.CheckName("run", run); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	filter := logSubject("*", "*", run)
	if !follow {
		return c.storedAfter(ctx, run, 0, each)
	}
	// A worker stores a run's last line before its final state: what is stored when that state is read is all there is.
	var seen uint64
	live, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- c.WatchRun(live, run, func(Recorded) error { return nil })
	}()
	line := func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		seen = meta.Sequence.Stream
		return each(logLine(run, m, meta))
	}
	err := c.follow(live, LogStream, filter, line)
	stop()
	if watchErr := <-ended; err == nil {
		err = watchErr // not the run's end, but that of the watch for it
	}
	if err != nil || ctx.Err() != nil {
		return err
	}
	return c.storedAfter(ctx, run, seen, each)
}

// storedAfter calls each for the run's lines that are stored now and have a sequence above after.
func (c *Conn) storedAfter(ctx context.Context, run string, after uint64, each func(LogLine) error) error {
	bounded, cancel := c.bound(ctx)
	s, err := c.JS.Stream(bounded, LogStream)
	cancel()
	if err != nil {
		return fmt.Errorf("read logs: %w", unavailable(c.url, err))
	}
	low, end := max(after+1, s.CachedInfo().State.FirstSeq), s.CachedInfo().State.LastSeq+1
	if low >= end {
		return nil
	}
	return c.between(ctx, LogStream, logSubject("*", "*", run), low, end, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		return each(logLine(run, m, meta))
	})
}

func logLine(run string, m jetstream.Msg, meta *jetstream.MsgMetadata) LogLine {
	return LogLine{
		Run: run, Stream: m.Headers().Get(HeaderStream), Continued: m.Headers().Get(HeaderContinued) != "",
		Time: meta.Timestamp.UTC(), Line: string(m.Data()),
	}
}
