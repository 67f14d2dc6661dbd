package main

import (
	"errors"
	"fmt"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

// Exit codes. docs and help texts name them; scripts count on them.
const (
	exitOK           = 0
	exitFailed       = 1   // the run did not complete, or something unexpected
	exitUsage        = 2   // flags, arguments, names or a file are wrong
	exitNotFound     = 3   // the pool, deployment, run, … does not exist
	exitRefused      = 4   // what was asked is not allowed as things are
	exitNoConnection = 5   // NATS, or what a pool runs on, is not there or cannot serve; a port is taken, a data directory not writable
	exitInterrupted  = 130 // Ctrl-C, as shells count it
)

const exitCodesText = `Exit codes: 0 done, 1 the run did not complete or something unexpected, 2 usage or a bad file, 3 not found,
4 refused, 5 NATS or AWS is not there or cannot serve, a port is taken or the data directory cannot be used, 130 Ctrl-C.`

// usageError says that the command was not written as it must be.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// refusedError says that things stand in the way of what was asked, and how to go on.
type refusedError struct{ message string }

func (e *refusedError) Error() string { return e.message }

func refusef(format string, args ...any) error {
	return &refusedError{message: fmt.Sprintf(format, args...)}
}

// unreachableError says that something other than NATS is out of reach, and how to go on.
type unreachableError struct{ message string }

func (e *unreachableError) Error() string { return e.message }

// missingError says in its own words that something is not there.
type missingError struct{ message string }

func (e *missingError) Error() string { return e.message }

// Is makes errors.Is(err, streams.ErrNotFound) true.
func (e *missingError) Is(target error) bool { return target == streams.ErrNotFound }

// runFailedError says that a run ended in a final state other than completed. Its events have been shown.
type runFailedError struct{ last schemas.RunEvent }

func (e *runFailedError) Error() string {
	s := fmt.Sprintf("run %s is %s", e.last.Run, e.last.State)
	if e.last.Reason != "" {
		s += " (" + string(e.last.Reason) + ")"
	}
	if e.last.Message != "" {
		s += ": " + e.last.Message
	}
	return s + "; look at it with: weir flow-run inspect " + e.last.Run
}

// exitCode is the one table from errors to exit codes.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case is[*usageError](err), is[*schemas.NameError](err), is[*schemas.InvalidError](err), fileError(err), errors.Is(err, server.ErrConfig):
		return exitUsage
	case errors.Is(err, streams.ErrNotFound):
		return exitNotFound
	case is[*refusedError](err), errors.Is(err, streams.ErrExists), errors.Is(err, streams.ErrRefused), errors.Is(err, server.ErrExposed):
		return exitRefused
	case is[*unreachableError](err), errors.Is(err, streams.ErrUnavailable), errors.Is(err, server.ErrUnavailable):
		return exitNoConnection
	}
	return exitFailed
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func (e *env) printError(err error) {
	if errors.Is(err, errInterrupted) {
		return
	}
	fmt.Fprintf(e.stderr, "%s %v\n", e.paint(e.stderrTTY, red, "weir:"), err)
}
