package consumers

import (
	"context"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/streams"
)

// output takes a job's lines to its log subject.
type output struct{ logs *streams.LogWriter }

var _ runners.Output = output{}

// Last implements [runners.Output].
func (o output) Last(ctx context.Context) (int64, error) { return o.logs.Last(ctx) }

// Line implements [runners.Output].
func (o output) Line(l runners.Line) {
	o.logs.Write(streams.LogEntry{Stream: string(l.Stream), Position: l.Position, Line: l.Text, Continued: l.Continued})
}

// Flush implements [runners.Output].
func (o output) Flush(ctx context.Context) error { return o.logs.Flush(ctx) }
