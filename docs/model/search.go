package model

import (
	"hash/maphash"
)

// Result is what a search has seen.
type Result struct {
	States      int
	Transitions int
	Depth       int    // steps to the state that is farthest from the beginning
	Broken      string // the promise that does not hold; empty: all hold
	Trace       []string
}

// Who takes a step, beside the workers 0 and 1.
const (
	canceller = 2
	nobody    = 3
)

// machine makes the states that follow one.
type machine struct {
	rules  Rules
	bounds Bounds
	to     func(next State, who int, text string)
}

// step calls m.to for each state that may follow s.
func (m *machine) step(s *State) {
	m.stepNATS(s)
	for i := range s.Workers {
		m.stepLog(s, i)
		m.stepSupervisor(s, i)
		m.stepWorker(s, i)
	}
	if m.bounds.Cancel {
		m.stepCanceller(s)
	}
	m.tick(s)
}

// search visits every state within the bounds, breadth first, so that what breaks a promise is found by its shortest way.
type search struct {
	machine
	seed   maphash.Seed
	states []State
	parent []int32
	table  []int32 // open addressing; index into states, plus one
	edges  []int32 // of states[i]: edges[offset[i]:offset[i+1]]
	offset []int
}

// Search visits every state that b allows under r, until a promise is broken.
func Search(r Rules, b Bounds) Result {
	x := &search{machine: machine{rules: r, bounds: b}, seed: maphash.MakeSeed(), table: make([]int32, 1<<16)}
	x.add(initial(b), -1)
	var at int32
	x.to = func(next State, _ int, _ string) {
		next, _ = next.canonical(b.Hold)
		if next != x.states[at] {
			x.edges = append(x.edges, x.add(next, at))
		}
	}
	res := Result{}
	end := 1 // of the round
	for ; int(at) < len(x.states); at++ {
		if int(at) == end {
			end = len(x.states)
			res.Depth++
		}
		s := x.states[at]
		x.offset = append(x.offset, len(x.edges))
		if res.Broken = s.violated(); res.Broken != "" {
			break
		}
		x.step(&s)
	}
	x.offset = append(x.offset, len(x.edges))
	res.States, res.Transitions = len(x.states), len(x.edges)
	if res.Broken == "" {
		if at = x.stuck(); at < 0 {
			return res
		}
		res.Broken = "from here the run cannot reach its end any more"
	}
	res.Trace = x.trace(at)
	return res
}

// add returns the index of s, which is new or not.
func (x *search) add(s State, parent int32) int32 {
	if 2*len(x.states) >= len(x.table) {
		x.table = make([]int32, 2*len(x.table))
		for i := range x.states {
			*x.slot(&x.states[i]) = int32(i) + 1
		}
	}
	slot := x.slot(&s)
	if *slot == 0 {
		x.states, x.parent = append(x.states, s), append(x.parent, parent)
		*slot = int32(len(x.states))
	}
	return *slot - 1
}

func (x *search) slot(s *State) *int32 {
	mask := uint64(len(x.table) - 1)
	for h := maphash.Comparable(x.seed, *s); ; h++ {
		slot := &x.table[h&mask]
		if *slot == 0 || x.states[*slot-1] == *s {
			return slot
		}
	}
}

// stuck returns the first state from which no settled one can be reached, or -1: the graph is walked backwards.
func (x *search) stuck() int32 {
	n := len(x.states)
	from := make([]int, n+1) // of state i: back[from[i]:from[i+1]]
	for _, e := range x.edges {
		from[e+1]++
	}
	for i := range n {
		from[i+1] += from[i]
	}
	back, next := make([]int32, len(x.edges)), append([]int(nil), from...)
	for i := range n {
		for _, e := range x.edges[x.offset[i]:x.offset[i+1]] {
			back[next[e]] = int32(i)
			next[e]++
		}
	}
	ends := make([]bool, n)
	var todo []int32
	for i := range x.states {
		if x.states[i].settled() {
			ends[i] = true
			todo = append(todo, int32(i))
		}
	}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, p := range back[from[i]:from[i+1]] {
			if !ends[p] {
				ends[p] = true
				todo = append(todo, p)
			}
		}
	}
	for i, ok := range ends {
		if !ok {
			return int32(i)
		}
	}
	return -1
}
