//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// patience is how long a command of the documentation, or a line it promises, may take before the test gives up.
const patience = 60 * time.Second

// The commands of the documentation are run as a reader would run them: in order, by bash, in a folder laid out as the
// checkout, with bin/weir and the nats CLI. docs/testing.md says how blocks are marked.
func TestDocumentation_commandsWork(t *testing.T) {
	t.Parallel()
	readme := blocks(t, "README.md")
	if len(readme) == 0 || readme[0].session != background || !strings.HasPrefix(readme[0].commands[0].text, "make run") {
		t.Fatal("README.md does not open with make run in a console background block")
	}
	programs := map[string]string{"weir": weirBinary, "nats": natsBinary(t)}
	for page, list := range map[string][]block{
		"README.md":    readme,
		"docs/wire.md": append(readme[:1:1], blocks(t, "docs/wire.md")...),
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			newDesk(t, programs).perform(t, list)
		})
	}
}

// The README's table has the commands that there are, no more and no fewer.
func TestReadme_namesEveryCommand(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	quoted := regexp.MustCompile("`([a-z][a-z-]*)[^`]*`")
	for _, row := range regexp.MustCompile("(?m)^\\| `weir ([a-z-]+)( [a-z-]+)?` \\|(.*)$").FindAllStringSubmatch(string(source), -1) {
		subcommands := strings.Fields(row[2])
		for _, word := range quoted.FindAllStringSubmatch(row[3], -1) {
			subcommands = append(subcommands, word[1])
		}
		slices.Sort(subcommands)
		got[row[1]] = subcommands
	}
	want := map[string][]string{}
	for _, c := range newApp(&env{getenv: os.Getenv}).Commands {
		if c.Hidden {
			continue
		}
		var subcommands []string
		for _, sub := range c.Subcommands {
			if !sub.Hidden {
				subcommands = append(subcommands, sub.Name)
			}
		}
		slices.Sort(subcommands)
		want[c.Name] = subcommands
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("commands in README.md (-weir +README):\n%s", diff)
	}
}

// session says where a block's commands are run.
type session string

const (
	foreground session = ""
	background session = "background" // in a terminal of its own, which goes on
	elsewhere  session = "elsewhere"  // proved by other means
)

// block is a fenced block of commands.
type block struct {
	page     string
	line     int // of its first fence
	session  session
	commands []command
}

// command is one input to the shell and what the page says it prints.
type command struct {
	text  string
	shown []string
	later int // index in shown from which lines may come after the next blocks have run
}

// blocks returns a page's blocks of commands. A block that is marked in a way that is not known fails the test, so that none
// is left out by a slip.
func blocks(t *testing.T, page string) []block {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", "..", page))
	if err != nil {
		t.Fatal(err)
	}
	var list []block
	lines := strings.Split(string(source), "\n")
	for i := 0; i < len(lines); i++ {
		info, ok := strings.CutPrefix(strings.TrimSpace(lines[i]), "```")
		if !ok {
			continue
		}
		start := i + 1
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
		}
		language, mark, _ := strings.Cut(info, " ")
		switch language {
		case "console", "sh":
		case "bash", "shell", "shellsession":
			t.Errorf("%s:%d: mark commands as console or sh, not %s", page, start, language)
			continue
		default:
			continue // not commands: JSON, YAML, a diagram
		}
		b := block{page: page, line: start, session: session(mark)}
		switch b.session {
		case foreground, background, elsewhere:
		default:
			t.Errorf("%s:%d: a block cannot be marked %q", page, start, mark)
			continue
		}
		body := lines[start:min(i, len(lines))]
		if language == "sh" {
			b.commands = []command{{text: strings.Join(body, "\n")}}
		} else {
			b.commands = dialogue(body)
		}
		if len(b.commands) == 0 {
			t.Errorf("%s:%d: the block has no command: they start with \"$ \"", page, start)
			continue
		}
		list = append(list, b)
	}
	return list
}

// dialogue splits a console block into commands ("$ ", continued by "> ") and the lines they print.
func dialogue(lines []string) []command {
	var list []command
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "$ "); ok {
			list = append(list, command{text: text, later: -1})
			continue
		}
		if len(list) == 0 {
			continue
		}
		last := &list[len(list)-1]
		text, ok := strings.CutPrefix(line, "> ")
		switch {
		case ok && len(last.shown) == 0:
			last.text += "\n" + text
		case strings.TrimSpace(line) == "" && last.later < 0:
			last.later = len(last.shown)
		case strings.TrimSpace(line) != "" && strings.TrimSpace(line) != "…":
			last.shown = append(last.shown, line)
		}
	}
	for i := range list {
		if list[i].later < 0 {
			list[i].later = len(list[i].shown)
		}
	}
	return list
}

// run runs the block's commands; each must exit 0 and print what is shown.
func (b block) run(t *testing.T, term *terminal) {
	t.Helper()
	for _, c := range b.commands {
		out, code, err := term.do(c.text)
		if err != nil || code != 0 {
			t.Fatalf("%s:%d: %s\nexit code %d, %v, got:\n%s", b.page, b.line, c.text, code, err, out)
		}
		if missing := absent(c.shown, out); missing != "" {
			t.Fatalf("%s:%d: %s\nwant a line %q, got:\n%s", b.page, b.line, c.text, missing, out)
		}
	}
}

// begin starts the block's commands and waits for what is shown before its first empty line. The rest must have come when
// the page ends.
func (b block) begin(t *testing.T, term *terminal) {
	t.Helper()
	var now []string
	for _, c := range b.commands {
		term.send(c.text)
		now = append(now, c.shown[:c.later]...)
		term.owed = append(term.owed, c.shown...)
	}
	term.where = fmt.Sprintf("%s:%d", b.page, b.line)
	term.await(t, now)
}

// check is what remains to be seen of a block that is proved elsewhere: it calls make, and its targets exist.
func (b block) check(t *testing.T) {
	t.Helper()
	makefile, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.commands {
		for line := range strings.Lines(c.text) {
			line, _, _ = strings.Cut(line, "#")
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "make" || !bytes.Contains(makefile, []byte("\n"+words[1]+":")) {
				t.Errorf("%s:%d: %q is no target of the Makefile, and nothing else is proved elsewhere", b.page, b.line, strings.TrimSpace(line))
			}
		}
	}
}

// absent returns the first of the shown lines that out does not have, in their order; "" when all are there. Runs of spaces
// count as one, … stands for anything.
func absent(shown []string, out string) string {
	lines := strings.Split(out, "\n")
	for _, want := range shown {
		parts := strings.Split(strings.Join(strings.Fields(want), " "), "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		pattern := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
		found := false
		for i, line := range lines {
			if pattern.MatchString(strings.Join(strings.Fields(line), " ")) {
				lines, found = lines[i+1:], true
				break
			}
		}
		if !found {
			return want
		}
	}
	return ""
}

// desk is a reader's machine: a folder like the checkout, an address of its own, and the terminals that are open.
type desk struct {
	folder string
	env    []string
	open   []*terminal
}

func newDesk(t *testing.T, programs map[string]string) *desk {
	t.Helper()
	folder := t.TempDir()
	root := filepath.Join("..", "..")
	for _, name := range []string{"Makefile", "examples/quickstart", "examples/shell", "examples/docker", "examples/ecs"} {
		copyTree(t, filepath.Join(root, name), filepath.Join(folder, name))
	}
	bin := filepath.Join(folder, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, program := range programs {
		if err := os.Symlink(program, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	return &desk{folder: folder, env: append(os.Environ(),
		"PATH="+bin+":"+os.Getenv("PATH"),
		"HOME="+folder, "XDG_CONFIG_HOME="+filepath.Join(folder, ".config"), // no NATS contexts of whoever runs the test
		"NATS_URL=nats://"+address, "NATS_CONTEXT=",
		"NO_COLOR=1", "MAKEFLAGS=", "MAKELEVEL=",
		"GO=true", // make run's build: bin/weir is there
		"UP=--nats-listen "+address+" --http-listen 127.0.0.1:0",
	)}
}

// perform runs blocks in order.
func (d *desk) perform(t *testing.T, list []block) {
	t.Helper()
	main := d.terminal(t)
	for _, b := range list {
		t.Logf("%s:%d %s", b.page, b.line, b.session)
		switch b.session {
		case background:
			b.begin(t, d.terminal(t))
		case elsewhere:
			b.check(t)
		default:
			b.run(t, main)
		}
	}
	d.settle(t)
}

// settle waits for what the terminals in the background still owe.
func (d *desk) settle(t *testing.T) {
	t.Helper()
	for _, term := range d.open {
		term.await(t, term.owed)
	}
}

// terminal is a bash that is told what to do through its standard input.
type terminal struct {
	where string
	owed  []string
	input io.Writer
	ended chan struct{} // closed when all output has been read

	mu      sync.Mutex
	output  strings.Builder
	changed chan struct{} // replaced and closed at each line
}

// mark is what the shell prints after each command, with its exit code.
const mark = "--weir-readme-test--"

func (d *desk) terminal(t *testing.T) *terminal {
	t.Helper()
	cmd := exec.Command("bash", "--noprofile", "--norc", "-e")
	cmd.Dir, cmd.Env = d.folder, d.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatalf("the documentation's commands need bash: %v", err)
	}
	writer.Close()
	term := &terminal{input: input, ended: make(chan struct{}), changed: make(chan struct{})}
	go term.read(output)
	t.Cleanup(func() {
		input.Close()
		term.close(t, cmd)
	})
	fmt.Fprintf(input, "trap 'printf \"\\n%%s %%d\\n\" %s $?' EXIT\n", mark)
	d.open = append(d.open, term)
	return term
}

// close ends the terminal and everything in it, politely first.
func (term *terminal) close(t *testing.T, cmd *exec.Cmd) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		_ = syscall.Kill(-cmd.Process.Pid, sig) // nobody is left: good
		select {
		case <-term.ended:
			_ = cmd.Wait() // a signal ended it
			return
		case <-time.After(10 * time.Second):
		}
	}
	t.Errorf("%s: something goes on after the terminal was killed", term.where)
}

func (term *terminal) read(r io.ReadCloser) {
	defer close(term.ended)
	defer r.Close()
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		term.mu.Lock()
		term.output.WriteString(line)
		close(term.changed)
		term.changed = make(chan struct{})
		term.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (term *terminal) send(text string) {
	fmt.Fprintf(term.input, "{ %s\n} </dev/null\nprintf '\\n%%s %%d\\n' %s $?\n", text, mark)
}

// do runs text in the foreground and returns what it printed.
func (term *terminal) do(text string) (out string, code int, err error) {
	term.mu.Lock()
	from := term.output.Len()
	term.mu.Unlock()
	term.send(text)
	done := func(all string) bool {
		var found bool
		if out, _, found = strings.Cut(all[from:], "\n"+mark+" "); found {
			_, err := fmt.Sscanf(all[from+len(out):], "\n"+mark+" %d\n", &code)
			found = err == nil
		}
		return found
	}
	return out, code, term.wait(done)
}

// await waits until the terminal has shown lines.
func (term *terminal) await(t *testing.T, lines []string) {
	t.Helper()
	var missing, out string
	err := term.wait(func(all string) bool {
		out, missing = all, absent(lines, all)
		return missing == ""
	})
	if err != nil {
		t.Fatalf("%s: want a line %q, %v, got:\n%s", term.where, missing, err, out)
	}
}

// wait returns nil once enough says so of the output, and an error when the terminal has ended or takes too long.
func (term *terminal) wait(enough func(all string) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		term.mu.Lock()
		all, changed := term.output.String(), term.changed
		term.mu.Unlock()
		if enough(all) {
			return nil
		}
		select {
		case <-changed:
		case <-term.ended:
			if term.mu.Lock(); term.output.Len() == len(all) {
				term.mu.Unlock()
				return fmt.Errorf("the terminal has ended")
			}
			term.mu.Unlock()
		case <-ctx.Done():
			return fmt.Errorf("not within %s", patience)
		}
	}
}

// copyTree copies a file or folder, without what running it has left there.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name == ".weir" || name == "data" || name == "__pycache__" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// freeAddress is a loopback address where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// natsBinary finds the nats CLI that make test builds.
func natsBinary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("WEIR_NATS_CLI")
	if path == "" {
		path = filepath.Join("..", "..", "bin", "nats")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the nats CLI is needed: make bin/nats (%v)", err)
	}
	return path
}
