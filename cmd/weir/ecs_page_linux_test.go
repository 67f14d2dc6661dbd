package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/runners/ecs"
	"github.com/weir-run/weir/runners/ecs/ecstest"
)

// The commands of docs/ecs.md are run like those of the README, with examples/ecs as it is, in an account of the tests: its tasks are
// containers on an engine that has the images which a reader's task pulls, and its IAM is moto's.
func TestEcs_commandsOfThePageWork(t *testing.T) {
	iam := moto(t)
	engine := dockertest.Own(t, "ecs", "")
	for ours, name := range map[string]string{dockertest.Busybox: "busybox:1", dockertest.Python: "python:3.12-slim"} {
		cmd := exec.Command("docker", "tag", ours, name)
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+engine.Host())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("docker tag: %v\n%s", err, out)
		}
	}
	account := ecstest.Open(t, ecstest.Docker{Host: engine.Host()})
	desk := newDesk(t, map[string]string{"weir": listening(t), "nats": natsBinary(t)})
	for name, value := range account.Environ() {
		desk.env = append(desk.env, name+"="+value)
	}
	desk.env = append(desk.env, "AWS_ENDPOINT_URL_IAM="+iam, "XDG_STATE_HOME="+filepath.Join(desk.folder, "state"))
	desk.perform(t, blocks(t, "docs/ecs.md"))
}

// listening is a weir whose server listens where the test has a free address, and not where a reader's does.
func listening(t *testing.T) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "weir")
	text := fmt.Sprintf(`#!/bin/sh
case "$1 $2" in
"server start") exec %[1]s "$@" --nats-listen "${NATS_URL#nats://}" --http-listen 127.0.0.1:0 ;;
esac
exec %[1]s "$@"
`, weirBinary)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

// The page's table has the variables that there are, no more and no fewer.
func TestEcs_pageNamesEveryJobVariable(t *testing.T) {
	t.Parallel()
	namesEveryVariable(t, "ecs.md", ecs.Type.Template)
}
