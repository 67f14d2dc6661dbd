package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LogEntry is a line of output on its way into the log.
type LogEntry struct {
	Stream    string // stdout, stderr
	Position  int64  // the line's place in the attempt's output, above 0; it grows from line to line
	Line      []byte // without newline
	Continued bool   // the line goes on in the next entry of its stream
}

// LogWriter stores the output of one attempt of a run, each line once and in order, also when another worker has stored some
// of it or the connection breaks: a line is stored only behind the one before it, by compare-and-set. It may be used from
// several goroutines.
type LogWriter struct {
	conn    *Conn
	subject string
	attempt int
	turn    chan struct{} // held by the one who stores

	mu       sync.Mutex
	waiting  []LogEntry // given and not known to be stored
	last     uint64     // sequence of the run's last stored line, as far as is known; 0: none
	position int64      // its place, if it is of this attempt
	over     bool       // a later attempt has stored lines: what this one still has is nobody's
}

// Logs makes a writer for the output of one attempt of a run.
func (c *Conn) Logs(pool, deployment, run string, attempt int) *LogWriter {
	return &LogWriter{conn: c, subject: logSubject(pool, deployment, run), attempt: attempt, turn: make(chan struct{}, 1)}
}

// Write takes a line and does not wait. One that is known to be stored is left out.
func (l *LogWriter) Write(e LogEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Position > l.position && !l.over {
		l.waiting = append(l.waiting, e)
	}
}

// Last returns the position of the attempt's last stored line, 0: none.
func (l *LogWriter) Last(ctx context.Context) (int64, error) {
	if err := l.take(ctx); err != nil {
		return 0, err
	}
	defer l.release()
	if err := l.recall(ctx); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.position, nil
}

// The pauses between tries while NATS does not store what it is given.
const (
	logPause    = 20 * time.Millisecond // before the second try; twice as long before each that follows
	logPauseMax = 2 * time.Second
)

// Flush returns once every line written before is stored. It goes on trying until ctx ends; then the error says what the
// last try came to, and the lines are kept for the next call.
func (l *LogWriter) Flush(ctx context.Context) error {
	if len(l.next()) == 0 {
		return nil
	}
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.release()
	pause := logPause
	for {
		entries := l.next()
		if len(entries) == 0 {
			return nil
		}
		err := l.store(ctx, entries)
		if err == nil {
			pause = logPause
			continue
		}
		if !overtaken(err) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("store output: %w (last try: %w)", context.Cause(ctx), err)
			case <-time.After(pause):
			}
			pause = min(2*pause, logPauseMax)
		}
		if err := l.recall(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
}

// next returns what is to be stored next.
func (l *LogWriter) next() []LogEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting[:min(len(l.waiting), 1)]
}

// store stores entries, all or none of them. After an error that is not [overtaken] they may be stored. The caller has the turn.
func (l *LogWriter) store(ctx context.Context, entries []LogEntry) error {
	ctx, cancel := l.conn.bound(ctx)
	defer cancel()
	msg := l.message(entries[0])
	msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(l.last, 10)}
	ack, err := l.conn.JS.PublishMsg(ctx, msg)
	if err != nil {
		return err
	}
	l.stored(ack.Sequence, entries[len(entries)-1].Position)
	return nil
}

func (l *LogWriter) message(e LogEntry) *nats.Msg {
	msg := &nats.Msg{Subject: l.subject, Data: e.Line, Header: nats.Header{
		HeaderStream: {e.Stream}, HeaderLine: {strconv.Itoa(l.attempt) + "." + strconv.FormatInt(e.Position, 10)},
	}}
	if e.Continued {
		msg.Header[HeaderContinued] = []string{"true"}
	}
	return msg
}

// stored notes that the attempt's output is stored up to position.
func (l *LogWriter) stored(sequence uint64, position int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.position = sequence, max(l.position, position)
	n := slices.IndexFunc(l.waiting, func(e LogEntry) bool { return e.Position > l.position })
	if n < 0 {
		n = len(l.waiting)
	}
	l.waiting = slices.Delete(l.waiting, 0, n)
}

// recall asks what is stored. The caller has the turn.
func (l *LogWriter) recall(ctx context.Context) error {
	m, err := l.conn.leaderMsg(ctx, LogStream, msgGetRequest{LastFor: l.subject})
	if errors.Is(err, ErrNotFound) {
		l.stored(0, 0)
		return nil
	} else if err != nil {
		return fmt.Errorf("read the last stored line: %w", err)
	}
	attempt, position := parseLine(m.Header.Get(HeaderLine))
	switch {
	case attempt == l.attempt:
		l.stored(m.Sequence, position)
	case attempt < l.attempt:
		l.stored(m.Sequence, 0)
	default:
		l.mu.Lock()
		l.over, l.waiting = true, nil
		l.mu.Unlock()
	}
	return nil
}

// parseLine reads a [HeaderLine]. A line without one is of no attempt.
func parseLine(s string) (attempt int, position int64) {
	a, p, _ := strings.Cut(s, ".")
	attempt, err := strconv.Atoi(a)
	if err != nil {
		return 0, 0
	}
	if position, err = strconv.ParseInt(p, 10, 64); err != nil {
		return 0, 0
	}
	return attempt, position
}

func (l *LogWriter) take(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("store output: %w", context.Cause(ctx))
	}
}

func (l *LogWriter) release() { <-l.turn }
