package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/weir-run/weir/server"
)

func TestHealth_answersJSON(t *testing.T) {
	s := start(t, config(t.TempDir()))
	ok := server.Health{Status: "ok", Version: "1.2.3", NATS: natsserver.VERSION}
	for _, c := range []struct {
		method, path, host string
		status             int
		want               server.Health
	}{
		{"GET", "/healthz", "", 200, ok},
		{"GET", "/readyz", "", 200, ok},
		{"GET", "/readyz", "localhost:4280", 200, ok},
		{"GET", "/readyz", "127.0.0.1", 200, ok},
		{"GET", "/readyz", "[::1]", 200, ok},
		{"HEAD", "/readyz", "", 200, server.Health{}},
		{"GET", "/", "", 404, server.Health{Error: "nothing at GET /; there are GET /healthz and GET /readyz"}},
		{"POST", "/readyz", "", 404, server.Health{Error: "nothing at POST /readyz; there are GET /healthz and GET /readyz"}},
		{"GET", "/readyz", "evil.example", 421, server.Health{Error: `host "evil.example" is not this machine; ask for localhost or 127.0.0.1`}},
		{"GET", "/readyz", "localhost.evil.example:80", 421, server.Health{
			Error: `host "localhost.evil.example:80" is not this machine; ask for localhost or 127.0.0.1`,
		}},
	} {
		t.Run(c.method+" "+c.host+c.path, func(t *testing.T) {
			status, got := ask(t, s, c.method, c.path, c.host)
			if status != c.status {
				t.Errorf("got status %d, want %d", status, c.status)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHealth_readyMeansJetStreamAnswers(t *testing.T) {
	cfg := config(t.TempDir())
	s := start(t, cfg)
	server.EndJetStream(t, s)
	if status, got := ask(t, s, "GET", "/readyz", ""); status != 503 || got.Status != "unavailable" || got.Error == "" {
		t.Errorf("got %d %+v without JetStream, want 503 and a reason", status, got)
	}
	if status, _ := ask(t, s, "GET", "/healthz", ""); status != 200 {
		t.Errorf("got %d from /healthz, want 200: the process lives", status)
	}
}

func TestHealth_canBeOff(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.HTTPListen = "off"
	if got := start(t, cfg).HTTPAddr(); got != "" {
		t.Errorf("got HTTP on %s, want none", got)
	}
}

func TestStop_endsHTTP(t *testing.T) {
	s := start(t, config(t.TempDir()))
	url := "http://" + s.HTTPAddr() + "/healthz"
	stop(t, s)
	req, err := http.NewRequestWithContext(context.Background(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
		res.Body.Close()
		t.Errorf("got %s after Stop, want a refused connection", res.Status)
	}
}

func ask(t *testing.T, s *server.Server, method, path, host string) (int, server.Health) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.HTTPAddr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Close = true // no idle connections, which would count as leaked
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("got Content-Type %q, want application/json", got)
	}
	var body server.Health
	if method != "HEAD" {
		if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
			t.Fatalf("answer is no JSON: %v", err)
		}
	}
	return res.StatusCode, body
}
