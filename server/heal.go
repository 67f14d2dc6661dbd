package server

import (
	"fmt"
	"net"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// lookEvery is how often the store is looked at. What it costs grows with the number of streams, and is some microseconds.
const lookEvery = 2 * time.Second

// heal looks after NATS's store until the server is stopped. A stream that could not write once, on a full disk, takes nothing more
// until NATS is started again, also when there is room: heal says what is wrong, waits for room and starts it again.
// Connections find it where it was.
func (s *Server) heal(p plan) {
	defer close(s.healed)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	said := false
	for {
		select {
		case <-s.stopping:
			return
		case <-s.done:
			return
		case <-look.C:
		}
		why := storeFailure(s.running())
		if why == "" {
			continue
		}
		if !said {
			p.log.Error("NATS cannot write to its data directory and stores nothing: runs wait and are not lost; free some disk, and it goes on by itself",
				"data", s.data.path, "err", why)
			said = true
		}
		if free, err := freeBytes(s.data.path); err != nil || enough(s.data.path, free) != nil {
			continue
		}
		if err := s.restart(p); err != nil {
			p.log.Error("NATS does not start again", "data", s.data.path, "err", err)
			close(s.done)
			return
		}
		p.log.Info("there is room in the data directory again: NATS has been started anew", "data", s.data.path)
		said = false
	}
}

// storeFailure says why NATS stores nothing; empty: nothing is wrong. NATS has no code for it: its health check says so in words.
func storeFailure(ns *natsserver.Server) string {
	if !ns.JetStreamEnabled() {
		return "JetStream has ended"
	}
	if h := ns.Healthz(&natsserver.HealthzOptions{}); strings.Contains(h.Error, "write error") {
		return h.Error
	}
	return ""
}

// restart ends NATS and starts it on the same address and directory.
func (s *Server) restart(p plan) error {
	old := s.running()
	if addr, ok := old.Addr().(*net.TCPAddr); ok {
		p.nats.port = addr.Port
	}
	s.mu.Lock()
	s.restarting = true
	s.mu.Unlock()
	old.Shutdown()
	old.WaitForShutdown()
	ns, err := startNATS(p, s.data)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.nats, s.restarting = ns, false
	s.mu.Unlock()
	go s.watchEnd(ns)
	return nil
}

// watchEnd closes done when NATS has ended, unless it is being started again.
func (s *Server) watchEnd(ns *natsserver.Server) {
	ns.WaitForShutdown()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nats == ns && !s.restarting {
		close(s.done)
	}
}

// running is the NATS server that serves now.
func (s *Server) running() *natsserver.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nats
}

// InProcessConn is for nats.go: a connection without a socket, to the NATS server that runs now.
func (s *Server) InProcessConn() (net.Conn, error) {
	ns := s.running()
	if ns == nil {
		return nil, fmt.Errorf("connect in process: NATS runs elsewhere")
	}
	return ns.InProcessConn()
}
