// Package streams is all of Weir that lives in NATS: names, stream and bucket set-up, publishing, the event log, the
// config and worker buckets. Nothing outside this package spells a subject.
package streams

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-run/weir/schemas"
)

// Every name on the wire, in one place. Names in angle brackets are one NATS token: [A-Za-z0-9_-]{1,64}.
//
//	WEIR_POOL_<pool>                                 a work pool's stream
//	weir.run.<pool>.<queue>.<deployment>             a run request
//	weir.schedule.<pool>.<queue>.<deployment>.<name> a request due later
//	weir.schedule.<pool>.<queue>.<deployment>.retry.<run>.<attempt> a run's next attempt
//	weir.cancel.<pool>.<run>                         a request to cancel a run
//	weir.event.run.<pool>.<deployment>.<run>.<state> a run's states
//	weir.log.<pool>.<deployment>.<run>               a line of a job's output
//	weir.dead.<pool>.<queue>.<deployment>            a request that could not be accepted
//	weir.dead.<pool>.:cancel.<run>                   a request to cancel that could not be accepted
//	weir.worker.<pool>.<worker>.{drain,has}          a request to a worker
//	weir.peer.<kind>                                 what workers of a kind of pool tell each other
const (
	EventStream = "WEIR_EVENTS"
	LogStream   = "WEIR_LOGS"
	DeadStream  = "WEIR_DEAD"

	RunsBucket    = "weir_runs"
	ConfigBucket  = "weir_config"
	WorkersBucket = "weir_workers"
	LocksBucket   = "weir_locks"

	poolStreamPrefix = "WEIR_POOL_"
	runPrefix        = "weir.run."
	schedulePrefix   = "weir.schedule."
	cancelPrefix     = "weir.cancel."
	eventPrefix      = "weir.event."
	runEventPrefix   = "weir.event.run."
	logPrefix        = "weir.log."
	deadPrefix       = "weir.dead."
	workerPrefix     = "weir.worker."
	peerPrefix       = "weir.peer."
)

// RunEvents is every event of every run, for those who subscribe.
const RunEvents = runEventPrefix + ">"

// Headers of Weir's own.
const (
	// HeaderRunID on a request names its run. An ID is claimed once for as long as events are kept.
	HeaderRunID = "Weir-Run-Id"
	// HeaderParent on a request names the run that it repeats, where its body names none.
	HeaderParent = "Weir-Parent"
	// HeaderStream on a log line says which of the job's outputs it came from: stdout, stderr, or weir for the worker's own.
	HeaderStream = "Weir-Stream"
	// HeaderContinued on a log line says that the line goes on in the next message.
	HeaderContinued = "Weir-Continued"
	// HeaderLine on a log line is <attempt>.<position>: the position grows from line to line of one attempt's output.
	HeaderLine = "Weir-Line"
	// HeaderTrace is the W3C trace context of a request. It is passed on to the job and to every event.
	HeaderTrace = "traceparent"

	// On a message that asks for a run's next attempt: which one, and when the run was requested.
	headerAttempt   = "Weir-Attempt"
	headerRequested = "Weir-Requested"

	// headerPeer on what workers tell each other says who tells it.
	headerPeer = "Weir-Peer"

	headerDeadReason   = "Weir-Dead-Reason"
	headerDeadMessage  = "Weir-Dead-Message"
	headerDeadSubject  = "Weir-Dead-Subject"
	headerDeadSequence = "Weir-Dead-Sequence"
	headerDeadRun      = "Weir-Dead-Run"
	headerDeadTime     = "Weir-Dead-Time"
	headerDeadSize     = "Weir-Dead-Size"
	headerOriginal     = "Weir-Original-"
)

func poolStream(pool string) string { return poolStreamPrefix + pool }

// RunSubject is where a request for a run is published.
func RunSubject(pool, queue, deployment string) string {
	return runPrefix + pool + "." + queue + "." + deployment
}

// queueSubject takes every request of one work queue. One token stands for the deployment, so that a misspelt subject is
// refused by NATS.
func queueSubject(pool, queue string) string { return runPrefix + pool + "." + queue + ".*" }

func queueFilter(pool, queue string) string { return runPrefix + pool + "." + queue + ".>" }

// retrySubject is where a run's next attempt waits until it is due. The attempt is part of it: a schedule that is stored late
// must not replace that of a later attempt. It has more tokens than the schedules that people name.
func retrySubject(pool, queue, deployment, run string, attempt int) string {
	return schedulePrefix + pool + "." + queue + "." + deployment + ".retry." + run + "." + strconv.Itoa(attempt)
}

func cancelSubject(pool, run string) string { return cancelPrefix + pool + "." + run }

// cancelConsumer is the durable consumer of a pool's cancel requests. No work queue can have its name.
const cancelConsumer = ":cancel"

func scheduleSubjects(pool string) string { return schedulePrefix + pool + ".>" }

func runEventSubject(e schemas.RunEvent) string {
	return runEventPrefix + e.Pool + "." + e.Deployment + "." + e.Run + "." + string(e.State)
}

func runEventFilter(pool, deployment, run string) string {
	return runEventPrefix + pool + "." + deployment + "." + run + ".*"
}

func logSubject(pool, deployment, run string) string {
	return logPrefix + pool + "." + deployment + "." + run
}

// keySubject is where a key of a bucket is stored.
func keySubject(bucket, key string) string { return "$KV." + bucket + "." + key }

func recordSubject(pool, worker string) string { return keySubject(WorkersBucket, pool+"."+worker) }

func runKey(pool, deployment, run string) string { return pool + "." + deployment + "." + run }

// naturalRun is the ID of a request that names none: the publisher knows it from the publish acknowledgement.
func naturalRun(pool string, sequence uint64) string {
	return pool + "-" + strconv.FormatUint(sequence, 10)
}

// RunID is the ID of the run that a publish acknowledgement stands for.
func RunID(stream string, sequence uint64) string {
	return naturalRun(strings.TrimPrefix(stream, poolStreamPrefix), sequence)
}

// parseNaturalRun splits <pool>-<sequence>. ok is false for an ID that was given by hand.
func parseNaturalRun(run string) (pool string, sequence uint64, ok bool) {
	i := strings.LastIndexByte(run, '-')
	if i <= 0 {
		return "", 0, false
	}
	sequence, err := strconv.ParseUint(run[i+1:], 10, 64)
	if err != nil || sequence == 0 || run[i+1] == '0' || run[i+1] == '+' {
		return "", 0, false
	}
	return run[:i], sequence, true
}

// parseRunSubject splits weir.run.<pool>.<queue>.<deployment>.
func parseRunSubject(subject string) (pool, queue, deployment string, err error) {
	rest, ok := strings.CutPrefix(subject, runPrefix)
	if parts := strings.Split(rest, "."); ok && len(parts) == 3 {
		return parts[0], parts[1], parts[2], nil
	}
	return "", "", "", fmt.Errorf("subject %q is not %s<pool>.<queue>.<deployment>", subject, runPrefix)
}

// checkNames refuses the first that cannot be a token of a subject. Each is what it names, and the name.
func checkNames(names ...[2]string) error {
	for _, n := range names {
		if err := schemas.CheckName(n[0], n[1]); err != nil {
			return err
		}
	}
	return nil
}
