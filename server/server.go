package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"
	_ "time/tzdata" // cron schedules with a time zone fire inside NATS, also on machines without zone files

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Default listen addresses: NATS's own port, where every client looks first, and Weir's HTTP port beside it.
const (
	DefaultNATSListen = "127.0.0.1:4222"
	DefaultHTTPListen = "127.0.0.1:4280"
)

// Config says where a Server keeps its data and listens. Only Data is needed.
type Config struct {
	Data        string       // directory for everything that must survive a restart; created where missing
	NATSListen  string       // HOST:PORT; "" means DefaultNATSListen; port 0 takes a free one
	HTTPListen  string       // HOST:PORT; "" means DefaultHTTPListen; "off" means no HTTP
	AllowRemote bool         // accept listen addresses that other machines reach; there is no password
	Sync        string       // how often NATS syncs its files: "always" or a duration; "" means NATS's own 2m
	Version     string       // of Weir, shown by the health endpoints
	Logger      *slog.Logger // nil means slog.Default()
}

// A Server is a running NATS server and HTTP endpoint. Stop it, or the data directory stays locked until the process ends.
type Server struct {
	conn     *nats.Conn // asks for readiness only; in process, unless NATS runs elsewhere
	http     *httpServer
	data     *dataDir      // nil where NATS runs elsewhere
	done     chan struct{} // closed when NATS has ended
	stopping chan struct{} // closed when Stop begins
	healed   chan struct{} // closed when nobody looks after the store any more

	mu         sync.Mutex
	nats       *natsserver.Server // nil: NATS runs elsewhere; under mu
	restarting bool               // its end is not the server's; under mu

	stop    sync.Once
	stopErr error
}

// Start locks the data directory, starts NATS on it and returns once clients are served. With a million messages in the store that takes some
// seconds, which ctx does not cut short: NATS must finish what it recovers. ctx bounds nothing after Start has returned.
// What the machine or the configuration refuses is a *StartError.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	p, err := cfg.plan()
	if err != nil {
		return nil, err
	}
	// All that can be refused is asked before NATS touches its files.
	if err := p.nats.free(); err != nil {
		return nil, err
	}
	var listener net.Listener
	if p.http != nil {
		if listener, err = p.http.listen(); err != nil {
			return nil, err
		}
	}
	data, err := openDataDir(cfg.Data)
	if err != nil {
		return nil, errors.Join(err, closeListener(listener))
	}
	limitMemory()
	ns, err := startNATS(p, data)
	if err != nil {
		return nil, errors.Join(err, closeListener(listener), data.close())
	}
	s := &Server{nats: ns, data: data, done: make(chan struct{}), stopping: make(chan struct{}), healed: make(chan struct{})}
	go s.watchEnd(ns)
	go s.heal(p)
	if s.conn, err = nats.Connect("", s.InProcess(), nats.Name("weir server"), nats.MaxReconnects(-1)); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the embedded NATS server: %w", err), closeListener(listener), s.Stop(context.WithoutCancel(ctx)))
	}
	if listener != nil {
		s.http = serveHTTP(listener, s.health(cfg.Version), p.log)
	}
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), s.Stop(context.WithoutCancel(ctx)))
	}
	p.log.Debug("server started", "nats", s.URL(), "http", s.HTTPAddr(), "data", data.path)
	return s, nil
}

// Attach is Start for a NATS system that runs elsewhere: it serves HTTP only, and stores nothing here. nc is the caller's to
// close, after Stop.
func Attach(nc *nats.Conn, cfg Config) (*Server, error) {
	p, err := cfg.plan()
	if err != nil {
		return nil, err
	}
	s := &Server{conn: nc, done: make(chan struct{}), stopping: make(chan struct{}), healed: make(chan struct{})}
	close(s.healed)
	if p.http != nil {
		listener, err := p.http.listen()
		if err != nil {
			return nil, err
		}
		s.http = serveHTTP(listener, s.health(cfg.Version), p.log)
	}
	return s, nil
}

// URL is where NATS clients on this machine connect.
func (s *Server) URL() string {
	ns := s.running()
	if ns == nil {
		return s.conn.ConnectedUrlRedacted()
	}
	addr, ok := ns.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// InProcess makes nats.Connect use a pipe instead of a socket, to a NATS server that Start has started. The URL it is given then
// does not matter.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s) }

// HTTPAddr is the HOST:PORT that HTTP listens on; "" when it is off.
func (s *Server) HTTPAddr() string {
	if s.http == nil {
		return ""
	}
	return s.http.addr
}

// Done is closed when NATS has shut down, by Stop or by itself; one that runs elsewhere counts as shut down by Stop.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop ends HTTP, then NATS, which writes its state, and gives the data directory back. It returns when that is done or ctx ends; NATS goes on
// shutting down after that, and the directory stays locked. The first call decides: later ones wait for it and return the same.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() { s.stopErr = s.shutdown(ctx) })
	return s.stopErr
}

func (s *Server) shutdown(ctx context.Context) error {
	var errs []error
	if s.http != nil {
		errs = append(errs, s.http.stop(ctx))
	}
	close(s.stopping)
	select {
	case <-s.healed:
	case <-ctx.Done():
		return errors.Join(append(errs, fmt.Errorf("stop the embedded NATS server: %w", context.Cause(ctx)))...)
	}
	ns := s.running()
	if ns == nil {
		close(s.done)
		return errors.Join(errs...)
	}
	if s.conn != nil {
		s.conn.Close()
	}
	go ns.Shutdown() // waits for its own goroutines, without a limit
	select {
	case <-s.done:
		errs = append(errs, s.data.close())
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("stop the embedded NATS server: %w", context.Cause(ctx)))
	}
	return errors.Join(errs...)
}

// A plan is a Config that has been checked.
type plan struct {
	nats         address
	http         *address // nil: off
	syncAlways   bool
	syncInterval time.Duration // 0: NATS's own
	log          *slog.Logger
}

func (c Config) plan() (plan, error) {
	p := plan{log: c.Logger}
	if p.log == nil {
		p.log = slog.Default()
	}
	var err error
	if p.nats, err = parseAddress("--nats-listen", cmp.Or(c.NATSListen, DefaultNATSListen), c.AllowRemote); err != nil {
		return plan{}, err
	}
	if c.HTTPListen != "off" {
		a, err := parseAddress("--http-listen", cmp.Or(c.HTTPListen, DefaultHTTPListen), c.AllowRemote)
		if err != nil {
			return plan{}, err
		}
		p.http = &a
	}
	switch c.Sync {
	case "":
	case "always":
		p.syncAlways = true
	default:
		if p.syncInterval, err = time.ParseDuration(c.Sync); err != nil || p.syncInterval <= 0 {
			return plan{}, refuse(ErrConfig, err, "sync %q is neither \"always\" nor a duration above zero, such as 10s", c.Sync)
		}
	}
	return p, nil
}

func startNATS(p plan, data *dataDir) (*natsserver.Server, error) {
	port := p.nats.port
	if port == 0 {
		port = natsserver.RANDOM_PORT
	}
	ns, err := natsserver.NewServer(&natsserver.Options{
		ServerName:             "weir",
		Host:                   p.nats.host,
		Port:                   port,
		NoSigs:                 true, // signals are main's
		DisableJetStreamBanner: true,
		JetStream:              true,
		StoreDir:               filepath.Join(data.path, "nats"),
		SyncAlways:             p.syncAlways,
		SyncInterval:           p.syncInterval,
	})
	if err != nil {
		return nil, refuse(ErrConfig, err, "configure the embedded NATS server: %v", err)
	}
	log := &natsLog{log: p.log.With("from", "nats")}
	ns.SetLoggerV2(log, false, false, false)
	ns.Start() // returns when it listens, or has logged why it does not
	if ns.ReadyForConnections(readyWait) && ns.JetStreamEnabled() {
		return ns, nil
	}
	ns.Shutdown()
	ns.WaitForShutdown()
	return nil, refuse(ErrUnavailable, nil, "start the embedded NATS server on %s in %s: %s", p.nats, data.path, cmp.Or(log.fatal(), "it does not answer"))
}

// readyWait bounds the wait for a listener that Start has already opened.
const readyWait = 5 * time.Second

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}
