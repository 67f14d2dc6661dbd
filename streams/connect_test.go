package streams_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/weir-run/weir/streams"
)

// listen starts a NATS server with o on a free loopback port.
func listen(t *testing.T, o server.Options) string {
	t.Helper()
	o.Host, o.Port, o.StoreDir, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, t.TempDir(), true, true
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready after 10 s")
	}
	return "nats://" + s.Addr().String()
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConnect_takesWhatTheNATSCommandLineTakes(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	open := listen(t, server.Options{JetStream: true})
	user := listen(t, server.Options{JetStream: true, Username: "ada", Password: "secret"})
	token := listen(t, server.Options{JetStream: true, Authorization: "t0ken"})
	nkey := listen(t, server.Options{JetStream: true, Nkeys: []*server.NkeyUser{{Nkey: public}}})

	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	key := write(t, filepath.Join(home, "user.nk"), string(seed))
	write(t, filepath.Join(home, "nats/context/prod.json"), fmt.Sprintf(`{"url": %q, "user": "ada", "password": "secret"}`, user))
	write(t, filepath.Join(home, "nats/context/keyed.json"), fmt.Sprintf(`{"url": %q, "nkey": %q}`, nkey, key))
	write(t, filepath.Join(home, "nats/context.txt"), "prod")

	for _, tc := range []struct {
		name   string
		config streams.Config
		ok     bool
	}{
		{"a server", streams.Config{Server: open}, true},
		{"several servers, the first of them away", streams.Config{Server: "nats://127.0.0.1:1," + open}, true},
		{"user and password", streams.Config{Server: user, User: "ada", Password: "secret"}, true},
		{"user and password in the URL", streams.Config{Server: strings.Replace(user, "//", "//ada:secret@", 1)}, true},
		{"a wrong password", streams.Config{Server: user, User: "ada", Password: "guess"}, false},
		{"no password", streams.Config{Server: user}, false},
		{"a token", streams.Config{Server: token, Token: "t0ken"}, true},
		{"a token as user", streams.Config{Server: token, User: "t0ken"}, true},
		{"an nkey", streams.Config{Server: nkey, NKey: key}, true},
		{"an nkey that is not there", streams.Config{Server: nkey, NKey: key + "x"}, false},
		{"the selected context", streams.Config{}, true},
		{"a named context", streams.Config{Context: "keyed"}, true},
		{"a context that does not exist", streams.Config{Context: "staging"}, false},
		{"nothing there", streams.Config{Server: "nats://127.0.0.1:1"}, false},
		{"a host that nobody knows", streams.Config{Server: "nats://no-such-host.invalid:4222"}, false},
		{"a port that is none", streams.Config{Server: "nats://127.0.0.1:99999"}, false},
		{"an address that is none", streams.Config{Server: ":::"}, false},
		{"TLS where there is none", streams.Config{Server: strings.Replace(open, "nats://", "tls://", 1)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := streams.Connect(t.Context(), tc.config)
			if err == nil {
				c.Close()
			}
			if (err == nil) != tc.ok {
				t.Errorf("connect: got %v, want success %v", err, tc.ok)
			}
			if err != nil && !errors.Is(err, streams.ErrUnavailable) {
				t.Errorf("connect: got %v, which is not ErrUnavailable", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells a password: %v", err)
			}
		})
	}
}

func TestConnect_endsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if c, err := silent.Accept(); err == nil { // and then says nothing
			defer c.Close()
			cancel()
			<-t.Context().Done()
		}
	}()
	if _, err := streams.Connect(ctx, streams.Config{Server: "nats://" + silent.Addr().String(), Timeout: time.Minute}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

func TestConnect_saysThatAServerHasNoJetStream(t *testing.T) {
	url := listen(t, server.Options{})
	_, err := streams.Connect(t.Context(), streams.Config{Server: url})
	if !errors.Is(err, streams.ErrUnavailable) || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("connect: got %v, want ErrUnavailable that names JetStream", err)
	}
}
