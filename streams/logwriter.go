package streams

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
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
	events  string // the run's, as a filter
	run     string
	attempt int
	turn    chan struct{} // held by the one who stores

	mu       sync.Mutex
	waiting  []LogEntry // given and not known to be stored
	last     uint64     // sequence of the run's last stored line, as far as is known; 0: none
	position int64      // its place, if it is of this attempt
	over     bool       // a later attempt has stored lines: what this one still has is nobody's
	single   int        // so many lines go one by one, since a batch was refused
}

// Logs makes a writer for the output of one attempt of a run.
func (c *Conn) Logs(pool, deployment, run string, attempt int) *LogWriter {
	return &LogWriter{
		conn: c, subject: logSubject(pool, deployment, run), events: runEventFilter(pool, deployment, run), run: run, attempt: attempt,
		turn: make(chan struct{}, 1),
	}
}

// logHeaderRoom is more than a line's headers take, in bytes.
const logHeaderRoom = 1 << 10

// Write takes a line and does not wait. One that is known to be stored is left out. Of one that no message of this NATS can
// hold (its max_payload is 1 MiB unless somebody made it less), the beginning is stored.
func (l *LogWriter) Write(e LogEntry) {
	if most := int(l.conn.NC.MaxPayload()) - logHeaderRoom; most > 0 && len(e.Line) > most {
		e.Line = e.Line[:most]
	}
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
	logPause    = 20 * time.Millisecond // before the third try, the second follows at once; twice as long before each that follows
	logPauseMax = 2 * time.Second

	// recallTime bounds the question what is stored: an answer that is lost with a connection is not waited for long.
	recallTime = time.Second
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
	pause := time.Duration(0)
	for {
		entries := l.next()
		if len(entries) == 0 {
			return nil
		}
		err := l.store(ctx, entries)
		if err == nil {
			pause = 0
			continue
		}
		if len(entries) > 1 && !overtaken(err) {
			l.separate(err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("store output: %w (last try: %w)", context.Cause(ctx), err)
		case <-time.After(pause):
		}
		pause = min(max(2*pause, logPause), logPauseMax)
		_ = l.recall(ctx) // what it cannot find out, the next try's compare-and-set asks again
	}
}

// separate makes the next lines go one by one, after a batch that was refused: others have too many under way, or the stream
// was made without them.
func (l *LogWriter) separate(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.single = logBatchFrom
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeBatchesDisabled {
		l.single = math.MaxInt
	}
}

// Lines that wait are stored together once there are many. Each such batch costs the server a sync of its own, in the time of
// which it stores about a hundred single ones.
const (
	logBatchFrom  = 100     // lines
	logBatchMax   = 1000    // lines: as many as the server takes in one batch
	logBatchBytes = 1 << 20 // of their text, unless one line alone has more
)

// next returns what is to be stored together: one line, or a batch.
func (l *LogWriter) next() []LogEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) < logBatchFrom || l.single > 0 {
		return l.waiting[:min(len(l.waiting), 1)]
	}
	n, size := 0, 0
	for n < min(len(l.waiting), logBatchMax) && (n == 0 || size+len(l.waiting[n].Line) <= logBatchBytes) {
		size += len(l.waiting[n].Line)
		n++
	}
	return l.waiting[:n]
}

// store stores entries, all or none of them. After an error that is not [overtaken] they may be stored. The caller has the turn.
func (l *LogWriter) store(ctx context.Context, entries []LogEntry) error {
	ctx, cancel := l.conn.bound(ctx)
	defer cancel()
	id := ""
	if len(entries) > 1 {
		id = rand.Text()
	}
	for i, e := range entries {
		msg := l.message(e)
		if i == 0 {
			msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(l.last, 10)}
		}
		if id != "" {
			msg.Header[headerBatch], msg.Header[headerBatchSequence] = []string{id}, []string{strconv.Itoa(i + 1)}
		}
		if i < len(entries)-1 {
			if err := l.conn.NC.PublishMsg(msg); err != nil { // the last one's acknowledgement is for all
				return err
			}
			continue
		}
		if id != "" {
			msg.Header[headerBatchCommit] = []string{"1"}
		}
		f, err := l.conn.JS.PublishMsgAsync(msg) // which fails at once when the connection is lost, and does not wait out ctx
		if err != nil {
			return err
		}
		select {
		case ack := <-f.Ok():
			l.stored(ack.Sequence, e.Position)
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Headers and error code of JetStream's atomic batches (ADR-50), which nats.go has no names for.
const (
	headerBatch         = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
	codeBatchesDisabled = 10174
)

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
	l.single = max(l.single-1, 0)
	n := slices.IndexFunc(l.waiting, func(e LogEntry) bool { return e.Position > l.position })
	if n < 0 {
		n = len(l.waiting)
	}
	clear(l.waiting[:n])
	l.waiting = l.waiting[n:]
}

// recall asks what is stored. The caller has the turn.
func (l *LogWriter) recall(ctx context.Context) error {
	m, err := l.lastLine(ctx)
	if errors.Is(err, ErrNotFound) {
		l.stored(0, 0)
		return nil
	} else if err != nil {
		return fmt.Errorf("read the last stored line: %w", err)
	}
	attempt, position := parseLine(m.Header.Get(HeaderLine))
	switch {
	case attempt == l.attempt:
	case attempt > 0 && attempt < l.attempt:
		position = 0
	default: // a later attempt's, or somebody's who publishes to the log by hand
		last, err := l.conn.last(ctx, l.events, l.run)
		if err == nil && last.Attempt > l.attempt {
			l.end()
			return nil
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if position, err = l.ownLast(ctx); err != nil {
			return err
		}
	}
	l.stored(m.Sequence, position)
	return nil
}

func (l *LogWriter) lastLine(ctx context.Context) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, recallTime)
	defer cancel()
	return l.conn.leaderMsg(ctx, LogStream, msgGetRequest{LastFor: l.subject})
}

// ownLast reads the run's log backwards for the position of the attempt's last line, 0: it has none.
func (l *LogWriter) ownLast(ctx context.Context) (position int64, err error) {
	err = l.conn.newest(ctx, LogStream, l.subject, 1, func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
		attempt, at := parseLine(m.Headers().Get(HeaderLine))
		switch {
		case attempt == l.attempt:
			position = at
		case attempt <= 0 || attempt > l.attempt:
			return nil
		}
		return errDone
	})
	return position, err
}

// end lets go of what is not stored: a later attempt has begun.
func (l *LogWriter) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over, l.waiting = true, nil
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
