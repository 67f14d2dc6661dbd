//go:build linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners/docker"
)

// dockerEngine starts an engine of the test's own, which has images of the names that a reader's engine pulls, and returns where it
// listens. Docker that was not asked for is a skip; asked for and absent, a failure.
func dockerEngine(t *testing.T) (host string) {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("WEIR_TEST"), ","), "docker") {
		t.Skip("needs a Docker engine: WEIR_TEST=docker make test-integration")
	}
	dir, err := os.MkdirTemp("", "weir-engine-") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	engine := func(verb string) {
		cmd := exec.Command(filepath.Join("..", "..", "runners", "docker", "testdata", "engine.sh"), verb, dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("engine.sh %s: %v\n%s", verb, err, out)
		}
	}
	t.Cleanup(func() { engine("down") })
	engine("up")
	engine("images")
	host = "unix://" + filepath.Join(dir, "docker.sock")
	for ours, name := range map[string]string{"weir-test/busybox:1": "busybox:1", "weir-test/python:1": "python:3.12-slim"} {
		if out, err := exec.Command("docker", "--host", host, "tag", ours, name).CombinedOutput(); err != nil {
			t.Fatalf("docker tag: %v\n%s", err, out)
		}
	}
	return host
}

// The commands of docs/docker.md are run like those of the README, with examples/docker as it is.
func TestDocumentation_dockerCommandsWork(t *testing.T) {
	host := dockerEngine(t)
	desk := newDesk(t, map[string]string{"weir": weirBinary, "nats": natsBinary(t)})
	desk.env = append(desk.env, "DOCKER_HOST="+host, "XDG_STATE_HOME="+filepath.Join(desk.folder, "state"))
	desk.perform(t, append(blocks(t, "README.md")[:1:1], blocks(t, "docs/docker.md")...))
}

// The page's table has the variables that there are, no more and no fewer.
func TestDockerPage_namesEveryJobVariable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "docker.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Job variables\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(section, -1) {
		got = append(got, row[1])
	}
	var template struct {
		Variables struct {
			Properties map[string]json.RawMessage `json:"properties"`
		} `json:"variables"`
	}
	if err := json.Unmarshal(docker.Type.Template, &template); err != nil {
		t.Fatal(err)
	}
	for name := range template.Variables.Properties {
		want = append(want, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("job variables (-template.json +docs/docker.md):\n%s", diff)
	}
}
