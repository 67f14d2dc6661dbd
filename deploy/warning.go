package deploy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ignored is something in the file that has no effect.
type ignored struct {
	what string // a key, or the text {{ … }} in a key
	note string
	at   position // the first
	more []int    // lines of the others
}

// ignore warns once about what, wherever and however often it is in the file.
func (r *reader) ignore(at position, what, note string) {
	for i := range r.ignored {
		if it := &r.ignored[i]; it.what == what && it.note == note {
			if at != it.at && !slices.Contains(it.more, at.line) {
				it.more = append(it.more, at.line)
			}
			return
		}
	}
	r.ignored = append(r.ignored, ignored{what: what, note: note, at: at})
}

func (r *reader) warnings() []string {
	slices.SortStableFunc(r.ignored, func(a, b ignored) int {
		if a.at.line != b.at.line {
			return a.at.line - b.at.line
		}
		return a.at.column - b.at.column
	})
	var all []string
	for _, it := range r.ignored {
		w := fmt.Sprintf("%s:%d:%d: %s %s", r.file, it.at.line, it.at.column, it.what, it.note)
		if len(it.more) > 0 {
			w += " (also in line " + joinInts(it.more) + ")"
		}
		all = append(all, w)
	}
	return all
}

func joinInts(n []int) string {
	s := make([]string, 0, len(n))
	for _, i := range n[:min(len(n), 10)] {
		s = append(s, strconv.Itoa(i))
	}
	if len(n) > 10 {
		s = append(s, "…")
	}
	return strings.Join(s, ", ")
}

// template is what Prefect fills in when it deploys: {{ $ENV }}, {{ prefect.variables.x }}, {{ build-image.tag }}.
var template = regexp.MustCompile(`\{\{\s*[\w$][\w.$\[\]-]*\s*\}\}`)

// yaml11 is what Prefect's reader, which follows YAML 1.1, takes for true or false. In YAML 1.2 it is text.
var yaml11 = regexp.MustCompile(`^(?i:yes|no|on|off)$`)

// prefectReads warns about text that Prefect would have read as something else.
func (r *reader) prefectReads(key string, v *value) {
	switch v.kind {
	case text:
		if t := template.FindString(v.text); t != "" {
			note := fmt.Sprintf("in %s stays as it is written: weir fills in nothing when it deploys", key)
			if strings.Contains(t, "$") && key == "job_variables" {
				note += `; for a job's environment write {"from_env": "NAME"}`
			}
			r.ignore(v.at, t, note)
		}
		if v.plain && yaml11.MatchString(v.text) {
			r.ignore(v.at, v.text, fmt.Sprintf("in %s is text here, and was true or false in Prefect: write true, false or quotes", key))
		}
	case list:
		for _, item := range v.items {
			r.prefectReads(key, item)
		}
	case mapping:
		for _, f := range v.fields {
			r.prefectReads(key, f.value)
		}
	}
}
