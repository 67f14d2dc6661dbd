package runners

import (
	"errors"

	"github.com/weir-run/weir/schemas"
)

// ErrGone says that no execution of that name is known, or that it vanished without telling how it ended.
var ErrGone = errors.New("execution is gone")

// ErrLetGo is the cause with which Start's context ends when its worker stops and leaves what it has begun to the next one.
var ErrLetGo = errors.New("the worker lets its executions go")

// Permanent marks err as one that trying again cannot mend. reason is what the run's final state will say.
func Permanent(reason schemas.Reason, err error) error {
	return &caused{reason: reason, permanent: true, err: err}
}

// IsPermanent tells whether err, or one it wraps, was marked by [Permanent], and with which reason.
func IsPermanent(err error) (reason schemas.Reason, ok bool) {
	c, ok := errors.AsType[*caused](err)
	if !ok || !c.permanent {
		return "", false
	}
	return c.reason, true
}

// Because marks err, which another try may mend, with the reason that the run's state will say.
func Because(reason schemas.Reason, err error) error { return &caused{reason: reason, err: err} }

// ReasonOf returns the reason that err, or one it wraps, was marked with, or otherwise.
func ReasonOf(err error, otherwise schemas.Reason) schemas.Reason {
	if c, ok := errors.AsType[*caused](err); ok {
		return c.reason
	}
	return otherwise
}

type caused struct {
	reason    schemas.Reason
	permanent bool
	err       error
}

func (c *caused) Error() string { return c.err.Error() }
func (c *caused) Unwrap() error { return c.err }
