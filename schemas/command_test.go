package schemas

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var commands = map[string][]string{
	``:                              nil,
	" \t\n":                         nil,
	`python3 etl.py --rows 10`:      {"python3", "etl.py", "--rows", "10"},
	"  a \t b\n":                    {"a", "b"},
	`echo 'two words' "and two"`:    {"echo", "two words", "and two"},
	`a''b"c"d`:                      {"abcd"},
	`'' ""`:                         {"", ""},
	`--name="Ada Lovelace"`:         {"--name=Ada Lovelace"},
	`sh -c 'cat < in | sort > out'`: {"sh", "-c", "cat < in | sort > out"},
	`a\ b \'c \\`:                   {"a b", "'c", `\`},
	`'a\b'`:                         {`a\b`},
	`"a\"b\\c\d\$e"`:                {`a"b\c\d$e`},
	"a \\\n  b":                     {"a", "b"},
	"a\\\nb":                        {"ab"},
	"\"a\\\nb\"":                    {"ab"},
	"\\\n":                          nil,
	"'a\nb'":                        {"a\nb"},
	`"it's"`:                        {"it's"},
	`# 1`:                           {"#", "1"},
	`echo '|' "&&" \;`:              {"echo", "|", "&&", ";"},
	`grep -e a|b x>=1`:              {"grep", "-e", "a|b", "x>=1"},
	`日本 ~/"x y"/*`:                  {"日本", "~/x y/*"},
	`/opt/py/bin/python -m flows --k '{"a": 1}'`: {"/opt/py/bin/python", "-m", "flows", "--k", `{"a": 1}`},
}

func TestSplitCommand_splitsAsAShellSplitsWords(t *testing.T) {
	for text, want := range commands {
		got, err := SplitCommand(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// The table is right: a shell says the same of what means nothing more to it.
func TestSplitCommand_agreesWithTheShell(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Fatal(err)
	}
	for text, want := range commands {
		if strings.ContainsAny(text, "#~") || strings.Contains(text, "a|b") {
			continue // a comment, a home, a pipe to the shell; text to us
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "set -f -- "+text+"\nfor w; do printf '%s\\0' \"$w\"; done").Output()
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		var words strings.Builder
		for _, w := range want {
			words.WriteString(w + "\x00")
		}
		if got := string(out); got != words.String() {
			t.Errorf("%q: the shell says %q, the table %q", text, got, words.String())
		}
	}
}

func TestSplitCommand_refuses(t *testing.T) {
	for text, want := range map[string]string{
		`echo 'a b`:    `command: the quote ' at byte 6 is not closed: 'a b`,
		`echo "a \" b`: `command: the quote " at byte 6 is not closed: "a \" b`,
		`it's`:         `command: the quote ' at byte 3 is not closed: 's`,
		`a "b\`:        `command: the quote " at byte 3 is not closed: "b\`,
		`a \`:          `command: it ends in a backslash: write \\ to mean one`,
		"a\x00b":       `command: byte 2 is zero, which no program can be given`,
		`cat a | sort`: `command: | needs a shell, and none is started: write sh -c '…', or quote it to pass it on as a word`,
		`a && b`:       `command: && needs a shell, and none is started: write sh -c '…', or quote it to pass it on as a word`,
		`a > out 2>&1`: `command: > needs a shell, and none is started: write sh -c '…', or quote it to pass it on as a word`,
		`sleep 1 &`:    `command: & needs a shell, and none is started: write sh -c '…', or quote it to pass it on as a word`,
	} {
		if words, err := SplitCommand(text); errText(err) != want || words != nil {
			t.Errorf("%q: got %q, %v, want the error %s", text, words, err, want)
		}
	}
}

func TestCommand_isTextOrAList(t *testing.T) {
	for body, want := range map[string]Command{
		`null`: nil, `""`: nil, `[]`: {}, `"a 'b c'"`: {"a", "b c"}, `["a","b c",""]`: {"a", "b c", ""}, `["a","|"]`: {"a", "|"},
	} {
		var got Command
		if err := json.Unmarshal([]byte(body), &got); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s: got %q, %v, want %q", body, got, err, want)
		}
	}
	for body, want := range map[string]string{
		`3`:               `command: got a number, want text (python3 etl.py --rows 10) or a list of words`,
		`{"a":1}`:         `command: got an object, want text (python3 etl.py --rows 10) or a list of words`,
		`["a",10]`:        `command: word 2 is a number: put it in quotes`,
		`["a","b\u0000"]`: `command: word 2 has a zero byte, which no program can be given`,
		`"a 'b"`:          `command: the quote ' at byte 3 is not closed: 'b`,
	} {
		var got Command
		if err := json.Unmarshal([]byte(body), &got); errText(err) != want {
			t.Errorf("%s: got %v, want %s", body, err, want)
		}
	}
}
