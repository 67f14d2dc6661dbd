package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli/config"
	contextdocker "github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"
	"github.com/moby/moby/client"
)

// callTime bounds one request to the engine that is to be answered at once. An engine that is slower is one that does not answer.
const callTime = 2 * time.Minute

// The waits between two looks whether an engine is back.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
)

// goneAfter is how long an engine may be away until what it ran is taken for lost. Shorter than that, as when it is upgraded,
// everything waits for it.
const goneAfter = 5 * time.Minute

// testEvery is how soon an engine is found out that keeps its connections and answers nothing: it is as silent as one on which nothing
// happens.
const testEvery = 10 * time.Second

// engine is the Docker Engine as a worker reaches it, and what is known of whether it answers.
type engine struct {
	api  *client.Client
	log  *slog.Logger
	gone time.Duration // how long it may be away
	test time.Duration // how often it is tested whether it answers while something runs on it, and how long it may take to

	mu    sync.Mutex
	since time.Time // when it was first found not to answer; zero: it answers; under mu
}

// connect finds the engine as the docker CLI does: DOCKER_HOST with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, else the context that
// DOCKER_CONTEXT or the CLI's configuration names, else the local socket. Nothing is asked of it yet.
func connect(log *slog.Logger) (*engine, error) {
	options, err := endpoint()
	if err != nil {
		return nil, err
	}
	return dial(options, log)
}

func dial(options []client.Opt, log *slog.Logger) (*engine, error) {
	api, err := client.New(append(options, client.WithUserAgent("weir"))...)
	if err != nil {
		return nil, fmt.Errorf("reach the Docker engine: %w", err)
	}
	return &engine{api: api, log: log, gone: goneAfter, test: testEvery}, nil
}

func endpoint() ([]client.Opt, error) {
	if host := os.Getenv(client.EnvOverrideHost); host != "" {
		if e := (contextdocker.Endpoint{EndpointMeta: contextdocker.EndpointMeta{Host: host}}); os.Getenv(client.EnvOverrideCertPath) == "" {
			return e.ClientOpts() // which knows ssh too
		}
		return []client.Opt{client.FromEnv}, nil
	}
	name := os.Getenv("DOCKER_CONTEXT")
	if name == "" {
		file, err := config.Load(config.Dir())
		if err != nil {
			return nil, fmt.Errorf("read the docker CLI's configuration: %w", err)
		}
		name = file.CurrentContext
	}
	if name == "" || name == "default" {
		return []client.Opt{client.FromEnv}, nil
	}
	contexts := store.New(config.ContextStoreDir(), store.NewConfig(func() any { return &map[string]any{} },
		store.EndpointTypeGetter(contextdocker.DockerEndpoint, func() any { return &contextdocker.EndpointMeta{} })))
	metadata, err := contexts.GetMetadata(name)
	if err != nil {
		return nil, fmt.Errorf("docker context %s: %w; see them with: docker context ls", name, err)
	}
	meta, err := contextdocker.EndpointFromContext(metadata)
	if err != nil {
		return nil, fmt.Errorf("docker context %s: %w", name, err)
	}
	e, err := contextdocker.WithTLSData(contexts, name, meta)
	if err != nil {
		return nil, fmt.Errorf("docker context %s: %w", name, err)
	}
	return e.ClientOpts()
}

// unreachable tells whether err is none that the engine itself has answered with: it was not reached, or died before it answered,
// and then what was asked for may have happened.
func unreachable(err error) bool {
	if err == nil {
		return false
	}
	for _, answered := range []func(error) bool{
		errdefs.IsInvalidArgument, errdefs.IsNotFound, errdefs.IsConflict, errdefs.IsInternal, errdefs.IsNotImplemented, errdefs.IsUnauthorized,
		errdefs.IsPermissionDenied, errdefs.IsUnavailable, errdefs.IsNotModified, errdefs.IsUnknown, errdefs.IsFailedPrecondition, errdefs.IsResourceExhausted,
	} {
		if answered(err) {
			return false
		}
	}
	return true
}

var errAway = errors.New("the engine does not answer")

// await returns once the engine answers. The error is ctx's cause, or errAway when it has been away too long, if bounded is
// set: somebody waits for what it runs.
func (e *engine) await(ctx context.Context, bounded bool) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := e.ping(ctx)
		if err == nil {
			return nil
		}
		if bounded && e.away() >= e.gone {
			return fmt.Errorf("%w at %s for %s: %w", errAway, e.api.DaemonHost(), e.gone, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// ping asks whether the engine answers, and keeps count.
func (e *engine) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.test)
	defer cancel()
	_, err := e.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if ctx.Err() != nil && err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return err // it is the asker who goes
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil && e.since.IsZero():
		e.since = time.Now()
		e.log.Warn("the Docker engine does not answer; waiting for it", "host", e.api.DaemonHost(), "err", err)
	case err == nil && !e.since.IsZero():
		e.log.Info("the Docker engine answers again", "host", e.api.DaemonHost(), "after", time.Since(e.since).Round(time.Millisecond))
		e.since = time.Time{}
	}
	return err
}

// away is since when the engine has not answered.
func (e *engine) away() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.since.IsZero() {
		return 0
	}
	return time.Since(e.since)
}

// stopping tells whether the engine takes no connections any more, though it may still answer on those it has: an engine that is
// told to stop ends its containers after that.
func (e *engine) stopping(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := e.api.Dialer()(ctx)
	if err != nil {
		return ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded)
	}
	c.Close()
	return false
}
