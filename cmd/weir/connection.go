package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/streams"
)

// globals are the flags that every command takes.
type globals struct {
	conn    streams.Config
	color   string // auto, always, never
	verbose bool
}

const connectionCategory = "Connection to NATS, as the nats command takes it"

// globalFlags are the nats CLI's own, with its variables: who knows one knows both.
func globalFlags() []cli.Flag {
	text := func(name, usage string, env ...string) *cli.StringFlag {
		return &cli.StringFlag{Name: name, Usage: usage, EnvVars: env, Category: connectionCategory}
	}
	serverFlag := text("server", "NATS server `URL`s, comma separated (default: the selected context, else "+streams.DefaultURL+")", "NATS_URL")
	serverFlag.Aliases = []string{"s"}
	return []cli.Flag{
		serverFlag,
		text("user", "user `NAME`, or a token when there is no password", "NATS_USER"),
		text("password", "`PASSWORD` of the user", "NATS_PASSWORD"),
		text("token", "`TOKEN` to authenticate with", "NATS_TOKEN"),
		text("creds", "credentials `FILE`", "NATS_CREDS"),
		text("nkey", "`FILE` with an NKEY seed", "NATS_NKEY"),
		text("tlscert", "`FILE` with the client's certificate", "NATS_CERT"),
		text("tlskey", "`FILE` with the client's key", "NATS_KEY"),
		text("tlsca", "`FILE` with the certificates to trust", "NATS_CA"),
		&cli.BoolFlag{Name: "tlsfirst", Usage: "TLS handshake before anything else", EnvVars: []string{"NATS_TLS_FIRST"}, Category: connectionCategory},
		text("context", "NATS context `NAME`", "NATS_CONTEXT"),
		text("inbox-prefix", "`PREFIX` of reply subjects", "NATS_INBOX_PREFIX"),
		text("js-domain", "JetStream `DOMAIN`", "NATS_JS_DOMAIN"),
		&cli.DurationFlag{
			Name: "timeout", Usage: "how long to wait for NATS, such as `5s`", EnvVars: []string{"NATS_TIMEOUT"}, Value: 5 * time.Second,
			Category: connectionCategory, DefaultText: "5s",
		},
		&cli.StringFlag{Name: "color", Aliases: []string{"colors"}, Usage: "`WHEN` to use colours: auto, always, never; NO_COLOR counts", Value: "auto"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say more, such as which server is used"},
		&cli.BoolFlag{Name: "version", Usage: "print the version"},
	}
}

func readGlobals(c *cli.Context) (globals, error) {
	g := globals{
		color: c.String("color"), verbose: c.Bool("verbose"),
		conn: streams.Config{
			Server: c.String("server"), User: c.String("user"), Password: c.String("password"), Token: c.String("token"),
			Creds: c.String("creds"), NKey: c.String("nkey"), TLSCert: c.String("tlscert"), TLSKey: c.String("tlskey"), TLSCA: c.String("tlsca"),
			TLSFirst: c.Bool("tlsfirst"), Context: c.String("context"), Inbox: c.String("inbox-prefix"), Domain: c.String("js-domain"),
			Timeout: c.Duration("timeout"),
		},
	}
	switch g.color {
	case "auto", "always", "never":
	default:
		return g, usagef("--color is %q; it can be auto, always or never", g.color)
	}
	if g.conn.Timeout <= 0 {
		return g, usagef("--timeout is %s; give a duration above 0, such as 5s", g.conn.Timeout)
	}
	return g, nil
}

// connect reaches NATS for one command.
func (e *env) connect(ctx context.Context) (*streams.Conn, error) {
	wait := e.startProgress("connecting to NATS")
	defer wait.end()
	cfg := e.global.conn
	cfg.Name = "weir"
	conn, err := streams.Connect(ctx, cfg)
	if err == nil && e.global.verbose {
		fmt.Fprintf(e.stderr, "connected to %s (nats-server %s)%s\n", conn.NC.ConnectedUrlRedacted(), conn.NC.ConnectedServerVersion(), contextNote(cfg))
	}
	return conn, err
}

func contextNote(c streams.Config) string {
	if c.Context == "" {
		return ""
	}
	return ", NATS context " + c.Context
}

// connected makes an Action of a command that needs NATS for as long as it lasts.
func (e *env) connected(do func(context.Context, *cli.Context, *streams.Conn) error) cli.ActionFunc {
	return e.action(func(ctx context.Context, c *cli.Context) error {
		conn, err := e.connect(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return do(ctx, c, conn)
	})
}

// again is how to run weir against the same NATS in another terminal: the start of a command to suggest.
func (e *env) again() string {
	command, c := "weir", e.global.conn
	if c.Server != "" && c.Server != streams.DefaultURL && e.getenv("NATS_URL") != c.Server && !strings.ContainsAny(c.Server, "@ ") { // a password is not repeated
		command += " --server " + c.Server
	}
	if c.Context != "" && e.getenv("NATS_CONTEXT") != c.Context {
		command += " --context " + runners.ShellQuote(c.Context)
	}
	return command
}
