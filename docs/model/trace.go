package model

import (
	"fmt"
	"slices"
	"strings"
)

// trace is the way to a state, a line for each step.
func (x *search) trace(to int32) []string {
	way := []int32{to}
	for i := to; x.parent[i] >= 0; i = x.parent[i] {
		way = append(way, x.parent[i])
	}
	slices.Reverse(way)
	var lines []string
	mirrored := false // A is the second worker of the states here
	for i, at := range way[:len(way)-1] {
		want, found := x.states[way[i+1]], false
		from := x.states[at]
		m := machine{rules: x.rules, bounds: x.bounds}
		m.to = func(next State, who int, text string) {
			canonical, swapped := next.canonical(x.bounds.Hold)
			if found || canonical != want {
				return
			}
			found = true
			lines = append(lines, line(who, mirrored, text))
			mirrored = mirrored != swapped
		}
		m.step(&from)
	}
	return lines
}

func line(who int, mirrored bool, text string) string {
	if who >= canceller {
		return text
	}
	name := "AB"[who : who+1]
	if mirrored {
		name = "BA"[who : who+1]
	}
	if !strings.HasPrefix(text, "'") {
		name += " "
	}
	return fmt.Sprint(name, text)
}
