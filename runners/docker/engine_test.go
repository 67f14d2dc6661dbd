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
	"github.com/moby/moby/api/types/system"

	"github.com/weir-run/weir/runners/docker/dockertest"
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

// Machines that are made from one image have engines of one ID, and so have two engines of one machine: neither is the other's place.
func TestPlace_tellsEnginesApartThatShareAnID(t *testing.T) {
	here := system.Info{ID: "EYMS:ZLXQ", Name: "build-1", DockerRootDir: "/var/lib/docker"}
	for what, other := range map[string]system.Info{
		"another machine's":     {ID: here.ID, Name: "build-2", DockerRootDir: here.DockerRootDir},
		"a second one":          {ID: here.ID, Name: here.Name, DockerRootDir: "/srv/docker"},
		"one that was made new": {ID: "AAAA:BBBB", Name: here.Name, DockerRootDir: here.DockerRootDir},
	} {
		if placeOf(&here) == placeOf(&other) {
			t.Errorf("%s: got the same place %q", what, placeOf(&here))
		}
	}
}

func TestPlace_isTheEnginesWhicheverWorkerAsks(t *testing.T) {
	engine := dockertest.Own(t, "docker", "") // with the ID of the shared one, where a machine has one for all its engines
	shared.Up(t)
	var places []string
	for _, host := range []string{shared.Host(), shared.Host(), engine.Host()} {
		r := openOn(t, t.TempDir(), host)
		places = append(places, r.Place(nil))
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if places[0] != places[1] || places[0] == places[2] {
		t.Errorf("got places %q, want one for the first two, and another for the third", places)
	}
}

// The address of an engine is another engine's after the first was replaced: what is started from then on is said to be there.
func TestPlace_isThatOfTheEngineThatAnswersNow(t *testing.T) {
	engine := dockertest.Own(t, "docker", "")
	shared.Up(t)
	other := open(t, t.TempDir())
	defer other.Close()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	link := func(e *dockertest.Engine) {
		_ = os.Remove(socket)
		if err := os.Symlink(strings.TrimPrefix(e.Host(), "unix://"), socket); err != nil {
			t.Fatal(err)
		}
	}
	link(engine)
	r := openOn(t, t.TempDir(), "unix://"+socket)
	defer r.Close()
	if r.Place(nil) == other.Place(nil) {
		t.Fatalf("two engines are at one place, %q", r.Place(nil))
	}
	link(shared)
	engine.Run(t, "stop")
	e, err := r.Start(patient(t), spec("run.1", shell(t, "exit 0", nil), nil))
	if err != nil {
		t.Fatal(err)
	}
	if r.Place(nil) != other.Place(nil) {
		t.Errorf("got place %q of a container that is at %q", r.Place(nil), other.Place(nil))
	}
	if _, err := waitFor(t, e); err != nil {
		t.Error(err)
	}
	r.Forget("run.1")
}
