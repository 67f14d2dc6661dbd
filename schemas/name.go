package schemas

import (
	"fmt"
	"strings"
)

// MaxName is the length in bytes of the longest name.
const MaxName = 64

// NameError says that Name cannot name a Kind, and offers the nearest name that can.
type NameError struct {
	Kind    string // pool, queue, deployment, …
	Name    string
	Nearest string // empty when nothing of Name can be used
}

func (e *NameError) Error() string {
	s := fmt.Sprintf("%s name %q is not valid: use 1 to %d letters, digits, _ or -", e.Kind, clip(e.Name), MaxName)
	if e.Nearest != "" {
		s += fmt.Sprintf(" (such as %q)", e.Nearest)
	}
	return s
}

// clip keeps what comes from outside from filling the screen.
func clip(s string) string {
	if len(s) > 2*MaxName {
		return strings.ToValidUTF8(s[:2*MaxName], "") + "…" // it may have been cut inside a character
	}
	return s
}

// CheckName returns a *[NameError] unless name is one NATS token of [A-Za-z0-9_-]{1,64}.
func CheckName(kind, name string) error {
	if ValidName(name) {
		return nil
	}
	return &NameError{Kind: kind, Name: name, Nearest: nearestName(name)}
}

// ValidName tells whether s is [A-Za-z0-9_-]{1,64}.
func ValidName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		if !nameByte(s[i]) {
			return false
		}
	}
	return true
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// nearestName turns every run of other characters into one dash.
func nearestName(s string) string {
	var b strings.Builder
	gap := false
	for i := 0; i < len(s) && b.Len() < MaxName; i++ {
		if !nameByte(s[i]) {
			gap = b.Len() > 0
			continue
		}
		if gap && b.Len() < MaxName-1 {
			b.WriteByte('-')
		}
		gap = false
		b.WriteByte(s[i])
	}
	return b.String()
}

// Nearest returns the candidate that is fewest edits away from name, or "" when none is near enough to be meant: a third of
// name may be wrong, and at least one character right.
func Nearest(name string, candidates []string) string {
	if len(name) > 2*MaxName {
		return "" // no name of ours, and long ones are dear to compare
	}
	best, at := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		if len(c) > 2*MaxName {
			continue
		}
		if d := edits(strings.ToLower(name), strings.ToLower(c)); d < at && d < max(len(name), len(c)) {
			best, at = c, d
		}
	}
	return best
}

// edits counts the insertions, deletions, replacements and swaps of neighbours between a and b, in bytes (optimal string
// alignment).
func edits(a, b string) int {
	var before []int // the row before last
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			if a[i] == b[j] {
				row[j+1] = last[j]
				continue
			}
			row[j+1] = 1 + min(last[j], last[j+1], row[j])
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
