package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// natsServer builds the nats-server of go.mod, once.
var natsServer = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(filepath.Dir(weirBinary), "nats-server")
	build := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

// bare starts a nats-server without Weir's streams.
func bare(t *testing.T) (url string) {
	t.Helper()
	binary, err := natsServer()
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(freeAddress(t))
	startProgram(t, t.TempDir(), binary, "--addr", host, "--port", port, "--jetstream", "--store_dir", t.TempDir()).await(t, "Server is ready")
	return "nats://" + host + ":" + port
}
