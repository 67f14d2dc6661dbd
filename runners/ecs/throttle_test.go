package ecs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var (
	errBusy     = &smithy.GenericAPIError{Code: "ThrottlingException", Message: "Rate exceeded"}
	errBroken   = &smithy.GenericAPIError{Code: "ServerException", Message: "oops"}
	errDefinite = &smithy.GenericAPIError{Code: "ClientException", Message: "no"}
	silence     = slog.New(slog.DiscardHandler)
)

// answered is what the SDK makes of an answer without an error that it knows.
func answered(status int, err error) error {
	return &smithy.OperationError{ServiceID: "ECS", OperationName: "RunTask", Err: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err,
	}}
}

func TestFaultOf_tellsWhatTryingAgainCanDo(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for _, tt := range []struct {
		err  error
		want fault
	}{
		{nil, none},
		{errBusy, busy},
		{answered(400, errBusy), busy},
		{answered(429, errors.New("html")), busy},
		{errBroken, broken},
		{answered(500, errors.New("html")), broken},
		{answered(503, &smithy.GenericAPIError{Code: "UnknownError"}), broken},
		{answered(200, errors.New("use of closed network connection")), broken},
		{&smithyhttp.RequestSendError{Err: errors.New("EOF")}, broken},
		{&smithy.CanceledError{Err: context.DeadlineExceeded}, broken},
		{&smithyhttp.RequestSendError{Err: dial}, away},
		{&smithyhttp.RequestSendError{Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}, definite},
		{answered(400, errDefinite), definite},
		{answered(403, errors.New("html")), definite},
		{answered(503, &credentialsError{errors.New("the role's server is away")}), definite},
		{errors.New("missing required field"), definite},
	} {
		if got := faultOf(tt.err); got != tt.want {
			t.Errorf("faultOf(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

// service is AWS's side of a token bucket.
type service struct {
	mu     sync.Mutex
	rate   float64
	burst  float64
	tokens float64
	at     time.Time
	taken  int
	calls  int
}

func (s *service) call(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.tokens = min(s.burst, s.tokens+now.Sub(s.at).Seconds()*s.rate)
	s.at = now
	s.calls++
	if s.tokens < 1 {
		return errBusy
	}
	s.tokens--
	s.taken++
	return nil
}

// 2,000 starts against a service that allows less than AWS's default all start, none fails, and few are refused.
func TestCall_startsEverythingThroughAThrottle(t *testing.T) {
	for _, allowed := range []float64{20, 5, 0.5} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{rate: allowed, burst: 5, tokens: 5, at: time.Now()}
				throttle := newThrottle(1)
				begun := time.Now()
				var wg sync.WaitGroup
				for range 2000 {
					wg.Go(func() {
						if err := throttle.call(t.Context(), runTask, silence, s.call); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				took := time.Since(begun)
				if s.taken != 2000 {
					t.Errorf("%d calls were taken, want 2000", s.taken)
				}
				if refused := s.calls - s.taken; refused > 2000/3 {
					t.Errorf("%d calls were refused of %d: too many", refused, s.calls)
				}
				if best := time.Duration(2000 / allowed * float64(time.Second)); took > best*2 {
					t.Errorf("it took %s, want less than twice %s", took, best)
				}
				t.Logf("%d calls, %d refused, in %s", s.calls, s.calls-s.taken, took.Round(time.Second))
			})
		})
	}
}

func TestCall_keepsToTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle, begun := newThrottle(1), time.Now()
		var wg sync.WaitGroup
		for range 120 {
			wg.Go(func() { _ = throttle.call(t.Context(), runTask, silence, func(context.Context) error { return nil }) })
		}
		wg.Wait()
		if took := time.Since(begun); took != 5*time.Second { // 20 at once, then 20 a second
			t.Errorf("120 calls took %s, want 5s", took)
		}
	})
}

func TestCall_raisesTheRateAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := newThrottle(1)
		b := throttle.buckets[runTask]
		for range 20 {
			b.refused(time.Now())
			time.Sleep(time.Second)
		}
		low := b.limiter.Limit()
		if low > 0.5 || low < 0.39 {
			t.Errorf("after 20 refusals the rate is %v, want 0.4: a fiftieth", low)
		}
		for range 60 {
			_ = throttle.call(t.Context(), runTask, silence, func(context.Context) error { return nil })
			time.Sleep(time.Second)
		}
		if b.limiter.Limit() != 20 || b.limiter.Burst() != 20 {
			t.Errorf("after 60 good seconds the rate is %v with a burst of %d, want 20 and 20", b.limiter.Limit(), b.limiter.Burst())
		}
	})
}

// AWS's bucket is empty when it refuses: what ours has by then would only be refused as well.
func TestCall_hasNoBurstAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := newThrottle(1)
		throttle.buckets[runTask].refused(time.Now())
		begun := time.Now()
		for range 15 {
			_ = throttle.call(t.Context(), runTask, silence, func(context.Context) error { return nil })
		}
		if took := time.Since(begun); took < 900*time.Millisecond { // 14 a second, with one at once
			t.Errorf("15 calls took %s after a refusal, want a second", took)
		}
	})
}

func TestCall_goesOnUntilItsContextEnds(t *testing.T) {
	errEnded := errors.New("the worker stops")
	for _, tt := range []struct {
		name    string
		fault   error
		unknown bool
	}{
		{"busy", errBusy, false},
		{"broken", errBroken, true},
		{"away", &net.OpError{Op: "dial", Err: errors.New("refused")}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Hour, func() { cancel(errEnded) })
				tries, begun := 0, time.Now()
				err := newThrottle(1).call(ctx, runTask, silence, func(context.Context) error { tries++; return tt.fault })
				if !errors.Is(err, errEnded) || time.Since(begun) != time.Hour {
					t.Errorf("call = %v after %s, want %v after 1h", err, time.Since(begun), errEnded)
				}
				if errors.Is(err, errUnknown) != tt.unknown {
					t.Errorf("unknown is %t of %v, want %t", errors.Is(err, errUnknown), err, tt.unknown)
				}
				if !errors.Is(err, tt.fault) {
					t.Errorf("%v does not tell AWS's last words", err)
				}
				if tries < 300 || tries > 3000 {
					t.Errorf("%d tries in an hour", tries)
				}
			})
		})
	}
}

func TestCall_tellsWhenTheOutcomeIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			answers []error
			unknown bool
			want    error
		}{
			{[]error{nil}, false, nil},
			{[]error{errBusy, errBusy, nil}, false, nil},
			{[]error{errBroken, nil}, false, nil}, // the answer of the second try is the first one's too
			{[]error{errDefinite}, false, errDefinite},
			{[]error{errBusy, errDefinite}, false, errDefinite},
			{[]error{errBroken, errDefinite}, true, errDefinite},
		} {
			n := 0
			err := newThrottle(1).call(t.Context(), runTask, silence, func(context.Context) error { n++; return tt.answers[n-1] })
			if !errors.Is(err, tt.want) || errors.Is(err, errUnknown) != tt.unknown || n != len(tt.answers) {
				t.Errorf("%v: %d tries, then %v (unknown: %t), want unknown %t", tt.answers, n, err, errors.Is(err, errUnknown), tt.unknown)
			}
		}
	})
}

// A try that AWS does not answer is given up, and made again.
func TestCall_givesATryUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, begun := 0, time.Now()
		err := newThrottle(1).call(t.Context(), stopTask, silence, func(ctx context.Context) error {
			if n++; n == 1 {
				<-ctx.Done()
				return &smithy.CanceledError{Err: ctx.Err()}
			}
			return nil
		})
		if took := time.Since(begun); err != nil || took < callTime(stopTask) || took > callTime(stopTask)+firstWait {
			t.Errorf("call = %v after %s, want a second try after %s", err, took, callTime(stopTask))
		}
	})
}

func TestCall_saysOnceAMinuteThatAWSIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		log := slog.New(slog.NewTextHandler(&said, nil))
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		throttle := newThrottle(1)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { _ = throttle.call(ctx, runTask, log, func(context.Context) error { return errBroken }) })
		}
		wg.Wait()
		if n := strings.Count(said.String(), "AWS does not answer"); n != 3 {
			t.Errorf("it was said %d times in 150 s, want 3:\n%s", n, said.String())
		}
	})
}

func TestSharedThrottle_isOneForARegion(t *testing.T) {
	first, second, other := sharedThrottle("test a", 1), sharedThrottle("test a", 1), sharedThrottle("test b", 1)
	if first != second || first == other {
		t.Error("two runners that speak to one region have to share their rates, and others must not")
	}
}
