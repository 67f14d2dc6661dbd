package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weir-run/weir/streams"
)

func TestVisible_leavesTextAndColoursAndNothingElse(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain\ttext, größer 日本": "plain\ttext, größer 日本",
		"\x1b[1;31mred\x1b[0m":   "\x1b[1;31mred\x1b[0m\x1b[0m",
		"\x1b[38:5:9mopen":       "\x1b[38:5:9mopen\x1b[0m",
		"\x1b[2J\x1b]0;title\a":  "^[[2J^[]0;title^G",
		"10%\r20%\b\x00\x7f":     "10%^M20%^H^@^?",
		"\u009b2J":               "M-^[2J",
		"\x9b2J\xff":             `\x9b2J\xff`,
		"\x1b[31":                "^[[31",
		"\x1b[?25lm":             "^[[?25lm",
		"\ufffd":                 "\ufffd",
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q): got %q, want %q", in, got, want)
		}
	}
}

func TestOutputLine_isRawWhereAProgramReadsIt(t *testing.T) {
	t.Parallel()
	line := streams.LogLine{Stream: "stdout", Line: "\x1b[2Jgone\r\n"}
	for tty, want := range map[bool]string{false: "\x1b[2Jgone", true: "^[[2Jgone"} {
		var out strings.Builder
		e := &env{stdout: &out, stdoutTTY: tty, getenv: func(string) string { return "" }, global: globals{color: "never"}}
		if err := e.printLogLine(line); err != nil || !strings.HasSuffix(out.String(), want+"\n") {
			t.Errorf("terminal %v: got %q, %v, want %q", tty, out.String(), err, want)
		}
	}
}

// Whatever a job prints, nothing but tabs and colours reaches the terminal's control characters.
func FuzzVisible(f *testing.F) {
	for _, seed := range []string{"text", "\x1b[31mred", "\x1b[2J", "\u009b", "\xff\x1b", "a\tb\r"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got := visible(in)
		for rest := got; rest != ""; {
			if seq := sgr.FindString(rest); seq != "" {
				rest = rest[len(seq):]
				continue
			}
			r, size := utf8.DecodeRuneInString(rest)
			if r != '\t' && control(r) || r == utf8.RuneError && size == 1 {
				t.Fatalf("visible(%q) = %q has the control character %q", in, got, rest[:size])
			}
			rest = rest[size:]
		}
	})
}
