package ecs

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// class are calls that AWS counts together.
type class int

// The classes.
const (
	runTask            class = iota // RunTask
	stopTask                        // StopTask
	readTasks                       // DescribeTasks, ListTasks
	registerDefinition              // RegisterTaskDefinition, DeregisterTaskDefinition
	readDefinitions                 // DescribeTaskDefinition, ListTaskDefinitions
	readLogs                        // FilterLogEvents
	readLog                         // GetLogEvents
	readNetwork                     // DescribeVpcs, DescribeSubnets
	readIdentity                    // GetCallerIdentity
	queue                           // SQS, which has no rate that matters here
	classes
)

// rates are calls a second and the burst, for one account and region, unless it was given more. RunTask on Fargate: 20 and 20 (page "AWS
// Fargate throttling quotas"; launches may burst to 100, calls may not). Reads of ECS refill with 20 (page "Request throttling for the
// Amazon ECS API"), a registration is a modification of a definition, which is the scarcest. FilterLogEvents: 5 (AWS re:Post, "How do I
// determine throttling in my CloudWatch logs?"), and GetLogEvents is counted by itself. The others are cautious: whoever is told to slow down does, and nothing fails for it.
var rates = [classes]struct {
	limit rate.Limit
	burst int
}{
	runTask:            {20, 20},
	stopTask:           {20, 40},
	readTasks:          {20, 40},
	registerDefinition: {1, 10},
	readDefinitions:    {20, 50},
	readLogs:           {5, 5},
	readLog:            {10, 10},
	readNetwork:        {5, 10},
	readIdentity:       {5, 5},
	queue:              {rate.Inf, 1},
}

// throttle has one bucket of tokens for each class. It is shared by all runners of the process that speak to one region.
type throttle struct {
	buckets [classes]*bucket

	mu   sync.Mutex
	told time.Time // when somebody was told last that AWS is away; under mu
}

var (
	throttlesMu sync.Mutex
	throttles   = map[string]*throttle{} // by region and endpoint
)

func sharedThrottle(key string, scale float64) *throttle {
	throttlesMu.Lock()
	defer throttlesMu.Unlock()
	t, ok := throttles[key]
	if !ok {
		t = newThrottle(scale)
		throttles[key] = t
	}
	return t
}

func newThrottle(scale float64) *throttle {
	t := &throttle{}
	for c, r := range rates {
		t.buckets[c] = newBucket(r.limit*rate.Limit(scale), max(1, int(float64(r.burst)*scale)))
	}
	return t
}

// A bucket gives tokens at a rate that it lowers when AWS says that it is too high, and raises again up to its own.
type bucket struct {
	top   rate.Limit
	burst int
	turn  chan struct{} // held by the one who waits for a token: those behind get theirs at the rate of then

	mu      sync.Mutex
	limiter *rate.Limiter // under mu where it is changed
	changed time.Time     // when the rate was changed last; under mu
}

func newBucket(top rate.Limit, burst int) *bucket {
	return &bucket{top: top, burst: burst, turn: make(chan struct{}, 1), limiter: rate.NewLimiter(top, burst)}
}

// How a rate goes down and up: by three tenths for each second with a refusal, and by a tenth for each without, or a twentieth of the
// whole, whichever is less.
const (
	slower = 0.7
	faster = 1.1
	step   = 0.05 // of the whole
	lowest = 0.02 // of the whole
)

// wait returns when the caller's turn has come.
func (b *bucket) wait(ctx context.Context) error {
	if b.top == rate.Inf {
		return context.Cause(ctx)
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-b.turn }()
	r := b.limiter.Reserve()
	if err := sleep(ctx, r.Delay()); err != nil {
		r.Cancel()
		return err
	}
	return nil
}

// refused lowers the rate: AWS's bucket is empty, so that ours has to be too.
func (b *bucket) refused(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.top == rate.Inf || now.Sub(b.changed) < time.Second {
		return // those under way at the time are all refused
	}
	b.changed = now
	b.limiter.SetBurstAt(now, 1)
	b.limiter.SetLimitAt(now, max(b.top*lowest, b.limiter.Limit()*slower))
}

// taken raises the rate again.
func (b *bucket) taken(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limiter.Limit() >= b.top || now.Sub(b.changed) < time.Second {
		return
	}
	b.changed = now
	b.limiter.SetLimitAt(now, min(b.top, b.limiter.Limit()*faster, b.limiter.Limit()+b.top*step))
	if b.limiter.Limit() >= b.top {
		b.limiter.SetBurstAt(now, b.burst)
	}
}

// errUnknown is what an error of [ask] is when AWS may have done what was asked: it was sent, and no answer came.
var errUnknown = errors.New("it is not known whether AWS did it")

// A callError is the end of a call whose outcome may be unknown.
type callError struct {
	err     error
	ended   bool  // err is why ctx has ended
	last    error // AWS's last words before that; or nil
	unknown bool
}

func (e *callError) Error() string {
	text := awsWords(e.err)
	if e.last != nil {
		text += ", after: " + awsWords(e.last)
	}
	if e.unknown {
		text += "; " + errUnknown.Error()
	}
	return text
}

func (e *callError) Is(target error) bool { return e.unknown && target == errUnknown }
func (e *callError) Unwrap() []error {
	if e.last == nil {
		return []error{e.err}
	}
	return []error{e.err, e.last}
}

// The waits between tries, each drawn evenly from 0 to a bound that doubles.
const (
	firstWait = 200 * time.Millisecond
	lastWait  = 10 * time.Second
)

// ask makes one call of AWS. It waits for its turn, tries again for ever where AWS is busy, broken or away, and gives any other error
// back at once. When ctx ends first, the error is its cause. It is [errUnknown] as well where a try may have been carried out whose
// answer did not come.
func ask[In, Out, Opt any](ctx context.Context, c *clients, class class,
	op operation[In, Out, Opt], in *In,
) (*Out, error) {
	var out *Out
	err := c.throttle.call(ctx, class, c.log, func(ctx context.Context) error {
		var err error
		out, err = op(ctx, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// call is [ask] without the types.
func (t *throttle) call(ctx context.Context, class class, log *slog.Logger, f func(context.Context) error) error {
	b := t.buckets[class]
	var last error
	unknown := false
	for bound := firstWait; ; bound = min(2*bound, lastWait) {
		if err := b.wait(ctx); err != nil {
			return &callError{err, true, last, unknown}
		}
		try, cancel := context.WithTimeout(ctx, callTime(class))
		err := f(try)
		cancel()
		switch faultOf(err) {
		case none:
			b.taken(time.Now())
			return nil
		case definite:
			return &callError{err, false, nil, unknown}
		case busy:
			b.refused(time.Now())
		case broken:
			unknown = true
			t.complain(ctx, log, err)
		case away:
			t.complain(ctx, log, err)
		}
		last = err
		if err := sleep(ctx, rand.N(bound)); err != nil { //nolint:gosec // it only spreads tries
			return &callError{err, true, last, unknown}
		}
	}
}

// complain says once a minute that AWS is not to be reached: all that wait for it only wait.
func (t *throttle) complain(ctx context.Context, log *slog.Logger, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil || time.Since(t.told) < time.Minute {
		return
	}
	t.told = time.Now()
	log.Warn("AWS does not answer; it is asked again until it does", "err", awsWords(err))
}

// sleep waits, or returns the cause of ctx's end.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
