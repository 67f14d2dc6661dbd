package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weir-run/weir/schemas"
)

// ANSI codes for a terminal.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

// marks are what a line of the plan begins with.
var marks = map[Action]struct{ sign, color string }{
	Create: {"+", green}, Update: {"~", yellow}, Unchanged: {"=", faint},
}

// Format writes the plan for people: + is created, ~ is changed, = stays as it is.
func (d *Diff) Format(w io.Writer, color bool) error {
	var b bytes.Buffer
	for _, p := range d.Pools {
		p.format(&b, "work pool", color)
	}
	for _, p := range d.Deployments {
		p.format(&b, "deployment", color)
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	if d.Empty() {
		fmt.Fprintf(&b, "Nothing to do: %d unchanged.\n", d.count(Unchanged))
	} else {
		fmt.Fprintf(&b, "%d to create, %d to change, %d unchanged.\n", d.count(Create), d.count(Update), d.count(Unchanged))
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (c Change) format(b *bytes.Buffer, kind string, color bool) {
	mark := marks[c.Action]
	line := fmt.Sprintf("%s %s %s", mark.sign, kind, c.Name)
	if color {
		line = mark.color + line + reset
	}
	fmt.Fprintln(b, line)
	if c.Note != "" {
		fmt.Fprintf(b, "    # %s\n", c.Note)
	}
	width := 0
	for _, f := range c.Fields {
		if len(f.Field) <= maxAligned {
			width = max(width, len(f.Field))
		}
	}
	for _, f := range c.Fields {
		fmt.Fprintf(b, "    %-*s  ", width, f.Field)
		if c.Action == Update {
			fmt.Fprintf(b, "%s → ", f.show(f.Old))
		}
		fmt.Fprintln(b, f.show(f.New))
	}
}

// durations are the fields that records hold in seconds.
var durations = []string{"ack_wait", "timeout", "grace", "expires_after", "retries.backoff", "retries.max_backoff"}

// maxAligned is the length of the longest field that the values of the others are aligned with.
const maxAligned = 40

// maxShown is how many characters of a value the plan shows.
const maxShown = 100

func (f FieldChange) show(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "(none)"
	}
	var d schemas.Duration
	if slices.Contains(durations, f.Field) && json.Unmarshal(raw, &d) == nil {
		return shortDuration(time.Duration(d))
	}
	var s string
	if json.Unmarshal(raw, &s) != nil || s == "" || strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		s = asWritten(raw) // not text, or text that only quotes show well
	}
	if r := []rune(s); len(r) > maxShown {
		return string(r[:maxShown]) + "…"
	}
	return s
}

// asWritten takes back what encoding/json escapes for HTML.
func asWritten(raw json.RawMessage) string {
	v, err := decode(raw)
	if err != nil {
		return string(raw)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return string(raw)
	}
	return strings.TrimRight(b.String(), "\n")
}

// shortDuration writes 10m for what time.Duration writes as 10m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
