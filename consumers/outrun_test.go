package consumers

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-run/weir/streams"
)

func TestOutrun_triesAgainWithPausesAndNotForEver(t *testing.T) {
	overtaken := fmt.Errorf("record cancelling: %w", streams.ErrOvertaken)
	other := errors.New("no connection")
	for _, tc := range []struct {
		name    string
		answers []error // the last one again and again
		tries   int
		want    error
		took    time.Duration
	}{
		{"at once", []error{nil}, 1, nil, 0},
		{"overtaken twice", []error{overtaken, overtaken, nil}, 3, nil, 3 * time.Millisecond},
		{"something else", []error{overtaken, other}, 2, other, time.Millisecond},
		{"always overtaken", []error{overtaken}, 10, streams.ErrOvertaken, 511 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, tries := time.Now(), 0
				err := outrun(t.Context(), func() error {
					tries++
					return tc.answers[min(tries, len(tc.answers))-1]
				})
				if !errors.Is(err, tc.want) || tries != tc.tries || time.Since(start) != tc.took {
					t.Errorf("got %v after %d tries and %s, want %v after %d and %s", err, tries, time.Since(start), tc.want, tc.tries, tc.took)
				}
			})
		})
	}
}

func TestOutrun_endsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tries := 0
	err := outrun(ctx, func() error { tries++; return streams.ErrOvertaken })
	if !errors.Is(err, streams.ErrOvertaken) || tries != 1 {
		t.Errorf("got %v after %d tries, want one", err, tries)
	}
}
