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

// The commands of docs/docker.md are run like those of the README, with examples/docker as it is, on an engine that has the
// images which a reader's engine pulls.
func TestDocker_commandsOfThePageWork(t *testing.T) {
	onEngine(t)
	for ours, name := range map[string]string{"weir-test/busybox:1": "busybox:1", "weir-test/python:1": "python:3.12-slim"} {
		if out, err := exec.Command("docker", "tag", ours, name).CombinedOutput(); err != nil {
			t.Fatalf("docker tag: %v\n%s", err, out)
		}
	}
	desk := newDesk(t, map[string]string{"weir": weirBinary, "nats": natsBinary(t)})
	desk.env = append(desk.env, "XDG_STATE_HOME="+filepath.Join(desk.folder, "state"))
	desk.perform(t, append(blocks(t, "README.md")[:1:1], blocks(t, "docs/docker.md")...))
}

// The page's table has the variables that there are, no more and no fewer.
func TestDocker_pageNamesEveryJobVariable(t *testing.T) {
	t.Parallel()
	namesEveryVariable(t, "docker.md", docker.Type.Template)
}

// namesEveryVariable holds a page's table of job variables against a pool type's base job template.
func namesEveryVariable(t *testing.T, name string, raw json.RawMessage) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
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
	if err := json.Unmarshal(raw, &template); err != nil {
		t.Fatal(err)
	}
	for name := range template.Variables.Properties {
		want = append(want, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("job variables (-template.json +docs/%s):\n%s", name, diff)
	}
}

// weir up serves process pools only, and says how others are served.
func TestDocker_upNamesTheWorkerThatIsMissing(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join("..", "..", "examples", "docker"), "up", "--data", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--http-listen", "off")
	p.await(t, "weir worker start --pool containers")
}
