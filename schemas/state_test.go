package schemas

import (
	"slices"
	"strings"
	"testing"
)

// steps has a row for each state that a run is in and a column for each that is to follow, in the order of Scheduled and
// States.
const steps = `
            scheduled pending running retrying cancelling completed failed crashed cancelled
scheduled   -         yes     -       -        -          -         yes    -       yes
pending     -         yes     yes     yes      yes        yes       yes    yes     yes
running     -         -       yes     yes      yes        yes       yes    yes     yes
retrying    -         yes     -       yes      yes        -         yes    -       yes
cancelling  -         -       -       -        yes        yes       yes    yes     yes
completed   -         -       -       -        -          -         -      -       -
failed      -         -       -       -        -          -         -      -       -
crashed     -         -       -       -        -          -         -      -       -
cancelled   -         -       -       -        -          -         -      -       -
`

func TestCanFollow_everyPair(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(steps), "\n")
	columns := strings.Fields(lines[0])
	if want := append([]string{string(Scheduled)}, texts(States)...); !slices.Equal(columns, want) || len(lines) != len(want)+1 {
		t.Fatalf("got columns %v and %d rows, want each of %v", columns, len(lines)-1, want)
	}
	for _, line := range lines[1:] {
		row := strings.Fields(line)
		for i, next := range columns {
			if got, want := State(row[0]).CanFollow(State(next)), row[i+1] == "yes"; got != want {
				t.Errorf("from %s to %s: got %v, want %v", row[0], next, got, want)
			}
		}
	}
}

func TestFinal_nothingFollows(t *testing.T) {
	for _, s := range append([]State{Scheduled}, States...) {
		if got, want := s.Final(), len(follows[s]) == 0; got != want {
			t.Errorf("%s: got final %v, want %v", s, got, want)
		}
	}
}

// A run is never stuck: from each state that is not final, each final state but completed can be reached.
func TestCanFollow_leadsToAnEnd(t *testing.T) {
	for from := range follows {
		reached := map[State]bool{}
		var walk func(State)
		walk = func(s State) {
			if reached[s] {
				return
			}
			reached[s] = true
			for _, next := range follows[s] {
				walk(next)
			}
		}
		walk(from)
		for _, end := range []State{Failed, Crashed, Cancelled} {
			if !reached[end] {
				t.Errorf("%s is not reached from %s", end, from)
			}
		}
	}
}
