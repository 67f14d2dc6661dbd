// Package ecstest is an AWS endpoint for tests: ECS, CloudWatch Logs, SQS, STS and what of EC2 a task's network needs, in this process, on
// one URL. Its tasks live as Fargate's do, either on paper, thousands of them by a [Plan], or as containers on a Docker engine. What makes
// AWS hard is turned on by [Knobs]: throttling, answers that are lost, tasks that cannot be seen yet, no capacity, policies.
package ecstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// The account and region that an endpoint is in.
const (
	Account = "123456789012"
	Region  = "us-east-1"
)

// Endpoint is one AWS account in one region.
type Endpoint struct {
	URL string // where it listens, on the loopback address; empty when it does not (see [New])

	server *httptest.Server

	mu       sync.Mutex // of all that follows
	knobs    Knobs
	clock    clock
	calls    map[string]int
	lost     map[string]int // answers that will be lost, by action
	buckets  map[string]*bucket
	clusters map[string]*cluster
	families map[string]*family
	tasks    *tasks
	host     host
	groups   map[string]*logGroup
	queues   map[string]*queue
	roles    map[string]bool
	users    map[string]*principal
	tags     map[string][]tag // of clusters
	logged   int64            // lines
	closed   bool
}

// New makes an endpoint that listens nowhere: it is reached by its [Endpoint.Transport]. It has the cluster "default".
func New(host Host) (*Endpoint, error) {
	e := &Endpoint{
		calls: map[string]int{}, lost: map[string]int{}, buckets: map[string]*bucket{}, clusters: map[string]*cluster{},
		families: map[string]*family{}, tasks: newTasks(), groups: map[string]*logGroup{}, queues: map[string]*queue{},
		users: map[string]*principal{}, tags: map[string][]tag{},
	}
	e.clock.lock = &e.mu
	var err error
	if e.host, err = host.open(e); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addCluster("default")
	return e, nil
}

// Listen makes an endpoint that listens on the loopback address.
func Listen(host Host) (*Endpoint, error) {
	e, err := New(host)
	if err != nil {
		return nil, err
	}
	e.server = httptest.NewServer(e)
	e.URL = e.server.URL
	return e, nil
}

// Open makes one for a test, whose end closes it.
func Open(t testing.TB, host Host) *Endpoint {
	t.Helper()
	e, err := Listen(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Close ends it and what its tasks run.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.closed = true
	e.clock.stop()
	e.mu.Unlock()
	for _, q := range e.queues {
		q.wake()
	}
	if e.server != nil {
		e.server.CloseClientConnections()
		e.server.Close()
	}
	return e.host.close()
}

// Environ is what a process needs in its environment to reach the endpoint as an administrator.
func (e *Endpoint) Environ() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL": e.URL, "AWS_REGION": Region, "AWS_ACCESS_KEY_ID": adminKey, "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	}
}

// Setenv gives the test's process that environment.
func (e *Endpoint) Setenv(t *testing.T) {
	t.Helper()
	for name, value := range e.Environ() {
		t.Setenv(name, value)
	}
}

// Config is the SDK's configuration of an administrator. Its client needs no socket, so it works where time is faked too.
func (e *Endpoint) Config() aws.Config {
	url := e.URL
	if url == "" {
		url = "http://aws.test"
	}
	return aws.Config{
		Region: Region, BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider(adminKey, "secret", ""),
		HTTPClient: &http.Client{Transport: e.Transport()},
	}
}

// Transport reaches the endpoint inside the process.
func (e *Endpoint) Transport() http.RoundTripper { return transport{e} }

type transport struct{ e *Endpoint }

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.Body = http.NoBody
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
		in.Body = io.NopCloser(bytes.NewReader(body))
	}
	w, lost := httptest.NewRecorder(), false
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if cut := recover(); cut == http.ErrAbortHandler { //nolint:errorlint // what the handler panics with
				lost = true
			} else if cut != nil {
				panic(cut)
			}
		}()
		t.e.ServeHTTP(w, in)
	}()
	select {
	case <-done:
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
	if lost {
		return nil, io.ErrUnexpectedEOF
	}
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

// arn names a resource of the endpoint's account.
func arn(service, resource string) string {
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, Region, Account, resource)
}
