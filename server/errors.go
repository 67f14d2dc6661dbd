package server

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

var (
	// ErrUnavailable marks what the machine refuses: a taken port, a data directory that cannot be used, a full disk.
	ErrUnavailable = errors.New("server unavailable")
	// ErrConfig marks a setting that cannot be meant: a listen address or a sync interval that does not parse.
	ErrConfig = errors.New("server misconfigured")
	// ErrExposed marks a listen address that other machines reach, which Config.AllowRemote has not allowed.
	ErrExposed = errors.New("server exposed")
)

// A StartError says in one sentence why the server did not start and what to do about it.
type StartError struct {
	Kind     error  // ErrUnavailable, ErrConfig or ErrExposed
	Sentence string // for people; ends with the next step
	Cause    error  // may be nil
}

func (e *StartError) Error() string { return e.Sentence }

// Unwrap lets errors.Is find the kind as well as the cause.
func (e *StartError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

func refuse(kind, cause error, format string, args ...any) *StartError {
	return &StartError{Kind: kind, Cause: cause, Sentence: fmt.Sprintf(format, args...)}
}

// listenFailure explains why addr, given with flag, cannot be listened on.
func listenFailure(flag, addr string, err error) *StartError {
	host, _, _ := net.SplitHostPort(addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return refuse(ErrUnavailable, err,
			"listen on %s: another program already does; stop it, or choose another address with %s %s (port 0 takes a free one)",
			addr, flag, net.JoinHostPort(host, "0"))
	case errors.Is(err, syscall.EACCES):
		return refuse(ErrUnavailable, err, "listen on %s: not permitted for this user; choose a port above 1023 with %s", addr, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return refuse(ErrUnavailable, err, "listen on %s: this machine has no such address; choose another with %s", addr, flag)
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return refuse(ErrUnavailable, err, "listen on %s: the host name %q is not known; choose another address with %s", addr, host, flag)
	}
	return refuse(ErrUnavailable, err, "listen on %s: %v; choose another address with %s", addr, err, flag)
}
