package runners

import (
	"errors"

	"github.com/weir-run/weir/schemas"
)

// ErrGone says that no execution of that name is known, or that it vanished without telling how it ended.
var ErrGone = errors.New("execution is gone")

// Permanent marks err as one that trying again cannot mend. reason is what the run's final state will say.
func Permanent(reason schemas.Reason, err error) error { return &permanent{reason: reason, err: err} }

// IsPermanent tells whether err, or one it wraps, was marked by [Permanent], and with which reason.
func IsPermanent(err error) (reason schemas.Reason, ok bool) {
	p, ok := errors.AsType[*permanent](err)
	if !ok {
		return "", false
	}
	return p.reason, true
}

type permanent struct {
	reason schemas.Reason
	err    error
}

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }
