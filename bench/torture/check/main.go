// Command check reads the history of a torture run and proves from it alone that Weir kept its promises, or shows where it
// did not: go run ./bench/torture/check DIR. It shares no code with what it judges but the form of events and the table of
// allowed steps. Its exit code is 1 when a promise was broken, 2 when the history cannot be read.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/weir-run/weir/bench/torture/history"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: check DIR, the folder of a history")
		os.Exit(2)
	}
	h, err := history.Read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(2)
	}
	if !report(os.Stdout, index(h)) {
		os.Exit(1)
	}
}

// shownAtMost is how many violations of one rule are shown in full.
const shownAtMost = 5

// report applies every rule, prints what was found, and tells whether all hold.
func report(out io.Writer, s *story) bool {
	fmt.Fprintf(out, "history: %s\n", s.counts())
	var all []violation
	for _, r := range rules {
		checked, broken := r.check(s)
		verdict := "holds"
		if len(broken) > 0 {
			verdict = fmt.Sprintf("BROKEN %d times", len(broken))
		}
		fmt.Fprintf(out, "%-58s %6d checked  %s\n", r.promise, checked, verdict)
		for i := range broken {
			broken[i].rule = r.promise
		}
		all = append(all, broken[:min(len(broken), shownAtMost)]...)
	}
	for _, v := range all {
		fmt.Fprintf(out, "\nBROKEN: %s\n  %s\n", v.rule, v.text)
		if v.run != nil {
			v.run.print(out)
		}
	}
	return len(all) == 0
}
