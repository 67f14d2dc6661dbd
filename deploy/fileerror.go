package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A FileError is one thing that is wrong with a project file, and where.
type FileError struct {
	File    string // as it was named to Load
	Line    int    // from 1; 0: the file as a whole
	Column  int    // from 1, in characters
	Message string // what is wrong and what to do
	Excerpt string // the line of the file, and under it a caret; empty for the file as a whole
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s\n%s", e.File, e.Line, e.Column, e.Message, e.Excerpt)
}

// FileErrors is all that is wrong with a project file, in the order of the file.
type FileErrors []*FileError

func (e FileErrors) Error() string {
	all := make([]string, len(e))
	for i := range e {
		all[i] = e[i].Error()
	}
	return strings.Join(all, "\n")
}

// Unwrap lets errors.As find the single errors.
func (e FileErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// position is a place in a file; the zero value is the file as a whole.
type position struct{ line, column int }

// source is a project file's text, for positions and excerpts. Its errors are collected, to be reported all at once.
type source struct {
	file  string
	lines []string
	errs  FileErrors
}

func newSource(file string, data []byte) *source {
	text := strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n")
	return &source{file: file, lines: strings.Split(text, "\n")}
}

func (s *source) fail(at position, format string, args ...any) {
	e := &FileError{File: s.file, Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...)}
	if at.line > 0 {
		e.Excerpt = s.excerpt(at)
	}
	s.errs = append(s.errs, e)
}

// err returns the collected errors, sorted and each once, or nil.
func (s *source) err() error {
	if len(s.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(s.errs, func(a, b *FileError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	// An anchor's content is read once for each alias; its errors are told once.
	return slices.CompactFunc(s.errs, func(a, b *FileError) bool { return *a == *b })
}

// maxExcerpt is how many characters of a line are shown, so that a file of one line does not fill the screen.
const maxExcerpt = 120

func (s *source) excerpt(at position) string {
	if at.line > len(s.lines) {
		return ""
	}
	line := []rune(strings.ToValidUTF8(s.lines[at.line-1], string(utf8.RuneError)))
	column := min(max(at.column-1, 0), len(line))
	start := 0
	if column > maxExcerpt-20 {
		start = column - maxExcerpt/2
	}
	shown := line[start:min(len(line), start+maxExcerpt)]
	pad := make([]rune, column-start)
	for i := range pad {
		if pad[i] = ' '; shown[i] == '\t' {
			pad[i] = '\t'
		}
	}
	return fmt.Sprintf("  %5d | %s\n        | %s^", at.line, strings.TrimRight(string(shown), " \t"), string(pad))
}
