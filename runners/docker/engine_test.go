package docker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli/config"
)

// The engine is where the docker CLI would find it.
func TestConnect_findsTheEngineAsTheCLIDoes(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, host := range map[string]string{"near": "unix:///near.sock", "far": "tcp://far:2375"} {
		write(fmt.Sprintf("contexts/meta/%x/meta.json", sha256.Sum256([]byte(name))),
			fmt.Sprintf(`{"Name": %q, "Metadata": {}, "Endpoints": {"docker": {"Host": %q, "SkipTLSVerify": false}}}`, name, host))
	}
	before := config.Dir()
	config.SetDir(folder) // it reads DOCKER_CONFIG once
	t.Cleanup(func() { config.SetDir(before) })
	t.Setenv("DOCKER_TLS_VERIFY", "")
	t.Setenv("DOCKER_CERT_PATH", "")
	for _, tt := range []struct{ host, context, config, want string }{
		{"", "", `{}`, "unix:///var/run/docker.sock"},
		{"", "", `{"currentContext": "near"}`, "unix:///near.sock"},
		{"", "far", `{"currentContext": "near"}`, "tcp://far:2375"},
		{"", "default", `{"currentContext": "near"}`, "unix:///var/run/docker.sock"},
		{"tcp://env:2375", "far", `{"currentContext": "near"}`, "tcp://env:2375"},
		{"", "nowhere", `{}`, "docker context nowhere"},
		{"no host", "", `{}`, "no host"},
	} {
		t.Setenv("DOCKER_HOST", tt.host)
		t.Setenv("DOCKER_CONTEXT", tt.context)
		write("config.json", tt.config)
		e, err := connect(slog.New(slog.DiscardHandler))
		got := fmt.Sprint(err)
		if err == nil {
			got = e.api.DaemonHost()
			e.api.Close()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("DOCKER_HOST %q, DOCKER_CONTEXT %q, configuration %s: got %s, want %s", tt.host, tt.context, tt.config, got, tt.want)
		}
	}
}

func TestUnreachable_isWhatTheEngineHasNotSaid(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{io.EOF, true},
		{errors.New("dial unix /x.sock: connect: no such file or directory"), true},
		{errdefs.ErrNotFound, false},
		{fmt.Errorf("no: %w", errdefs.ErrInternal), false},
		{errdefs.ErrConflict.WithMessage("taken"), false},
	} {
		if got := unreachable(tt.err); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
}
