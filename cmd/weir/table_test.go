package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func sampleTable() *table {
	t := &table{columns: []column{{title: "NAME"}, {title: "N", right: true}, {title: "HOST", wide: true}, {title: "MESSAGE", flex: true}}, empty: "Nothing."}
	t.add("development", "3", "box", "the job ended with exit code 3")
	t.add("p", "12", "box", "a\nb\x1b[2J")
	return t
}

func TestPrintTable_fitsTheTerminal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		width int
		wide  bool
		want  string
	}{
		{"unlimited", 0, false, "NAME          N  MESSAGE\ndevelopment   3  the job ended with exit code 3\np            12  a b·[2J\n"},
		{"wide", 0, true, "NAME          N  HOST  MESSAGE\ndevelopment   3  box   the job ended with exit code 3\np            12  box   a b·[2J\n"},
		{"flexible first", 30, false, "NAME          N  MESSAGE\ndevelopment   3  the job ende…\np            12  a b·[2J\n"},
		{"then the others", 17, false, "NAME      N  MES…\ndevelo…   3  the…\np        12  a b…\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			e := &env{stdout: &out, width: tt.width, getenv: func(string) string { return "" }}
			if err := e.printTable(sampleTable(), tt.wide); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrintTable_neverWiderThanTheTerminal(t *testing.T) {
	t.Parallel()
	for width := 20; width < 60; width++ {
		var out bytes.Buffer
		e := &env{stdout: &out, width: width, getenv: func(string) string { return "" }}
		if err := e.printTable(sampleTable(), true); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if got := utf8.RuneCountInString(strings.TrimRight(line, "\n")); got > width {
				t.Errorf("width %d: a line has %d columns: %q", width, got, line)
			}
		}
	}
}

func TestColours_onlyWhereTheyAreWanted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, flag, noColor, term string
		tty, want                 bool
	}{
		{name: "terminal", flag: "auto", tty: true, want: true},
		{name: "pipe", flag: "auto"},
		{name: "NO_COLOR", flag: "auto", noColor: "1", tty: true},
		{name: "dumb", flag: "auto", term: "dumb", tty: true},
		{name: "never", flag: "never", tty: true},
		{name: "always", flag: "always", want: true},
		{name: "always beats NO_COLOR", flag: "always", noColor: "1", want: true},
	} {
		e := &env{global: globals{color: tt.flag}, getenv: func(k string) string { return map[string]string{"NO_COLOR": tt.noColor, "TERM": tt.term}[k] }}
		if got := strings.Contains(e.paint(tt.tty, red, "x"), "\x1b"); got != tt.want {
			t.Errorf("%s: coloured %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0s"},
		{0, "0s"},
		{45 * time.Second, "45s"},
		{3*time.Minute + 12*time.Second, "3m12s"},
		{2*time.Hour + 5*time.Minute, "2h5m"},
		{99 * time.Hour, "4d3h"},
	} {
		if got := age(tt.d); got != tt.want {
			t.Errorf("age(%s): got %s, want %s", tt.d, got, tt.want)
		}
	}
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{{800 * time.Microsecond, "0.8ms"}, {12 * time.Millisecond, "12ms"}, {1250 * time.Millisecond, "1.25s"}, {192 * time.Second, "3m12s"}} {
		if got := took(tt.d); got != tt.want {
			t.Errorf("took(%s): got %s, want %s", tt.d, got, tt.want)
		}
	}
}

func TestWriteValue_formats(t *testing.T) {
	t.Parallel()
	type row struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	rows := []row{{"a<b", []string{"x"}}, {"c", nil}}
	for format, want := range map[string]string{
		"json":  "[\n  {\n    \"name\": \"a<b\",\n    \"tags\": [\n      \"x\"\n    ]\n  },\n  {\n    \"name\": \"c\",\n    \"tags\": null\n  }\n]\n",
		"jsonl": "{\"name\":\"a<b\",\"tags\":[\"x\"]}\n{\"name\":\"c\",\"tags\":null}\n",
		"yaml":  "- name: a<b\n  tags:\n  - x\n- name: c\n  tags: null\n",
	} {
		var out bytes.Buffer
		if err := writeValue(&out, format, rows); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
	var out bytes.Buffer
	if err := writeValue(&out, "json", []row(nil)); err != nil || out.String() != "[]\n" {
		t.Errorf("no rows: got %q, %v, want []", out.String(), err)
	}
}
