package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/weir-run/weir/server"
)

// childData, when set, makes the test binary a server on that directory, for the tests that kill one.
const childData = "WEIR_SERVER_TEST_DATA"

func TestMain(m *testing.M) {
	if push := os.Getenv(childPush); push != "" {
		os.Exit(pushChild(push))
	}
	if data := os.Getenv(childData); data != "" {
		os.Exit(child(data))
	}
	// NATS waits a while for the answer to a request of its own, also when it is shut down.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*stream).trySetupSourceConsumer.func3"))
}

func child(data string) int {
	s, err := server.Start(context.Background(), server.Config{Data: data, NATSListen: "127.0.0.1:0", HTTPListen: "off"})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println(s.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test has gone
	return 0
}

func config(data string) server.Config {
	return server.Config{
		Data: data, NATSListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Version: "1.2.3",
		Logger: slog.New(slog.DiscardHandler),
	}
}

func start(t *testing.T, cfg server.Config) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *server.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func connect(t *testing.T, url string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// store publishes one message into a stream of its own.
func store(t *testing.T, js jetstream.JetStream, body string) {
	t.Helper()
	cfg := jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}, Storage: jetstream.FileStorage}
	if _, err := js.CreateOrUpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "kept", []byte(body)); err != nil {
		t.Fatal(err)
	}
}

func stored(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	stream, err := js.Stream(t.Context(), "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	return string(msg.Data)
}

func TestStart_servesOverSocketAndInProcess(t *testing.T) {
	s := start(t, config(t.TempDir()))
	store(t, connect(t, s.URL()), "hello")
	if got := stored(t, connect(t, "", s.InProcess())); got != "hello" {
		t.Errorf("got %q in process, want what the socket stored, %q", got, "hello")
	}
}

func TestStop_restartKeepsMessages(t *testing.T) {
	cfg := config(filepath.Join(t.TempDir(), "not", "there", "yet"))
	s := start(t, cfg)
	store(t, connect(t, s.URL()), "before")
	stop(t, s)
	select {
	case <-s.Done():
	default:
		t.Error("Done is open after Stop")
	}
	if got := stored(t, connect(t, start(t, cfg).URL())); got != "before" {
		t.Errorf("got %q after the restart, want %q", got, "before")
	}
}

func TestStart_afterKillKeepsMessages(t *testing.T) {
	data := t.TempDir()
	url, kill := startChild(t, data)
	store(t, connect(t, url), "before the kill")
	kill()
	if got := stored(t, connect(t, start(t, config(data)).URL())); got != "before the kill" {
		t.Errorf("got %q after the kill, want %q", got, "before the kill")
	}
}

func TestStart_refusesDataOfAnotherProcessAndNamesIt(t *testing.T) {
	data := t.TempDir()
	_, kill := startChild(t, data)
	defer kill()
	_, err := server.Start(t.Context(), config(data))
	pid, _ := os.ReadFile(filepath.Join(data, "lock"))
	refused(t, err, server.ErrUnavailable, data, "in use by another weir", strings.TrimSpace(string(pid)), "--data")
}

func TestStart_refusesDataOfAnotherServerInThisProcess(t *testing.T) {
	cfg := config(t.TempDir())
	start(t, cfg)
	_, err := server.Start(t.Context(), cfg)
	refused(t, err, server.ErrUnavailable, cfg.Data, fmt.Sprint(os.Getpid()))
}

func TestStart_refusesTakenPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, flag := range []string{"--nats-listen", "--http-listen"} {
		t.Run(flag, func(t *testing.T) {
			cfg := config(t.TempDir())
			if flag == "--nats-listen" {
				cfg.NATSListen = taken.Addr().String()
			} else {
				cfg.HTTPListen = taken.Addr().String()
			}
			_, err := server.Start(t.Context(), cfg)
			refused(t, err, server.ErrUnavailable, taken.Addr().String(), flag+" 127.0.0.1:0")
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("got %v, want the cause kept", err)
			}
			if files, _ := os.ReadDir(cfg.Data); len(files) > 0 {
				t.Errorf("data directory has %v, want nothing touched", files)
			}
		})
	}
}

func TestStart_refusesUnusableDataDirectories(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"a file":          file,
		"under a file":    filepath.Join(file, "data"),
		"not writable":    "/proc/weir",
		"no such device":  "/dev/null/weir",
		"writable by few": "/proc/self",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := server.Start(t.Context(), config(data))
			refused(t, err, server.ErrUnavailable, data, "--data")
		})
	}
}

func TestStart_refusesSettingsThatCannotBeMeant(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*server.Config)
		kind error
		says string
	}{
		"no port":          {func(c *server.Config) { c.NATSListen = "localhost" }, server.ErrConfig, "--nats-listen"},
		"port too high":    {func(c *server.Config) { c.NATSListen = "127.0.0.1:70000" }, server.ErrConfig, "70000"},
		"named port":       {func(c *server.Config) { c.HTTPListen = "127.0.0.1:http" }, server.ErrConfig, "--http-listen"},
		"every interface":  {func(c *server.Config) { c.NATSListen = "0.0.0.0:0" }, server.ErrExposed, "--allow-remote"},
		"every interface6": {func(c *server.Config) { c.NATSListen = "[::]:0" }, server.ErrExposed, "--allow-remote"},
		"any host":         {func(c *server.Config) { c.HTTPListen = ":4280" }, server.ErrExposed, "--http-listen"},
		"no such address":  {func(c *server.Config) { c.NATSListen, c.AllowRemote = "192.0.2.1:4222", true }, server.ErrUnavailable, "192.0.2.1"},
		"sync":             {func(c *server.Config) { c.Sync = "often" }, server.ErrConfig, "often"},
		"negative sync":    {func(c *server.Config) { c.Sync = "-1s" }, server.ErrConfig, "-1s"},
		"no data":          {func(c *server.Config) { c.Data = "" }, server.ErrConfig, "--data"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t.TempDir())
			c.set(&cfg)
			_, err := server.Start(t.Context(), cfg)
			refused(t, err, c.kind, c.says)
		})
	}
}

func TestStart_listensForOthersWhenAllowed(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.NATSListen, cfg.AllowRemote, cfg.Sync = "0.0.0.0:0", true, "always"
	s := start(t, cfg)
	if !strings.HasPrefix(s.URL(), "nats://127.0.0.1:") {
		t.Errorf("got URL %s, want one that this machine can dial", s.URL())
	}
	store(t, connect(t, s.URL()), "synced")
}

func TestStart_endedContextLeavesNothingBehind(t *testing.T) {
	cfg := config(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := server.Start(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	start(t, cfg) // the directory is free
}

// refused checks that err is one sentence of that kind, with all the words.
func refused(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if _, ok := errors.AsType[*server.StartError](err); !ok || !errors.Is(err, kind) {
		t.Fatalf("got %v, want a StartError that is %v", err, kind)
	}
	for _, w := range append(words, "") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %q, want %q in it", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q, want one line", err)
	}
}

// startChild runs a server in a process of its own. kill ends it without a warning, and waits for it.
func startChild(t *testing.T, data string) (url string, kill func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childData+"="+data)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdin.Close()
	}
	t.Cleanup(kill)
	if _, err := fmt.Fscanln(stdout, &url); err != nil || !strings.HasPrefix(url, "nats://") {
		t.Fatalf("child server said %q (%v), want its URL", url, err)
	}
	return url, kill
}
