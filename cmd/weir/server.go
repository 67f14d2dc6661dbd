package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

// defaultData is where the server keeps its data: beside the project, so that ls shows it and rm -r ends it.
const defaultData = ".weir"

func serverCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "server", Usage: "run the server alone",
		Subcommands: []*cli.Command{{
			Name: "start", Usage: "run NATS with JetStream and the health endpoints, without workers but those of push pools", Description: serverStartText,
			Flags: serverFlags(
				&cli.IntFlag{Name: "replicas", Usage: "with --server: `COUNT` of copies of each shared stream: 1, 3 or 5", DefaultText: "as they are, else 1"},
			),
			Action: func(c *cli.Context) error {
				if _, err := arguments(c); err != nil {
					return err
				}
				cfg, err := e.readServeConfig(c, e.logger(e.level()))
				if err != nil {
					return err
				}
				drain, _, release := e.stopping(c.Context)
				defer release()
				return serve(drain, e, cfg)
			},
		}},
	}
}

const serverStartText = `With --server or --context (before or after the command's name; NATS_URL does not count) it starts no NATS: it sets up the one that
runs there and serves the health endpoints beside it.

It executes the runs of push pools itself, and shares them with other servers of the same NATS. When it is stopped, it lets its runs go: another
server goes on with them, or it does itself when it is started again.

` + durabilityText

// durabilityText is what --sync is about. The figures are measured: docs/design.md.
const durabilityText = `What NATS has acknowledged survives any process being killed. Power loss or a kernel crash can take what was acknowledged since the last
sync of its files, by default up to two minutes; --sync always takes that away and makes a publish several times slower.`

// serverFlags are those that up and server start share.
func serverFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "data", Usage: "`DIR` for everything that must survive a restart", Value: defaultData},
		&cli.StringFlag{Name: "nats-listen", Usage: "`HOST:PORT` for NATS; port 0 takes a free one", Value: server.DefaultNATSListen},
		&cli.StringFlag{Name: "http-listen", Usage: "`HOST:PORT` for the health endpoints; port 0 takes a free one, off means none", Value: server.DefaultHTTPListen},
		&cli.StringFlag{Name: "sync", Usage: "`WHEN` NATS syncs its files to disk: always, or a duration such as 10s (default: 2m, NATS's own)"},
		&cli.DurationFlag{Name: "keep-events", Usage: "keep events for `DURATION`, such as 240h", DefaultText: "as it is, else 168h"},
		&cli.DurationFlag{Name: "keep-runs", Usage: "keep a run's last state for `DURATION`, such as 240h", DefaultText: "as it is, else 720h"},
		&cli.DurationFlag{Name: "keep-logs", Usage: "keep output for `DURATION`, such as 240h", DefaultText: "as it is, else 168h"},
		&cli.BoolFlag{Name: "allow-remote", Usage: "accept listen addresses that other machines reach; nothing asks them for a password"},
	)
}

func readServerConfig(c *cli.Context, log *slog.Logger) server.Config {
	return server.Config{
		Data: c.String("data"), NATSListen: c.String("nats-listen"), HTTPListen: c.String("http-listen"), Sync: c.String("sync"),
		AllowRemote: c.Bool("allow-remote"), Version: weirVersion(), Logger: log,
	}
}

// stopTimeout bounds the server's end.
const stopTimeout = 15 * time.Second

// startServer starts the server and makes its streams and buckets. The caller closes both, the connection first.
func startServer(ctx context.Context, e *env, cfg server.Config, settings streams.Settings) (*server.Server, *streams.Conn, error) {
	wait := e.startProgress("starting NATS")
	defer wait.end()
	srv, err := server.Start(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	conn, err := connectInProcess(srv, "weir server")
	if err == nil {
		err = setUp(ctx, conn, settings)
	}
	if err == nil && filepath.Clean(cfg.Data) == defaultData {
		err = ignoreData(cfg.Data)
	}
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, nil, errors.Join(err, stopServer(srv))
	}
	return srv, conn, nil
}

// attachServer sets up a NATS that runs elsewhere. It has to be there at first; when it goes away again, that is waited out.
func attachServer(ctx context.Context, e *env, cfg serveConfig) (*server.Server, *streams.Conn, error) {
	settings := e.global.conn
	settings.Name, settings.Later, settings.Logger = "weir server", true, cfg.server.Logger
	var conn *streams.Conn
	err := patiently(ctx, cfg.server.Logger, func() (err error) {
		conn, err = streams.Connect(ctx, settings)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if err := patiently(ctx, cfg.server.Logger, func() error { return setUp(ctx, conn, cfg.settings) }); err != nil {
		conn.Close()
		return nil, nil, err
	}
	srv, err := server.Attach(conn.NC, cfg.server)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return srv, conn, nil
}

// patiently does what a NATS cannot answer that is away for a while, or elects its leaders, until it can or ctx ends.
func patiently(ctx context.Context, log *slog.Logger, do func() error) error {
	for {
		err := do()
		if err == nil || !streams.Temporary(err) || ctx.Err() != nil {
			return err
		}
		log.Warn("NATS does not answer, or is not ready; that is tried again", "err", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// setUp makes the shared streams where they are missing, and gives them the settings.
func setUp(ctx context.Context, conn *streams.Conn, settings streams.Settings) error {
	if err := conn.Setup(ctx, settings.Replicas); err != nil {
		return err
	}
	return conn.Adjust(ctx, settings)
}

func stopServer(srv *server.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return srv.Stop(ctx)
}

// connectInProcess needs no port.
func connectInProcess(srv *server.Server, name string) (*streams.Conn, error) {
	nc, err := nats.Connect(srv.URL(), srv.InProcess(), nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	conn, err := streams.Open(nc, "", "")
	if err != nil {
		nc.Close()
		return nil, err
	}
	return conn, nil
}

// ignoreData keeps the data out of git.
func ignoreData(dir string) error {
	file := filepath.Join(dir, ".gitignore")
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(file, []byte("*\n"), 0o600); err != nil {
		return fmt.Errorf("keep the data out of git: %w", err)
	}
	return nil
}

func serve(ctx context.Context, e *env, cfg serveConfig) error {
	var (
		srv  *server.Server
		conn *streams.Conn
		err  error
	)
	if cfg.elsewhere {
		collectMore(e.getenv)
		srv, conn, err = attachServer(ctx, e, cfg)
	} else {
		srv, conn, err = startServer(ctx, e, cfg.server, cfg.settings)
	}
	if err != nil {
		return unlessTold(ctx, err)
	}
	defer conn.Close()
	f, err := serverFacts(srv, cfg)
	if err != nil {
		return errors.Join(err, stopServer(srv))
	}
	fmt.Fprintln(e.stdout, e.paint(e.stdoutTTY, green, "Weir's server is ready."))
	if err := e.printFacts(f); err != nil {
		return errors.Join(err, stopServer(srv))
	}
	endKeeping := keep(conn, cfg.server.Logger)
	endPush := e.servePush(conn, srv, cfg)
	fmt.Fprintf(e.stdout, "\nNext, in another terminal:\n%s  weir work-pool create development --type process\n  weir worker start --pool development\n\nCtrl-C stops it.\n", exportURL(srv))
	select {
	case <-ctx.Done():
		err = nil
	case <-srv.Done():
		err = errors.New("the embedded NATS server stopped by itself; its log lines above say why")
	}
	endPush()
	endKeeping()
	if !cfg.elsewhere {
		conn.Close() // before its server
	}
	return errors.Join(err, stopServer(srv))
}

// keep looks after runs that no worker looks after, until the function it returns is called.
func keep(conn *streams.Conn, log *slog.Logger) (end func()) {
	host, _ := os.Hostname()
	ctx, cancel := context.WithCancel(context.Background())
	k := consumers.NewKeeper(conn, hostName(host), poolTypes, log)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

func serverFacts(srv *server.Server, cfg serveConfig) (facts, error) {
	var f facts
	f.add("  NATS", srv.URL())
	if srv.HTTPAddr() != "" {
		f.add("  Health", "http://"+srv.HTTPAddr()+"/readyz")
	}
	if !cfg.elsewhere {
		data, err := filepath.Abs(cfg.server.Data)
		if err != nil {
			return nil, err
		}
		f.add("  Data", data)
	}
	return f, nil
}

// exportURL is the line that makes weir and nats find a server that is not where both look by themselves.
func exportURL(srv *server.Server) string {
	if srv.URL() == streams.DefaultURL {
		return ""
	}
	return "  export NATS_URL=" + srv.URL() + "\n"
}
