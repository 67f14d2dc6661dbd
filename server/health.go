package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// readyTimeout bounds one readiness check. Kubernetes gives a probe 1 s unless told otherwise.
const readyTimeout = 800 * time.Millisecond

// Health is what the health endpoints answer.
type Health struct {
	Status  string `json:"status"`          // "ok" or "unavailable"
	Error   string `json:"error,omitempty"` // why not ok, for people
	Version string `json:"version,omitempty"`
	NATS    string `json:"nats"` // version of the NATS server
}

// health serves /healthz (the process lives) and /readyz (JetStream answers a request that goes through the server).
func (s *Server) health(version string) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, err error) {
		h := Health{Status: "ok", Version: version, NATS: s.conn.ConnectedServerVersion()}
		status := http.StatusOK
		if err != nil {
			h.Status, h.Error, status = "unavailable", err.Error(), http.StatusServiceUnavailable
		}
		writeJSON(w, status, h)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, s.ready(r.Context())) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusNotFound, problem{Error: fmt.Sprintf("nothing at %s %s; there are GET /healthz and GET /readyz", r.Method, r.URL.Path)})
	})
	return mux
}

// ready asks JetStream for its account, and whether it can write. A disk that filled up, for one, ends that while NATS goes on.
func (s *Server) ready(ctx context.Context) error {
	if ns := s.running(); ns != nil {
		if why := storeFailure(ns); why != "" {
			return fmt.Errorf("NATS stores nothing: %s", why)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	js, err := jetstream.New(s.conn)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("ask JetStream: %w", err)
	}
	return nil
}

// problem is the body of every refusal.
type problem struct {
	Error string `json:"error"`
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only when the client has gone
}

// An httpServer is one listener and what serves it.
type httpServer struct {
	addr   string
	server *http.Server
	served chan struct{}
}

// serveHTTP answers on l, which it closes, until stop.
func serveHTTP(l net.Listener, handler http.Handler, log *slog.Logger) *httpServer {
	if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil && loopbackHost(host) {
		handler = loopbackOnly(handler)
	}
	h := &httpServer{
		addr:   l.Addr().String(),
		served: make(chan struct{}),
		server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second, // a slow client holds a connection, not for ever
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      10 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(log.With("from", "http").Handler(), slog.LevelDebug),
		},
	}
	go func() {
		defer close(h.served)
		if err := h.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("HTTP stopped", "addr", h.addr, "err", err)
		}
	}()
	return h
}

// stop lets requests in flight finish, until ctx ends.
func (h *httpServer) stop(ctx context.Context) error {
	err := h.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop HTTP on %s: %w", h.addr, err), h.server.Close())
	}
	<-h.served
	return err
}

// loopbackOnly refuses requests whose Host is a name other than this machine's own. A web page can make its own name resolve to 127.0.0.1
// (DNS rebinding) and would then read answers as if they were its own.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host // without a port
		}
		if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
			host = host[1 : len(host)-1]
		}
		if !loopbackHost(host) {
			writeJSON(w, http.StatusMisdirectedRequest, problem{Error: fmt.Sprintf("host %q is not this machine; ask for localhost or 127.0.0.1", r.Host)})
			return
		}
		next.ServeHTTP(w, r)
	})
}
