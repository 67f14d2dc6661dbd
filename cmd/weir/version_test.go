package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestVersion_anotherMajorOfTheSystemIsRefused(t *testing.T) {
	t.Parallel()
	dir, address := t.TempDir(), freeAddress(t)
	url := "nats://" + address
	first := serverOn(t, dir, address)
	weir(t, "-s", url, "work-pool", "create", "dev", "--type", "process").ok(t)
	for _, tt := range []struct{ record, says string }{
		{`{"version": 2, "written_by": "weir v2.1.0"}`, "this weir reads schema v1, the system at " + url + " is at v2 (set up by weir v2.1.0): upgrade this weir"},
		{`{"version": 0, "written_by": "weir v0.0.9"}`, "is still at v0 (set up by weir v0.0.9): use a weir of that version"},
	} {
		put := startProgram(t, dir, natsBinary(t), "-s", url, "kv", "put", "weir_config", "schema", tt.record)
		if put.exit(t) != 0 {
			t.Fatal(put.output())
		}
		for _, args := range []string{
			"work-pool ls", "deployment run x", "work-pool create other --type process", "server start --http-listen off",
			"worker start --pool dev --state-dir " + t.TempDir(),
		} {
			got := weir(t, append([]string{"-s", url}, strings.Fields(args)...)...)
			if got.code != exitNoConnection || !strings.Contains(got.stderr, tt.says) {
				t.Errorf("weir %s: exit code %d, want %d; want %q in %s", args, got.code, exitNoConnection, tt.says, got.stderr)
			}
		}
	}
	first.signal(t, syscall.SIGTERM)
	first.exit(t)
	again := start(t, dir, "server", "start", "--data", filepath.Join(dir, "data"), "--nats-listen", address, "--http-listen", "off")
	if code := again.exit(t); code != exitNoConnection || !strings.Contains(again.output(), "still at v0") {
		t.Errorf("server start on such data: exit code %d, want %d:\n%s", code, exitNoConnection, again.output())
	}
}
