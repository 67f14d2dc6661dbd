package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v2"
)

var formats = []string{"table", "wide", "json", "yaml", "jsonl"}

// outputFlags are those of every command that lists or shows.
func outputFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT` to print: " + strings.Join(formats, ", "), Value: "table"},
		&cli.BoolFlag{Name: "json", Aliases: []string{"j"}, Usage: "the same as --output json"},
	)
}

// format is what outputFlags ask for.
func format(c *cli.Context) (string, error) {
	f := c.String("output")
	if c.Bool("json") {
		if c.IsSet("output") && f != "json" {
			return "", usagef("--json and --output %s contradict each other", f)
		}
		return "json", nil
	}
	if !slices.Contains(formats, f) {
		return "", usagef("--output is %q; it can be %s", f, strings.Join(formats, ", "))
	}
	return f, nil
}

// print writes value in the format that c asks for; for people it calls table, or wide.
func (e *env) print(c *cli.Context, value any, people func(wide bool) error) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	if f == "table" || f == "wide" {
		return people(f == "wide")
	}
	return writeValue(e.stdout, f, value)
}

// writeValue writes value as json, yaml, or jsonl: one line, or one for each element of a list.
func writeValue(w io.Writer, format string, value any) error {
	switch format {
	case "jsonl":
		if v := reflect.ValueOf(value); v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8 { // which is JSON already
			for i := range v.Len() {
				if err := writeLine(w, v.Index(i).Interface()); err != nil {
					return err
				}
			}
			return nil
		}
		return writeLine(w, value)
	case "yaml":
		b, err := marshal(value, "")
		if err != nil {
			return err
		}
		if b, err = yaml.JSONToYAML(b); err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		_, err = w.Write(b)
		return err
	}
	b, err := marshal(value, "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

func writeLine(w io.Writer, value any) error {
	b, err := marshal(value, "")
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// marshal is json.Marshal for people: < stays <, and an empty list is [].
func marshal(value any, indent string) ([]byte, error) {
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice && v.IsNil() {
		return []byte("[]\n"), nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(value); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return b.Bytes(), nil
}

// The colours, as ANSI's numbers.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	grey   = "90"
	bold   = "1"
)

// colored tells whether to use colours on a stream. NO_COLOR: https://no-color.org.
func (e *env) colored(tty bool) bool {
	switch e.global.color {
	case "always":
		return true
	case "never":
		return false
	}
	return tty && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"
}

func (e *env) paint(tty bool, color, text string) string {
	if color == "" || !e.colored(tty) {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// stateColor is the colour of a run's state or a worker's status.
func stateColor(state string) string {
	switch strings.ToLower(state) {
	case "completed", "online", "ready":
		return green
	case "failed", "crashed", "offline":
		return red
	case "running":
		return blue
	case "pending", "retrying", "cancelling", "draining", "paused":
		return yellow
	case "scheduled", "cancelled":
		return grey
	}
	return ""
}

// age is a duration as a person says it, with at most two units: 45s, 3m12s, 2h5m, 4d3h.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// since is the age of t, or a dash where there is none.
func since(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return age(now.Sub(t))
}

// took is a measured duration: 0.8ms, 12ms, 1.25s, 3m12s.
func took(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(max(d, 0).Microseconds())/1000)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2fs", d.Seconds())
	}
	return age(d)
}

// tookMS is a duration that was measured in whole milliseconds, or a dash where there is none.
func tookMS(ms *int64) string {
	switch {
	case ms == nil:
		return "-"
	case *ms < 1:
		return "<1ms"
	case *ms < 1000:
		return strconv.FormatInt(*ms, 10) + "ms"
	}
	return took(time.Duration(*ms) * time.Millisecond)
}

// clock is a time of day with milliseconds, in the local zone.
func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }

// stamp is a full time in the local zone.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
