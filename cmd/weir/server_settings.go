package main

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

// readSettings is what the flags ask of the shared streams. A flag that is not given leaves its zero.
func readSettings(c *cli.Context) (streams.Settings, error) {
	s := streams.Settings{KeepEvents: c.Duration("keep-events"), KeepRuns: c.Duration("keep-runs"), KeepLogs: c.Duration("keep-logs")}
	for _, name := range []string{"keep-events", "keep-runs", "keep-logs"} {
		if c.IsSet(name) && c.Duration(name) < streams.MinKeep {
			return s, usagef("--%s is %s; keep them for at least %s", name, c.Duration(name), streams.MinKeep)
		}
	}
	if c.IsSet("replicas") {
		if s.Replicas = c.Int("replicas"); s.Replicas == 0 || s.Check() != nil {
			return s, usagef("--replicas is %d; NATS agrees among 1, 3 or 5", s.Replicas)
		}
	}
	return s, nil
}

// serveConfig is what server start does.
type serveConfig struct {
	server    server.Config
	settings  streams.Settings
	elsewhere bool // NATS runs elsewhere
}

func (e *env) readServeConfig(c *cli.Context, log *slog.Logger) (serveConfig, error) {
	settings, err := readSettings(c)
	if err != nil {
		return serveConfig{}, err
	}
	cfg := serveConfig{server: readServerConfig(c, log), settings: settings, elsewhere: e.typed("server", "s", "context")}
	if !cfg.elsewhere && settings.Replicas > 1 {
		return cfg, usagef("--replicas %d needs a NATS cluster, and this would start one server: name the cluster with --server", settings.Replicas)
	}
	for _, name := range []string{"data", "nats-listen", "sync"} {
		if cfg.elsewhere && c.IsSet(name) {
			return cfg, usagef("--%s is for the NATS server that this would start; with --server or --context it starts none", name)
		}
	}
	return cfg, nil
}

// typed tells whether one of the global flags stands on the command line: an environment variable is not meant for this command
// alone. Arguments are in the order of arrange: global flags first.
func (e *env) typed(flags ...string) bool {
	for _, arg := range e.args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-"):
			return false
		case slices.Contains(flags, name):
			return true
		}
	}
	return false
}
