package server

import "testing"

// EndJetStream does what NATS does to itself when the disk is full.
func EndJetStream(t *testing.T, s *Server) {
	t.Helper()
	if err := s.running().ShutdownJetStream(); err != nil {
		t.Fatal(err)
	}
}
