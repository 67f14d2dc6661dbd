package consumers_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
)

// silent is a cloud that does not answer when it is asked what it has.
type silent struct {
	*cloud
	asked func()
}

func (s silent) List(ctx context.Context) ([]string, error) {
	s.asked()
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// A worker that is told to end while it waits for its infrastructure ends, and does not say first that it takes runs.
func TestReclaim_endsWithTheDrain(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	asked := make(chan struct{})
	s := silent{b.newCloud(t, nil), sync.OnceFunc(func() { close(asked) })}
	b.kind.New = func(context.Context, runners.Config) (runners.Runner, error) { return s, nil }
	w, nc := b.newWorker(t, consumers.Config{Name: "w1", Slots: 1})
	defer nc.Close()
	drain, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- w.Run(drain, t.Context(), func(consumers.Ready) { t.Error("the worker is said to be ready") })
	}()
	<-asked
	end()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("got %v, want no error", err)
		}
	case <-time.After(patience):
		t.Fatalf("the worker does not end within %s", patience)
	}
}
