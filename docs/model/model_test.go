package model

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// protocol is what is searched whole. large ones are left to make model when the race detector is on.
var protocol = []struct {
	bounds Bounds
	large  bool
}{
	{bounds: Bounds{AckWait: 3, Hold: 2, Attempts: 1, Crashes: 1, Early: 1, Cancel: true}},
	{bounds: Bounds{AckWait: 3, Hold: 2, Attempts: 1, Crashes: 2, Early: 1, Cancel: true}, large: true},
	{bounds: Bounds{AckWait: 3, Hold: 2, Attempts: 2, Early: 1}, large: true},
	{bounds: Bounds{AckWait: 3, Hold: 2, Attempts: 2, Crashes: 1}, large: true},
	{bounds: Bounds{AckWait: 3, Hold: 2, Attempts: 2, Failures: true, Cancel: true}, large: true},
	{bounds: Bounds{AckWait: 6, Hold: 4, Attempts: 2}, large: true},
	{bounds: Bounds{AckWait: 6, Hold: 4, Attempts: 1, Crashes: 1, Early: 1, Cancel: true}, large: true},
}

func TestSearch_protocolHoldsInEveryState(t *testing.T) {
	page := page(t)
	for _, c := range protocol {
		if c.large && raced {
			continue
		}
		began := time.Now()
		r := Search(Protocol(), c.bounds)
		t.Logf("%+v: %d states, %d transitions, %d steps deep, in %s", c.bounds, r.States, r.Transitions, r.Depth, time.Since(began).Round(time.Millisecond))
		if r.Broken != "" {
			t.Errorf("%+v: %s\n%s", c.bounds, r.Broken, strings.Join(r.Trace, "\n"))
		} else if row := row(c.bounds, r); !strings.Contains(page, row) {
			t.Errorf("docs/model.md does not have the row\n%s", row)
		}
	}
}

const (
	other   = "an execution lives that is not the one of the run's last event"
	path    = "an event is stored that may not follow the one before it"
	dropped = "no request carries the run to its next event"
	noEnd   = "from here the run cannot reach its end any more"
	shown   = "WatchOwner" // whose counterexample docs/model.md shows
)

func TestSearch_findsWhatEachRuleIsFor(t *testing.T) {
	short := Bounds{AckWait: 3, Hold: 2, Attempts: 2}
	early := Bounds{AckWait: 3, Hold: 2, Attempts: 2, Early: 1}
	killed := Bounds{AckWait: 3, Hold: 2, Attempts: 2, Crashes: 1}
	for _, c := range []struct {
		rule   string
		off    func(*Rules)
		bounds Bounds
		want   string
	}{
		{"CompareAndSet", func(r *Rules) { r.CompareAndSet = false }, short, path},
		{"Switch", func(r *Rules) { r.Switch = false }, short, other},
		{"RefuseLateStart", func(r *Rules) { r.RefuseLateStart = false }, short, other},
		{"StartsInOrder", func(r *Rules) { r.StartsInOrder = false }, killed, other},
		{"WatchOwner", func(r *Rules) { r.WatchOwner = false }, short, other},
		{"AnswerWhole", func(r *Rules) { r.AnswerWhole = false }, short, other},
		{"OwnClock", func(r *Rules) { r.OwnClock = false }, early, other},
		{"TakenBack", func(r *Rules) { r.TakenBack = false }, early, other},
		{"StopEmpty", func(r *Rules) { r.StopEmpty = false }, short, other},
		{"LeaseFromRecord", func(r *Rules) { r.LeaseFromRecord = false }, short, other},
		{"FirstLeaseToo", func(r *Rules) { r.FirstLeaseToo = false }, short, other},
		{"LeaseFromSending", func(r *Rules) { r.LeaseFromSending = false }, Bounds{AckWait: 6, Hold: 4, Attempts: 2}, other},
		{"StaysOver", func(r *Rules) { r.StaysOver = false }, short, other},
		{"FinalBeforeAck", func(r *Rules) { r.FinalBeforeAck = false }, short, dropped},
		{"AckWhatIsOver", func(r *Rules) { r.AckWhatIsOver = false }, Bounds{AckWait: 3, Hold: 2, Attempts: 1}, noEnd},
		{"MarkCarried", func(r *Rules) { r.MarkCarried = false }, short, dropped},
		{"SchedulePerTry", func(r *Rules) { r.SchedulePerTry = false }, Bounds{AckWait: 2, Hold: 1, Attempts: 3}, dropped},
		{"ReclaimHeld", func(r *Rules) { r.ReclaimHeld = false }, killed, path},
		{"LostCancelIsFinal", func(r *Rules) { r.LostCancelIsFinal = false }, Bounds{AckWait: 3, Hold: 2, Attempts: 2, Cancel: true}, path},
	} {
		t.Run(c.rule, func(t *testing.T) {
			rules := Protocol()
			c.off(&rules)
			r := Search(rules, c.bounds)
			trace := strings.Join(r.Trace, "\n")
			t.Logf("without it, %s, after %d states:\n%s", r.Broken, r.States, trace)
			if r.Broken != c.want {
				t.Errorf("without %s got %q, want %q", c.rule, r.Broken, c.want)
			}
			if c.rule == shown && !strings.Contains(page(t), trace) {
				t.Error("docs/model.md does not show this trace")
			}
		})
	}
}

// page is docs/model.md.
func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../model.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// row is a search's row in the page's table.
func row(b Bounds, r Result) string {
	word := map[bool]string{true: "yes", false: "no"}
	return fmt.Sprintf("| %d / %d | %d | %d | %d | %s | %s | %s | %s |", b.AckWait, b.Hold, b.Attempts, b.Crashes, b.Early, word[b.Failures], word[b.Cancel],
		thousands(r.States), thousands(r.Transitions))
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
