package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

var (
	// ErrOvertaken says that somebody else wrote the run's next event first. Nothing was written.
	ErrOvertaken = errors.New("another worker has written the run's next event")

	// ErrContradictory says that an event's subject and body are about different runs or states: somebody published it by hand.
	ErrContradictory = errors.New("somebody else than a worker wrote it")

	// ErrNotFound says that a pool, deployment, run or worker does not exist. The error is a [*NotFoundError].
	ErrNotFound = errors.New("not found")

	// ErrDeleted says that what is pulled from was deleted meanwhile, as the stream of a pool is before the pool's record.
	ErrDeleted = errors.New("it was deleted")

	// ErrExists says that what was to be created is there already.
	ErrExists = errors.New("exists already")

	// ErrRefused says that what was asked is not possible as things are, and how to go on.
	ErrRefused = errors.New("refused")

	// ErrNotSetUp says that what all pools share is missing in a NATS, or is being made just now.
	ErrNotSetUp = errors.New("this NATS is not set up for Weir")

	// ErrUnavailable says that NATS could not be reached or cannot serve Weir.
	ErrUnavailable = errors.New("NATS is not available")
)

// NotFoundError names what was looked for and what there is instead.
type NotFoundError struct {
	Kind    string // work pool, deployment, …
	Name    string
	Nearest string   // the likeliest meant, or empty
	Known   []string // all there are
	Create  string   // the command that makes one, or empty
	See     string   // the command that shows all there are, or empty
}

func (e *NotFoundError) Error() string {
	s := fmt.Sprintf("%s %q does not exist", e.Kind, e.Name)
	switch {
	case e.Nearest != "":
		s += fmt.Sprintf("; did you mean %q?", e.Nearest)
	case len(e.Known) > 0 && len(e.Known) <= 12:
		s += "; there is " + strings.Join(e.Known, ", ")
	}
	switch {
	case e.Create != "" && strings.HasSuffix(s, "?"):
		s += " If not, create it with: " + e.Create
	case e.Create != "":
		s += "; create it with: " + e.Create
	case e.See != "":
		s += "; see them with: " + e.See
	}
	return s
}

// Is makes errors.Is(err, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

func notFound(kind, name string, known []string, create string) error {
	return &NotFoundError{Kind: kind, Name: name, Nearest: schemas.Nearest(name, known), Known: known, Create: create}
}

// overtaken knows both codes the server uses: 10071 from one replica, 10164 from several.
func overtaken(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// apiCode is the code of JetStream's answer; 0: err is none.
func apiCode(err error) jetstream.ErrorCode {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode
	}
	return 0
}

// unsure tells whether a publish that ended in err may have been stored all the same.
func unsure(err error) bool {
	return errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrDisconnected) ||
		errors.Is(err, jetstream.ErrAsyncPublishTimeout) || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionReconnecting)
}

// Temporary tells whether err may be gone when the same is asked again: NATS has not answered, or elects a leader.
func Temporary(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code == 503
	}
	return unsure(err) || errors.Is(err, nats.ErrReconnectBufExceeded)
}

// errUnwritable says that a message cannot even be written.
var errUnwritable = errors.New("it cannot be written")

// Refused tells whether NATS will never store a message, for what it says. Whatever else keeps it from being stored may pass: an
// outage, an election, a queue or a disk that is full, a limit of the account.
func Refused(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamMessageExceedsMaximum, jetstream.JSErrCodeMessageSchedulesDisabled, jetstream.JSErrCodeSchedulePatternInvalid,
			jetstream.JSErrCodeScheduleTargetInvalid, errCodeHeaders:
			return true
		}
		return false
	}
	return errors.Is(err, errUnwritable) || errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject)
}

// errCodeHeaders is JetStream's answer to headers of more than 64 KiB (JSStreamHeaderExceedsMaximumErr).
const errCodeHeaders jetstream.ErrorCode = 10097

// errCodeOneServer is JetStream's answer where more copies are asked for than there are servers (JSStreamReplicasNotSupportedErr).
const errCodeOneServer jetstream.ErrorCode = 10074

// unavailable explains an error of a request to JetStream for the one who has to mend it.
func unavailable(url string, err error) error {
	switch {
	case err == nil:
		return nil
	case apiCode(err) == errCodeOneServer:
		return fmt.Errorf("%w: NATS at %s is one server and keeps one copy of a stream; give --replicas 1, or use a cluster of three", ErrRefused, url)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: the server at %s has no JetStream for this account; start it with jetstream enabled (nats-server -js)", ErrUnavailable, url)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("%w: %s refused the credentials: %w; give others with --creds, --nkey, --user or --context", ErrUnavailable, url, err)
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: nothing answers at %s (%w); start one with: weir up, or name another with --server", ErrUnavailable, url, err)
	}
	return err
}
