package ecs

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/weir-run/weir/runners"
)

// What is said of a worker's own questions, beside runs, is as clear as what runs get.
func TestWorded_whatNoRunIsToldIsASentenceToo(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		keys, c := &changing{key: adminKey}, b.clients()
		keys.into(b, c)
		r := b.workerWith("w", runners.Config{}, c, "")
		e := b.start(r, b.spec("r.1", nil, nil))
		keys.set("NOBODY")
		_, listed := r.List(t.Context())
		_, found := r.Find(t.Context(), runners.Sought{Name: "other.1"})
		_, byARN := r.Find(t.Context(), runners.Sought{Name: "other.2", ID: strings.Replace(e.ID(), "/default/", "/default/0", 1)})
		for what, err := range map[string]error{"list": listed, "find by name": found, "find by ARN": byARN, "stop": r.stopTask(t.Context(), "default", e.ID(), "x")} {
			if err == nil || !strings.Contains(err.Error(), "AWS does not accept the credentials of this worker or server: check AWS_ACCESS_KEY_ID") ||
				strings.Contains(err.Error(), "operation error") {
				t.Errorf("%s: got %v", what, err)
			}
			if reason := runners.ReasonOf(err, ""); reason != "" {
				t.Errorf("%s: %v has the reason %s, as if the run had ended by it", what, err, reason)
			}
		}
		time.Sleep(time.Minute) // its task is looked at
		if b.log.count("check AWS_ACCESS_KEY_ID") == 0 || b.log.count("operation error") > 0 {
			t.Errorf("the log has other words:\n%s", b.log.b.String())
		}
	})
}

// A queue that is not there is told by the name of the variable that names it.
func TestWorded_theQueueIsNamedByItsVariable(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		b.workerWith("w", runners.Config{}, b.clients(), "https://sqs.us-east-1.amazonaws.com/123456789012/nope")
		time.Sleep(time.Second)
		if b.log.count(queueVariable) != 1 || b.log.count("operation error") > 0 {
			t.Errorf("the log has other words:\n%s", b.log.b.String())
		}
	})
}

// A list ends with its context, whatever AWS does, and says what AWS did.
func TestList_endsWithItsContext(t *testing.T) {
	refused := func(context.Context) error {
		return &smithyhttp.RequestSendError{Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
	}
	silent := func(ctx context.Context) error {
		<-ctx.Done()
		return &smithyhttp.RequestSendError{Err: ctx.Err()}
	}
	for what, answer := range map[string]func(context.Context) error{"nobody is there": refused, "it does not answer": silent} {
		t.Run(what, func(t *testing.T) {
			bubble(t, forever, func(t *testing.T, b *bench) {
				c := b.clients()
				c.ecs.ListTasks = func(ctx context.Context, _ *ecs.ListTasksInput, _ ...func(*ecs.Options)) (*ecs.ListTasksOutput, error) {
					return nil, answer(ctx)
				}
				r := b.workerWith("w", runners.Config{}, c, "")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(10*time.Second, func() { cancel(errTest) })
				began := time.Now()
				if _, err := r.List(ctx); !errors.Is(err, errTest) || time.Since(began) != 10*time.Second {
					t.Errorf("after %s: got %v, want the test's own reason after 10 s", time.Since(began), err)
				}
			})
		})
	}
}

func TestNewClients_saysWhatToDoAboutAProfile(t *testing.T) {
	lonely(t)
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[profile there]\nregion = eu-central-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", config)
	t.Setenv("AWS_PROFILE", "nope")
	_, err := newClients(t.Context(), silence)
	if err == nil || !strings.Contains(err.Error(), `there is no AWS profile "nope"`) || !strings.Contains(err.Error(), "set AWS_PROFILE to one that aws configure list-profiles shows") {
		t.Errorf("got %v", err)
	}
}

// Who is told of a lost task says that its execution is gone, or has vanished. That is not said again.
func TestErrLost_saysItOnce(t *testing.T) {
	err := errLost("arn:task")
	if want := "ECS does not know task arn:task any more; it forgets a task an hour after its end"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !errors.Is(err, runners.ErrGone) {
		t.Errorf("%v is not ErrGone", err)
	}
}
