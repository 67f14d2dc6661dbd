package ecs

import (
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/weir-run/weir/runners/ecs/ecstest"
)

// lonely is an environment that says nothing of AWS.
func lonely(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
	} {
		t.Setenv(name, value)
	}
}

func TestNewClients_needsARegion(t *testing.T) {
	lonely(t)
	_, err := newClients(t.Context(), silence)
	if err == nil || !strings.Contains(err.Error(), "no AWS region is known: set AWS_REGION (such as eu-central-1) where the worker or server runs") {
		t.Errorf("got %v", err)
	}
}

func TestNewClients_refusesARateThatIsNone(t *testing.T) {
	lonely(t)
	t.Setenv("AWS_REGION", "eu-central-1")
	for _, rate := range []string{"fast", "0", "-1", "NaN", "1e9"} {
		t.Setenv(rateVariable, rate)
		if _, err := newClients(t.Context(), silence); err == nil || !strings.Contains(err.Error(), "want a number from 0.01 to 1000") {
			t.Errorf("rate %s: %v", rate, err)
		}
	}
}

// Credentials are looked for when they are needed: a worker starts without them, and says what is missing.
func TestClients_sayWhenThereAreNoCredentials(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	lonely(t)
	t.Setenv("AWS_REGION", ecstest.Region)
	t.Setenv("AWS_ENDPOINT_URL", e.URL)
	c, err := newClients(t.Context(), silence)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ask(t.Context(), c, readTasks, c.ecs.ListTasks, &ecs.ListTasksInput{})
	if _, ok := errors.AsType[*credentialsError](err); !ok {
		t.Fatalf("ListTasks = %v, want an error of the credentials", err)
	}
	if err = c.failed("list tasks", &Job{}, err); !strings.Contains(err.Error(), "list tasks: there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID") {
		t.Errorf("got %v", err)
	}
}

// No answer is lost to the SDK's own request bodies: every call is made once.
func TestClients_loseNoAnswer(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	t.Setenv(rateVariable, "1000")
	c := connected(t, e)
	var wg sync.WaitGroup
	const each, workers = 100, 30
	for range workers {
		wg.Go(func() {
			for range each {
				if _, err := ask(t.Context(), c, readTasks, c.ecs.ListTasks, &ecs.ListTasksInput{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := e.Calls("ecs:ListTasks"); n != each*workers {
		t.Errorf("%d calls reached ECS, want %d: some were made again", n, each*workers)
	}
}

// A RunTask whose answer is lost is asked again under the same token, and starts one task.
func TestClients_startOnceThoughAnswersAreLost(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c := connected(t, e)
	job := jobOf(t, `{"image": "i", "network_configuration": {"subnets": ["subnet-a"]}}`)
	d, err := newTestRegistrar(c, &locks{}).resolve(t.Context(), spec(), job)
	if err != nil {
		t.Fatal(err)
	}
	o := orderOf(job)
	o.definition = d
	in, err := o.request()
	if err != nil {
		t.Fatal(err)
	}
	e.LoseAnswers("ecs:RunTask", 2)
	out, err := ask(t.Context(), c, runTask, c.ecs.RunTask, in)
	if err != nil || len(out.Tasks) != 1 {
		t.Fatalf("RunTask = %+v, %v, want one task", out, err)
	}
	list, err := ask(t.Context(), c, readTasks, c.ecs.ListTasks, &ecs.ListTasksInput{StartedBy: in.StartedBy})
	if err != nil || len(list.TaskArns) != 1 || e.Calls("ecs:RunTask") != 3 {
		t.Errorf("tasks %v, %v after %d calls, want one after 3", list.TaskArns, err, e.Calls("ecs:RunTask"))
	}
	// Another worker asks for the same attempt: its name is in the tags, so ECS says which task it has.
	o.spec.Worker = "another"
	if in, err = o.request(); err != nil {
		t.Fatal(err)
	}
	_, err = ask(t.Context(), c, runTask, c.ecs.RunTask, in)
	if arns, ok := conflicting(err); !ok || len(arns) != 1 || arns[0] != deref(out.Tasks[0].TaskArn) {
		t.Errorf("RunTask with other tags = %v (%v), want the task that is there", err, arns)
	}
}

func TestConfigure_hasRequestsSentWhole(t *testing.T) {
	lonely(t)
	t.Setenv("AWS_REGION", "us-east-1")
	cfg, transport, err := configure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := cfg.HTTPClient.(*http.Client); !ok || c.Transport != (buffered{transport}) || transport.MaxConnsPerHost != connections {
		t.Errorf("the client is %+v: bodies have to be buffered, and connections bounded", cfg.HTTPClient)
	}
}

// The SDK does not try again by itself: what is tried again waits its turn, and is asked for first.
func TestClients_tryOnce(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c := connected(t, e)
	e.LoseAnswers("ecs:ListTasks", 1)
	if _, err := c.ecs.ListTasks(t.Context(), &ecs.ListTasksInput{}); err == nil || e.Calls("ecs:ListTasks") != 1 {
		t.Errorf("%v after %d calls, want an error after one", err, e.Calls("ecs:ListTasks"))
	}
}

func TestClients_trustWhatAWS_CA_BUNDLENames(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	server := httptest.NewUnstartedServer(e)
	server.Config.ErrorLog = slog.NewLogLogger(silence.Handler(), slog.LevelError) // it tells of the client that does not trust it
	server.StartTLS()
	defer server.Close()
	lonely(t)
	for name, value := range e.Environ() {
		t.Setenv(name, value)
	}
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	list := func() error {
		c, err := newClients(t.Context(), silence)
		if err != nil {
			return err
		}
		defer c.close()
		_, err = ask(t.Context(), c, readTasks, c.ecs.ListTasks, &ecs.ListTasksInput{})
		return err
	}
	if err := list(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	if err := list(); err != nil {
		t.Errorf("an authority of the bundle: %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestBuffered_givesABodyThatCanBeReadAgain(t *testing.T) {
	closed := false
	body := struct {
		io.Reader
		io.Closer
	}{strings.NewReader("hello"), closer(func() error { closed = true; return nil })}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://aws.test/", body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := buffered{roundTrip(func(r *http.Request) (*http.Response, error) {
		again, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		first, _ := io.ReadAll(r.Body)
		second, _ := io.ReadAll(again)
		if string(first) != "hello" || string(second) != "hello" || r.ContentLength != 5 || r == req {
			t.Errorf("got %q, then %q, of %d bytes", first, second, r.ContentLength)
		}
		return &http.Response{Body: http.NoBody}, nil
	})}.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil || !closed {
		t.Errorf("%v; the SDK's body is closed: %t", err, closed)
	}
}

type closer func() error

func (f closer) Close() error { return f() }
