package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// DeadLetter is a request that could not be accepted, as it came, with the reason.
type DeadLetter = schemas.DeadLetter

// MaxHeaderSize is how many bytes a request's headers may have: what is stored for it carries them and some more, and JetStream
// takes 64 KiB (its error 10097).
const MaxHeaderSize = 52 << 10

// HeaderSize is how many bytes the request's headers have.
func (d *Delivery) HeaderSize() int { return headerSize(d.msg.Header) }

func headerSize(h nats.Header) (n int) {
	for k, values := range h {
		for _, v := range values {
			n += len(k) + len(v) + len(": \r\n")
		}
	}
	return n
}

// Bury stores the request among the dead letters, once however often it is called for it. What does not fit, of its headers or
// of its body, is left out, and the letter says so. The request itself is still to be acknowledged.
func (d *Delivery) Bury(ctx context.Context, reason schemas.Reason, message string) error {
	return d.conn.bury(ctx, burial{
		subject: deadPrefix + token(d.Pool) + "." + token(d.Queue) + "." + token(d.Deployment), pool: d.Pool, msg: d.msg,
		sequence: d.Sequence, stored: d.Requested, run: d.Run, reason: reason, message: message,
	})
}

// A burial is a message of a pool's stream on its way to the dead letters.
type burial struct {
	subject  string // where it goes
	pool     string
	msg      *nats.Msg
	sequence uint64
	stored   time.Time
	run      string // empty: it asks for none
	reason   schemas.Reason
	message  string
}

func (c *Conn) bury(ctx context.Context, b burial) error {
	letter := nats.NewMsg(b.subject)
	left := 0 // headers that do not fit
	for _, k := range slices.Sorted(maps.Keys(b.msg.Header)) {
		if letter.Header[headerOriginal+k] = b.msg.Header[k]; headerSize(letter.Header) > MaxHeaderSize {
			delete(letter.Header, headerOriginal+k)
			left++
		}
	}
	if left > 0 {
		b.message += fmt.Sprintf("; %d of its headers are too large to be kept", left)
	}
	sequence, at := strconv.FormatUint(b.sequence, 10), b.stored.Format(time.RFC3339Nano)
	for _, h := range [][2]string{
		{headerDeadReason, string(b.reason)},
		{headerDeadMessage, oneLine(b.message)},
		{headerDeadSubject, b.msg.Subject},
		{headerDeadSequence, sequence},
		{headerDeadRun, cut(oneLine(b.run), 4*schemas.MaxName)},
		{headerDeadTime, at},
		{jetstream.MsgIDHeader, poolStream(b.pool) + "-" + sequence + "-" + at},
	} {
		if h[1] != "" {
			letter.Header.Set(h[0], h[1])
		}
	}
	if letter.Data = b.msg.Data; letter.Size() > int(c.NC.MaxPayload()) { // with the headers added it would not fit
		letter.Header.Set(headerDeadSize, strconv.Itoa(len(b.msg.Data)))
		letter.Data = b.msg.Data[:max(len(b.msg.Data)-(letter.Size()-int(c.NC.MaxPayload())), 0)]
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if _, err := c.JS.PublishMsg(ctx, letter); err != nil {
		return fmt.Errorf("store message %s of pool %s among the dead letters: %w", sequence, b.pool, unavailable(c.url, err))
	}
	return nil
}

// token is name where it is one, or the nearest that is.
func token(name string) string {
	var e *schemas.NameError
	if errors.As(schemas.CheckName("", name), &e) {
		if e.Nearest == "" {
			return "_"
		}
		return e.Nearest
	}
	return name
}

// oneLine makes a message fit a header.
func oneLine(s string) string {
	return cut(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; "), 4<<10)
}

// cut leaves the first bytes of a text that has more than most.
func cut(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// DeadLetters returns the newest dead letters, newest first, at most limit of them. pool may be empty for all.
func (c *Conn) DeadLetters(ctx context.Context, pool string, limit int) ([]DeadLetter, error) {
	var out []DeadLetter
	err := c.newest(ctx, DeadStream, deadFilter(pool), limit, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		if out = append(out, deadLetter(m.Headers(), m.Data(), meta.Sequence.Stream, meta.Timestamp)); len(out) >= limit {
			return errDone
		}
		return nil
	})
	return out, err
}

func deadFilter(pool string) string {
	if pool == "" {
		return deadPrefix + ">"
	}
	return deadPrefix + token(pool) + ".>"
}

// DeadLetter returns one by its ID.
func (c *Conn) DeadLetter(ctx context.Context, id uint64) (DeadLetter, error) {
	m, err := c.deadMessage(ctx, id)
	if err != nil {
		return DeadLetter{}, err
	}
	return deadLetter(m.Header, m.Data, m.Sequence, m.Time), nil
}

// deadMessage is a dead letter as the stream has it.
func (c *Conn) deadMessage(ctx context.Context, id uint64) (*jetstream.RawStreamMsg, error) {
	m, err := c.leaderMsg(ctx, DeadStream, msgGetRequest{Seq: id})
	if errors.Is(err, ErrNotFound) {
		return nil, &NotFoundError{Kind: "dead letter", Name: strconv.FormatUint(id, 10), See: "weir dead-letter ls"}
	} else if err != nil {
		return nil, fmt.Errorf("read dead letter %d: %w", id, err)
	}
	return m, nil
}

func deadLetter(h nats.Header, body []byte, id uint64, stored time.Time) DeadLetter {
	l := DeadLetter{
		ID: id, Subject: h.Get(headerDeadSubject), Run: h.Get(headerDeadRun), Reason: schemas.Reason(h.Get(headerDeadReason)),
		Message: h.Get(headerDeadMessage), Time: stored.UTC(), Body: string(body),
	}
	var err error
	if l.Pool, l.Queue, l.Deployment, err = parseRunSubject(l.Subject); err != nil {
		of := strings.TrimPrefix(l.Subject, cancelPrefix) // or a letter that was not written by Weir
		l.Pool, _, _ = strings.Cut(of, ".")
	}
	l.Sequence, _ = strconv.ParseUint(h.Get(headerDeadSequence), 10, 64)
	if size, err := strconv.Atoi(h.Get(headerDeadSize)); err == nil {
		l.Size = size
	}
	for k, v := range h {
		if name, ok := strings.CutPrefix(k, headerOriginal); ok && len(v) > 0 {
			if l.Headers == nil {
				l.Headers = map[string]string{}
			}
			l.Headers[name] = v[0]
		}
	}
	return l
}
