package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// table is rows for people, fitted to the terminal.
type table struct {
	columns []column
	rows    [][]string
	empty   string // what to print instead of a table without rows
}

type column struct {
	title string
	wide  bool // shown with --output wide only
	right bool // numbers
	flex  bool // gives way first where the terminal is narrow
	color func(cell string) string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// minColumn is how far a column shrinks: three letters and an ellipsis say something.
const minColumn = 4

// printTable writes the table. Where it does not fit the terminal's width, first flexible columns shrink, then the widest.
func (e *env) printTable(t *table, wide bool) error {
	if len(t.rows) == 0 {
		_, err := fmt.Fprintln(e.stderr, t.empty)
		return err
	}
	var shown []int
	for i, c := range t.columns {
		if wide || !c.wide {
			shown = append(shown, i)
		}
	}
	cells := make([][]string, 0, len(t.rows))
	for _, row := range t.rows {
		line := make([]string, len(shown))
		for j, i := range shown {
			line[j] = printable(row[i])
		}
		cells = append(cells, line)
	}
	columns := make([]column, len(shown))
	widths := make([]int, len(shown))
	for j, i := range shown {
		columns[j] = t.columns[i]
		widths[j] = utf8.RuneCountInString(columns[j].title)
		for _, line := range cells {
			widths[j] = max(widths[j], utf8.RuneCountInString(line[j]))
		}
	}
	fit(columns, widths, e.width)
	header := make([]string, len(columns))
	for j, c := range columns {
		header[j] = c.title
	}
	if err := e.printRow(e.stdout, columns, widths, header, true); err != nil {
		return err
	}
	for _, line := range cells {
		if err := e.printRow(e.stdout, columns, widths, line, false); err != nil {
			return err
		}
	}
	return nil
}

const gap = 2 // blanks between columns

// fit shrinks widths until they and the gaps fit into width. 0 is unlimited.
func fit(columns []column, widths []int, width int) {
	if width <= 0 {
		return
	}
	over := gap*(len(widths)-1) - width
	for _, w := range widths {
		over += w
	}
	for ; over > 0; over-- {
		widest := -1
		for _, flex := range []bool{true, false} {
			for i, w := range widths {
				if w > minColumn && columns[i].flex == flex && (widest < 0 || w > widths[widest]) {
					widest = i
				}
			}
			if widest >= 0 {
				break
			}
		}
		if widest < 0 {
			return // every column is as small as it gets: the terminal wraps
		}
		widths[widest]--
	}
}

func (e *env) printRow(w io.Writer, columns []column, widths []int, cells []string, header bool) error {
	var b strings.Builder
	for j, cell := range cells {
		cell = clip(cell, widths[j])
		pad := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell))
		color := ""
		if header {
			color = bold
		} else if columns[j].color != nil {
			color = columns[j].color(cell)
		}
		painted := e.paint(e.stdoutTTY, color, cell)
		switch {
		case columns[j].right:
			b.WriteString(pad + painted)
		case j == len(cells)-1:
			b.WriteString(painted)
		default:
			b.WriteString(painted + pad)
		}
		if j < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", gap))
		}
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// clip shortens s to n characters, the last of which is then an ellipsis.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:max(n-1, 0)]) + "…"
}

// printable takes out what would move the cursor: names and messages may come from strangers.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}

// facts are labelled values, one a line, for inspect commands.
type facts [][2]string

func (f *facts) add(label, value string) {
	if value != "" {
		*f = append(*f, [2]string{label, value})
	}
}

func (e *env) printFacts(f facts) error {
	width := 0
	for _, l := range f {
		width = max(width, utf8.RuneCountInString(l[0]))
	}
	for _, l := range f {
		label := l[0] + strings.Repeat(" ", width-utf8.RuneCountInString(l[0]))
		value := printable(l[1])
		if _, err := fmt.Fprintf(e.stdout, "%s  %s\n", e.paint(e.stdoutTTY, grey, label), e.paint(e.stdoutTTY, stateColor(value), value)); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) heading(title string) {
	fmt.Fprintf(e.stdout, "\n%s\n", e.paint(e.stdoutTTY, bold, title))
}
