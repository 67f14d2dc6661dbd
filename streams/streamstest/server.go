// Package streamstest gives tests a real NATS server with JetStream, in the test's own process.
package streamstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/streams"
)

// Server starts a NATS server without a port, which stores in t.TempDir. It is stopped when the test ends.
func Server(t testing.TB) *server.Server {
	t.Helper()
	return start(t, &server.Options{DontListen: true})
}

// Listen starts a NATS server on a free loopback port, for tests that cut the connection.
func Listen(t testing.TB) *server.Server {
	t.Helper()
	return start(t, &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT})
}

func start(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	o.JetStream, o.StoreDir, o.NoLog, o.NoSigs = true, t.TempDir(), true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("make a NATS server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready after 10 s")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

// Connect starts a server, connects to it and sets up what all pools share.
func Connect(t testing.TB) *streams.Conn {
	t.Helper()
	c := Dial(t, Server(t))
	if err := c.Setup(t.Context(), 1); err != nil {
		t.Fatalf("set up: %v", err)
	}
	return c
}

// Dial connects to a server in this process.
func Dial(t testing.TB, s *server.Server) *streams.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatalf("connect to the NATS server: %v", err)
	}
	t.Cleanup(nc.Close)
	c, err := streams.Open(nc, "", "")
	if err != nil {
		t.Fatalf("open JetStream: %v", err)
	}
	return c
}
