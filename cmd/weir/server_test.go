package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

func TestServerStart_refusesSettingsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"server start --keep-events 59m":                       "--keep-events is 59m0s; keep them for at least 1h0m0s",
		"server start --keep-runs 0s":                          "--keep-runs is 0s",
		"up --keep-logs -1h":                                   "--keep-logs is -1h0m0s",
		"server start --keep-events 7days":                     "7days",
		"server start --replicas 3":                            "name the cluster with --server",
		"server start --replicas 2 --server nats://x":          "NATS agrees among 1, 3 or 5",
		"server start --replicas 0 --server nats://x":          "--replicas is 0",
		"server start --sync always --server nats://x":         "--sync is for the NATS server that this would start",
		"server start --context prod --data d":                 "--data is for the NATS server that this would start",
		"server start --nats-listen 127.0.0.1:0 -s nats://x":   "--nats-listen is for",
		"up --replicas 3":                                      "has no flag --replicas",
		"server start --sync often --nats-listen 127.0.0.1:0":  `"often"`,
		"server start --sync -10s --http-listen off --data ./": `"-10s"`,
	} {
		if got := weir(t, strings.Fields(args)...); got.code != exitUsage || !strings.Contains(got.stderr, says) {
			t.Errorf("weir %s: exit code %d, want %d; want %q in %s", args, got.code, exitUsage, says, got.stderr)
		}
	}
}

// kept is how long each stream keeps what it has.
func kept(t *testing.T, conn *streams.Conn) (ages []time.Duration) {
	t.Helper()
	for _, name := range []string{"WEIR_EVENTS", "KV_weir_runs", "WEIR_LOGS"} {
		s, err := conn.JS.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		ages = append(ages, s.CachedInfo().Config.MaxAge)
	}
	return ages
}

func TestServerStart_keepsWhatItIsToldToKeep(t *testing.T) {
	t.Parallel()
	dir, address := t.TempDir(), freeAddress(t)
	for _, tt := range []struct {
		flags string
		want  []time.Duration
	}{
		{"--keep-events 48h --keep-runs 96h --sync 10s", []time.Duration{48 * time.Hour, 96 * time.Hour, 168 * time.Hour}},
		{"", []time.Duration{48 * time.Hour, 96 * time.Hour, 168 * time.Hour}},
		{"--keep-logs 1h --keep-events 72h --sync always", []time.Duration{72 * time.Hour, 96 * time.Hour, time.Hour}},
	} {
		p := start(t, dir, append(strings.Fields("server start --http-listen off --nats-listen "+address), strings.Fields(tt.flags)...)...)
		p.await(t, "server is ready")
		if diff := cmp.Diff(tt.want, kept(t, connectTo(t, "nats://"+address))); diff != "" {
			t.Errorf("%q: events, runs, logs (-want +got):\n%s", tt.flags, diff)
		}
		p.signal(t, syscall.SIGTERM)
		if code := p.exit(t); code != exitOK {
			t.Fatalf("exit code %d:\n%s", code, p.output())
		}
	}
}

func TestServerStart_besideANATSThatRunsStartsNone(t *testing.T) {
	t.Parallel()
	url := newNATS(t)
	dir := t.TempDir()
	p := start(t, dir, "server", "start", "--server", url, "--http-listen", "127.0.0.1:0", "--keep-events", "24h", "--replicas", "1")
	p.await(t, "Ctrl-C stops it.")
	if strings.Contains(p.output(), "Data") || !strings.Contains(p.output(), url) {
		t.Errorf("got\n%s\nwant the address of that NATS and no data directory", p.output())
	}
	conn := connectTo(t, url)
	if got := kept(t, conn); got[0] != 24*time.Hour {
		t.Errorf("events are kept for %s, want 24h", got[0])
	}
	ready := regexp.MustCompile(`http://\S+/readyz`).FindString(p.output())
	answer, err := http.Get(ready)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var h server.Health
	if err := json.NewDecoder(answer.Body).Decode(&h); err != nil || answer.StatusCode != http.StatusOK || h.NATS != conn.NC.ConnectedServerVersion() {
		t.Errorf("readyz: got %s, %+v, %v", answer.Status, h, err)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, p.output())
	}
	if _, err := conn.Pools(t.Context()); err != nil {
		t.Errorf("NATS after the server's end: %v", err)
	}
}

// Who exports NATS_URL for the nats command does not mean that weir server start has nothing to start.
func TestServerStart_startsItsOwnNATSWhateverNATSURLSays(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	p := start(t, t.TempDir(), "server", "start", "--http-listen", "off", "--nats-listen", address)
	p.await(t, "server is ready")
	other := freeAddress(t)
	env := exec.Command("env", "NATS_URL=nats://"+address, weirBinary, "server", "start", "--http-listen", "off", "--nats-listen", other)
	second := startProgram(t, t.TempDir(), env.Path, env.Args[1:]...)
	second.await(t, "nats://"+other)
	second.await(t, "Data")
}

// NATS goes away at each of the requests by which weir server start sets it up: that waits, and goes on when NATS is back.
func TestServerStart_waitsForANATSThatGoesAwayAsItStarts(t *testing.T) {
	t.Parallel()
	target := strings.TrimPrefix(newNATS(t), "nats://")
	for n := 1; ; n++ {
		p := streamstest.NewProxy(t, target, 1)
		p.BlockAt(n, "PUB $")
		s := start(t, t.TempDir(), "--server", p.URL(), "--timeout", "300ms", "server", "start", "--http-listen", "off", "--keep-events", fmt.Sprintf("%dh", n))
		s.await(t, "tried again", "server is ready")
		if !strings.Contains(s.output(), "tried again") {
			if n < 10 {
				t.Errorf("it made %d requests until it was ready, want some", n-1)
			}
			return
		}
		select {
		case <-s.ended:
			t.Fatalf("at request %d it ended:\n%s", n, s.output())
		case <-time.After(1500 * time.Millisecond): // it has tried again
		}
		p.Unblock(t)
		s.await(t, "server is ready")
		s.signal(t, syscall.SIGTERM)
		if code := s.exit(t); code != exitOK {
			t.Errorf("request %d: exit code %d:\n%s", n, code, s.output())
		}
	}
}
