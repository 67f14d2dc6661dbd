package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/natscontext"
)

// MinServer is the oldest nats-server that has all Weir needs: message schedules (ADR-51) and their time zones.
const MinServer = "2.14.0"

// DefaultURL is where weir up listens.
const DefaultURL = "nats://127.0.0.1:4222"

// Config says how to reach NATS. Its fields are those of the nats CLI, found in the same flags, variables and contexts.
type Config struct {
	Name     string // connection name, for those who look at the server
	Server   string // URLs, comma separated
	Context  string // NATS context; empty: the selected one, where neither Server nor anything else is given
	Creds    string // file
	NKey     string // file with a seed
	User     string // user, or token when Password is empty
	Password string
	Token    string
	TLSCert  string // file
	TLSKey   string // file
	TLSCA    string // file
	TLSFirst bool
	Inbox    string        // inbox prefix
	Domain   string        // JetStream domain
	Timeout  time.Duration // for connecting and for each request; 0: 5 s
	Patient  bool          // keep trying to connect, rather than fail at the first try; nothing is checked
	Later    bool          // fail at the first try, and leave [Conn.Check] to the caller, who can wait for a NATS that goes away again
	Logger   *slog.Logger  // what happens to the connection; nil: nothing is logged
}

// Conn is a connection to the NATS that holds the pools.
type Conn struct {
	NC      *nats.Conn
	JS      jetstream.JetStream
	prefix  string // of the JetStream API's subjects, with its last dot
	timeout time.Duration
	url     string

	buckets sync.Map // bucket's name to its jetstream.KeyValue: looking one up is a request
	locks   sync.Map // a lock's key to a channel of one value, which whoever has it or asks for it has put there
}

// bucket returns a handle on a KV bucket.
func (c *Conn) bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	if kv, ok := c.buckets.Load(name); ok {
		return kv.(jetstream.KeyValue), nil
	}
	kv, err := c.JS.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: %s has no bucket %s: %w; create a work pool, or run: weir up", ErrUnavailable, c.url, name, ErrNotSetUp)
	} else if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, unavailable(c.url, err))
	}
	c.buckets.Store(name, kv)
	return kv, nil
}

// Connect reaches NATS the way the nats CLI does: flag, environment, context, default. The end of ctx ends the attempt. The caller
// closes the connection.
func Connect(ctx context.Context, c Config) (*Conn, error) {
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	var (
		nc     *nats.Conn
		domain = c.Domain
		prefix string
		url    = cmp.Or(c.Server, DefaultURL)
	)
	if c.useContext() {
		var settings natscontext.Settings
		nc, err = connectUntil(ctx, func() (nc *nats.Conn, err error) {
			nc, settings, err = natscontext.Connect(c.Context, opts...)
			return nc, err
		})
		if errors.Is(err, errConnectEnded) {
			return nil, err
		}
		domain, prefix, url = cmp.Or(domain, settings.JSDomain), settings.JSAPIPrefix, cmp.Or(settings.URL, url)
		if err != nil && nc == nil && settings.URL == "" && !errors.Is(err, nats.ErrNoServers) {
			return nil, fmt.Errorf("%w: NATS context %q: %w", ErrUnavailable, cmp.Or(c.Context, "selected"), err)
		}
	} else {
		nc, err = connectUntil(ctx, func() (*nats.Conn, error) { return nats.Connect(url, opts...) })
	}
	if errors.Is(err, errConnectEnded) {
		return nil, err
	} else if err != nil {
		if err = unavailable(redact(url), err); !errors.Is(err, ErrUnavailable) { // an address that is none, a name that nobody knows, …
			err = fmt.Errorf("%w: no connection to %s: %w; name another with --server", ErrUnavailable, redact(url), err)
		}
		return nil, err
	}
	conn, err := Open(nc, domain, prefix)
	if err != nil {
		nc.Close()
		return nil, err
	}
	conn.url = redact(url)
	if c.Timeout > 0 {
		conn.timeout = c.Timeout
	}
	if !c.Patient && !c.Later {
		if err := conn.Check(ctx); err != nil {
			nc.Close()
			return nil, err
		}
	}
	return conn, nil
}

// connectUntil connects, which nats.go does not end with a context, until ctx ends. What comes of it later is closed.
func connectUntil(ctx context.Context, connect func() (*nats.Conn, error)) (*nats.Conn, error) {
	type answer struct {
		nc  *nats.Conn
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		nc, err := connect()
		answers <- answer{nc, err}
	}()
	select {
	case a := <-answers:
		return a.nc, a.err
	case <-ctx.Done():
		go func() {
			if a := <-answers; a.nc != nil {
				a.nc.Close()
			}
		}()
		return nil, fmt.Errorf("%w: %w", errConnectEnded, ctx.Err())
	}
}

var errConnectEnded = errors.New("connect to NATS")

// useContext tells whether a NATS context decides: one is named, or one is selected and nothing else says where to go.
func (c Config) useContext() bool {
	if c.Context != "" {
		return true
	}
	if c.Server != "" || c.Creds != "" || c.NKey != "" || c.User != "" || c.Token != "" {
		return false
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return false
	}
	dir := cmp.Or(os.Getenv("XDG_CONFIG_HOME"), home+"/.config")
	b, err := os.ReadFile(dir + "/nats/context.txt")
	return err == nil && strings.TrimSpace(string(b)) != ""
}

// Open uses a connection that exists, such as one to a server in this process.
func Open(nc *nats.Conn, domain, prefix string) (*Conn, error) {
	c := &Conn{NC: nc, timeout: 5 * time.Second, prefix: "$JS.API.", url: redact(nc.ConnectedUrl())}
	opts := []jetstream.JetStreamOpt{jetstream.WithPublishAsyncTimeout(10 * time.Second)}
	var err error
	switch {
	case prefix != "":
		c.prefix = strings.TrimSuffix(prefix, ".") + "."
		c.JS, err = jetstream.NewWithAPIPrefix(nc, prefix, opts...)
	case domain != "":
		c.prefix = "$JS." + domain + ".API."
		c.JS, err = jetstream.NewWithDomain(nc, domain, opts...)
	default:
		c.JS, err = jetstream.New(nc, opts...)
	}
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return c, nil
}

// URL is where the connection goes, without user and password.
func (c *Conn) URL() string { return c.url }

// Close ends the connection at once.
func (c *Conn) Close() { c.NC.Close() }

// Check says in one sentence why this server cannot serve Weir, or not this program: it is too old, has no JetStream, or was set
// up for another major version of the schemas.
func (c *Conn) Check(ctx context.Context) error {
	if v := c.NC.ConnectedServerVersion(); v != "" && older(v, MinServer) { // without a connection there is none
		return fmt.Errorf("%w: the nats-server at %s is %s and Weir needs %s or later (it has the message schedules that pools use); upgrade it, or run: weir up",
			ErrUnavailable, c.url, v, MinServer)
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if _, err := c.JS.AccountInfo(ctx); err != nil {
		return unavailable(c.url, err)
	}
	return c.checkSchema(ctx)
}

// bound limits ctx to the connection's timeout.
func (c *Conn) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.timeout)
}

func (c Config) options() ([]nats.Option, error) {
	timeout := cmp.Or(c.Timeout, 5*time.Second)
	opts := []nats.Option{
		nats.Name(cmp.Or(c.Name, "weir")), nats.Timeout(timeout), nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.PingInterval(3 * time.Second), nats.MaxPingsOutstanding(2), nats.IgnoreAuthErrorAbort(),
	}
	if c.Patient {
		opts = append(opts, nats.RetryOnFailedConnect(true))
	}
	if c.Logger != nil {
		opts = append(opts, c.handlers()...)
	} else {
		opts = append(opts, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	}
	switch {
	case c.Creds != "":
		opts = append(opts, nats.UserCredentials(c.Creds))
	case c.NKey != "":
		o, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return nil, fmt.Errorf("%w: read nkey %s: %w", ErrUnavailable, c.NKey, err)
		}
		opts = append(opts, o)
	case c.Token != "":
		opts = append(opts, nats.Token(c.Token))
	case c.User != "" && c.Password == "":
		opts = append(opts, nats.Token(c.User)) // as the nats CLI reads it
	case c.User != "":
		opts = append(opts, nats.UserInfo(c.User, c.Password))
	}
	if c.TLSCert != "" || c.TLSKey != "" {
		opts = append(opts, nats.ClientCert(c.TLSCert, c.TLSKey))
	}
	if c.TLSCA != "" {
		opts = append(opts, nats.RootCAs(c.TLSCA))
	}
	if c.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	if c.Inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.Inbox))
	}
	return opts, nil
}

func (c Config) handlers() []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil && !nc.IsClosed() {
				c.Logger.Warn("connection to NATS lost, trying again", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { c.Logger.Info("connected to NATS again", "server", redact(nc.ConnectedUrl())) }),
		nats.ConnectHandler(func(nc *nats.Conn) { c.Logger.Debug("connected to NATS", "server", redact(nc.ConnectedUrl())) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			c.Logger.Warn("NATS reports an error", "err", err)
		}),
	}
}

// redact removes user and password from a URL or a list of them.
func redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, u := range parts {
		if at := strings.LastIndexByte(u, '@'); at >= 0 {
			scheme, _, ok := strings.Cut(u, "://")
			if !ok {
				parts[i] = u[at+1:]
				continue
			}
			parts[i] = scheme + "://" + u[at+1:]
		}
	}
	return strings.Join(parts, ",")
}

// older compares versions of the form 2.15.2 or 2.15.0-dev.
func older(v, than string) bool {
	var a, b [3]int
	_, _ = fmt.Sscanf(v, "%d.%d.%d", &a[0], &a[1], &a[2])
	_, _ = fmt.Sscanf(than, "%d.%d.%d", &b[0], &b[1], &b[2])
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
