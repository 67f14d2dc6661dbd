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

	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

// defaultData is where the server keeps its data: beside the project, so that ls shows it and rm -r ends it.
const defaultData = ".weir"

func serverCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "server", Usage: "run the server alone",
		Subcommands: []*cli.Command{{
			Name: "start", Usage: "run NATS with JetStream and the health endpoints, without workers", Flags: serverFlags(),
			Action: func(c *cli.Context) error {
				if _, err := arguments(c); err != nil {
					return err
				}
				drain, _, release := e.stopping(c.Context)
				defer release()
				return serve(drain, e, readServerConfig(c, e.logger(e.level())))
			},
		}},
	}
}

// serverFlags are those that up and server start share.
func serverFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "data", Usage: "`DIR` for everything that must survive a restart", Value: defaultData},
		&cli.StringFlag{Name: "nats-listen", Usage: "`HOST:PORT` for NATS; port 0 takes a free one", Value: server.DefaultNATSListen},
		&cli.StringFlag{Name: "http-listen", Usage: "`HOST:PORT` for the health endpoints; port 0 takes a free one, off means none", Value: server.DefaultHTTPListen},
		&cli.StringFlag{Name: "sync", Usage: "how often NATS syncs its files: `always` (power loss loses nothing, ten times slower) or a duration (default: 2m)"},
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
func startServer(ctx context.Context, e *env, cfg server.Config) (*server.Server, *streams.Conn, error) {
	wait := e.startProgress("starting NATS")
	defer wait.end()
	srv, err := server.Start(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	conn, err := connectInProcess(srv, "weir server")
	if err == nil {
		err = conn.Setup(ctx, 1)
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

func stopServer(srv *server.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return srv.Stop(ctx)
}

// connectInProcess needs no port.
func connectInProcess(srv *server.Server, name string) (*streams.Conn, error) {
	nc, err := nats.Connect("", srv.InProcess(), nats.Name(name), nats.MaxReconnects(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
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

func serve(ctx context.Context, e *env, cfg server.Config) error {
	srv, conn, err := startServer(ctx, e, cfg)
	if err != nil {
		return err
	}
	f, err := serverFacts(srv, cfg)
	if err != nil {
		return errors.Join(err, stopServer(srv))
	}
	fmt.Fprintln(e.stdout, e.paint(e.stdoutTTY, green, "Weir's server is ready."))
	if err := e.printFacts(f); err != nil {
		return errors.Join(err, stopServer(srv))
	}
	fmt.Fprintf(e.stdout, "\nNext, in another terminal:\n%s  weir work-pool create development --type process\n  weir worker start --pool development\n\nCtrl-C stops it.\n", exportURL(srv))
	select {
	case <-ctx.Done():
		err = nil
	case <-srv.Done():
		err = errors.New("the embedded NATS server stopped by itself; its log lines above say why")
	}
	conn.Close()
	return errors.Join(err, stopServer(srv))
}

func serverFacts(srv *server.Server, cfg server.Config) (facts, error) {
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return nil, err
	}
	var f facts
	f.add("  NATS", srv.URL())
	if srv.HTTPAddr() != "" {
		f.add("  Health", "http://"+srv.HTTPAddr()+"/readyz")
	}
	f.add("  Data", data)
	return f, nil
}

// exportURL is the line that makes weir and nats find a server that is not where both look by themselves.
func exportURL(srv *server.Server) string {
	if srv.URL() == streams.DefaultURL {
		return ""
	}
	return "  export NATS_URL=" + srv.URL() + "\n"
}
