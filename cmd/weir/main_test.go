package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/server"
)

var update = flag.Bool("update", false, "write the golden files")

// weirBinary is the program as users have it. Workers of process pools start it too, as their supervisor.
var weirBinary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		return m.Run() // in many processes, none of which needs the program
	}
	dir, err := os.MkdirTemp("", "weir-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	weirBinary = filepath.Join(dir, "weir")
	build := exec.Command("go", "build", "-o", weirBinary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	for _, name := range []string{"NATS_URL", "NATS_CONTEXT", "NATS_CREDS", "NATS_USER", "NATS_PASSWORD", "NATS_NKEY", "NO_COLOR"} {
		os.Unsetenv(name) // the tests bring their own
	}
	// No NATS context of the one who tests, and no worker state in their home.
	os.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	os.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	return m.Run()
}

// newNATS starts an embedded server and returns its URL.
func newNATS(t testing.TB) string {
	t.Helper()
	srv, err := server.Start(t.Context(), server.Config{
		Data: t.TempDir(), NATSListen: "127.0.0.1:0", HTTPListen: "off", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stopServer(srv); err != nil {
			t.Error(err)
		}
	})
	return srv.URL()
}

// result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

// weir runs a command in this process, as run does it, without a terminal.
func weir(t testing.TB, args ...string) result {
	t.Helper()
	return weirIn(t, &env{}, args...)
}

func weirIn(t testing.TB, e *env, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	e.stdout, e.stderr = &stdout, &stderr
	if e.stdin == nil {
		e.stdin = strings.NewReader("")
	}
	if e.getenv == nil {
		e.getenv = func(string) string { return "" }
	}
	code := run(t.Context(), e, args)
	return result{stdout: stdout.String(), stderr: stderr.String(), code: code}
}

// ok fails the test unless the command succeeded, and returns its output.
func (r result) ok(t testing.TB) string {
	t.Helper()
	if r.code != exitOK {
		t.Fatalf("exit code %d, want 0\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// walk calls each for every command with its path.
func walk(commands []*cli.Command, path []string, each func(path []string, c *cli.Command)) {
	for _, c := range commands {
		p := append(slices.Clone(path), c.Name)
		each(p, c)
		walk(c.Subcommands, p, each)
	}
}

func TestCommands_haveUsageAndJSON(t *testing.T) {
	t.Parallel()
	app := newApp(&env{})
	walk(app.Commands, nil, func(path []string, c *cli.Command) {
		name := strings.Join(path, " ")
		if c.Usage == "" {
			t.Errorf("weir %s has no usage", name)
		}
		if strings.HasSuffix(c.Usage, ".") || strings.ToUpper(c.Usage[:1]) == c.Usage[:1] && !strings.HasPrefix(c.Usage, "NATS") {
			t.Errorf("weir %s: usage %q: want a lower-case phrase without a full stop", name, c.Usage)
		}
		if slices.Contains([]string{"ls", "inspect", "render", "run", "logs", "watch", "create", "update", "pause", "resume", "delete"}, c.Name) && len(c.Subcommands) == 0 {
			for _, f := range []string{"output", "o", "json", "j"} {
				if findFlag(c.Flags, f) == nil {
					t.Errorf("weir %s has no flag %s", name, dashed(f))
				}
			}
		}
		seen := map[string]bool{}
		for _, f := range c.Flags {
			if d, ok := f.(cli.DocGenerationFlag); !ok || d.GetUsage() == "" {
				t.Errorf("weir %s: flag %s has no usage", name, dashed(f.Names()[0]))
			}
			for _, n := range f.Names() {
				if seen[n] {
					t.Errorf("weir %s has two flags %s", name, dashed(n))
				}
				seen[n] = true
			}
		}
	})
}

// The nats command's own names, flag by flag.
func TestGlobalFlags_areThoseOfTheNATSCommand(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"server": "NATS_URL", "user": "NATS_USER", "password": "NATS_PASSWORD", "creds": "NATS_CREDS", "nkey": "NATS_NKEY", "tlscert": "NATS_CERT",
		"tlskey": "NATS_KEY", "tlsca": "NATS_CA", "context": "NATS_CONTEXT", "timeout": "NATS_TIMEOUT",
	}
	flags := globalFlags()
	for name, variable := range want {
		f, ok := findFlag(flags, name).(cli.DocGenerationFlag)
		if !ok {
			t.Errorf("there is no flag --%s", name)
			continue
		}
		if !slices.Contains(f.GetEnvVars(), variable) {
			t.Errorf("--%s: got variables %v, want %s", name, f.GetEnvVars(), variable)
		}
	}
	for _, f := range flags {
		d := f.(cli.DocGenerationFlag)
		if c, ok := f.(cli.CategorizableFlag); ok && c.GetCategory() == connectionCategory && len(d.GetEnvVars()) == 0 {
			t.Errorf("--%s says how to connect and has no variable", f.Names()[0])
		}
	}
}

func TestGlobalFlags_fillTheConnection(t *testing.T) {
	t.Setenv("NATS_USER", "ann")
	t.Setenv("NATS_PASSWORD", "secret")
	t.Setenv("NATS_TIMEOUT", "3s")
	e := &env{}
	weirIn(t, e, "version", "-s", "nats://one", "--tlsfirst", "--js-domain", "hub", "--creds=x")
	c := e.global.conn
	if c.Server != "nats://one" || c.User != "ann" || c.Password != "secret" || c.Timeout.String() != "3s" || !c.TLSFirst || c.Domain != "hub" || c.Creds != "x" {
		t.Errorf("got %+v", c)
	}
}

func TestHelp_isAsReviewed(t *testing.T) {
	t.Parallel()
	paths := [][]string{nil}
	walk(newApp(&env{}).Commands, nil, func(path []string, c *cli.Command) {
		if !c.Hidden {
			paths = append(paths, path)
		}
	})
	for _, path := range paths {
		name := strings.Join(append([]string{"weir"}, path...), "_")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := weir(t, append(slices.Clone(path), "--help")...).ok(t)
			file := filepath.Join("testdata", "help", name+".golden.txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("help (-want +got), rewrite with go test ./cmd/weir -run Help -update:\n%s", diff)
			}
		})
	}
}

func TestFlags_whoseValueIsNoneSayWhatIsWanted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ line, want string }{
		{"--timeout 5 worker ls", `--timeout is "5", want a time such as 90s, 10m or 1h30m`},
		{"worker start --pool p --limit abc", `--limit is "abc", want a whole number`},
		{"worker start --pool p --idle-exit 5", `--idle-exit is "5", want a time such as`},
	} {
		e := &env{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
		app := newApp(e)
		ordered, err := arrange(app, strings.Fields(tt.line))
		if err == nil {
			err = app.RunContext(t.Context(), append([]string{app.Name}, ordered...))
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || exitCode(err) != exitUsage {
			t.Errorf("weir %s: got %v, want %s", tt.line, err, tt.want)
		}
	}
}
