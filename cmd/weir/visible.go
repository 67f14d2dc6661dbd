package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// sgr is a terminal's sequence for colours and weights, which moves nothing (ECMA-48, Select Graphic Rendition).
var sgr = regexp.MustCompile(`^\x1b\[[0-9;:]*m`)

// outputLine is a line of a job's output as it may be printed: raw where a program reads it; on a terminal, which obeys whatever
// the job printed, with control characters made visible.
func (e *env) outputLine(line string) string {
	line = strings.TrimRight(line, "\r\n")
	if !e.stdoutTTY {
		return line
	}
	return visible(line)
}

// visible writes control characters as cat -v does (^[ is escape), other than tabs and colours. Colours end with the line.
func visible(line string) string {
	if !strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && control(r) || r == utf8.RuneError }) {
		return line
	}
	var b strings.Builder
	colored := false
	for i := 0; i < len(line); {
		if seq := sgr.FindString(line[i:]); seq != "" {
			colored = true
			b.WriteString(seq)
			i += len(seq)
			continue
		}
		r, size := utf8.DecodeRuneInString(line[i:])
		switch {
		case r == utf8.RuneError && size == 1: // a byte of no UTF-8, which a terminal may take for a control character
			fmt.Fprintf(&b, `\x%02x`, line[i])
		case r == '\t' || !control(r):
			b.WriteString(line[i : i+size])
		case r < 0x80:
			b.WriteString("^" + string(r^0x40))
		default:
			b.WriteString("M-^" + string(r-0x40))
		}
		i += size
	}
	if colored {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// control tells whether r is one of the C0 and C1 control characters.
func control(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }
