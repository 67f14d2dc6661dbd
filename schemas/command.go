package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Command is a program and its arguments. JSON and YAML may have it as text, which is split as a shell splits words, without
// being given to a shell: see [SplitCommand].
type Command []string

// UnmarshalJSON reads a list of words, or text that [SplitCommand] splits.
func (c *Command) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		*c = nil
		return nil
	case string:
		words, err := SplitCommand(v)
		if err != nil {
			return err
		}
		*c = words
		return nil
	case []any:
		words := make([]string, len(v))
		for i := range v {
			word, ok := v[i].(string)
			if !ok {
				return fmt.Errorf("command: word %d is %s: put it in quotes", i+1, kindOf(v[i]))
			}
			if strings.IndexByte(word, 0) >= 0 {
				return fmt.Errorf("command: word %d has a zero byte, which no program can be given", i+1)
			}
			words[i] = word
		}
		*c = words
		return nil
	default:
		return fmt.Errorf("command: got %s, want text (python3 etl.py --rows 10) or a list of words", kindOf(v))
	}
}

// operators mean something to a shell when they stand alone and unquoted. A program given one as a word would run, and not
// do what its author meant.
var operators = []string{"|", "||", "&", "&&", ";", "<", ">", ">>", "<<", "2>", "2>&1", "&>"}

// SplitCommand splits text into words as a POSIX shell does: at blanks and newlines, except in single or double quotes and
// after a backslash. Nothing else is special: $HOME, * and # stay as they are. A pipe or another operator is refused; whoever
// means a shell says sh -c '…'. Text of blanks only has no words.
func SplitCommand(text string) ([]string, error) {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return nil, fmt.Errorf("command: byte %d is zero, which no program can be given", i+1)
	}
	var (
		words  []string
		word   []byte
		begun  bool // there is a word, be it empty: ''
		quoted bool // a part of it was quoted
		quote  byte // the quote that is open, or 0
		opened int  // where it opened
	)
	end := func() error {
		if !begun {
			return nil
		}
		if w := string(word); !quoted && slices.Contains(operators, w) {
			return fmt.Errorf("command: %s needs a shell, and none is started: write sh -c '…', or quote it to pass it on as a word", w)
		}
		words, word, begun, quoted = append(words, string(word)), word[:0], false, false
		return nil
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && quote != '\'':
			if i++; i == len(text) {
				if quote == 0 {
					return nil, errors.New(`command: it ends in a backslash: write \\ to mean one`)
				}
				break // the open quote is what is wrong
			}
			if text[i] == '\n' { // lines joined
				break
			}
			if quote == '"' && strings.IndexByte("$`\"\\", text[i]) < 0 {
				word = append(word, c) // inside double quotes it is special only before these
			}
			word, begun, quoted = append(word, text[i]), true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, opened, begun, quoted = c, i, true, true
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			if err := end(); err != nil {
				return nil, err
			}
		default:
			word, begun = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("command: the quote %c at byte %d is not closed: %s", quote, opened+1, clip(text[opened:]))
	}
	if err := end(); err != nil {
		return nil, err
	}
	return words, nil
}
