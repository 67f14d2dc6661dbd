package deploy

import (
	"strconv"

	"github.com/weir-run/weir/schemas"
)

// maxRetries is the largest number of retries that a file may ask for.
const maxRetries = 100

var retriesKeys = []key[schemas.Retries]{
	{name: "max", read: func(r *reader, t *schemas.Retries, f field) { t.Max = r.integer(f, 0, maxRetries) }},
	{name: "backoff", read: func(r *reader, t *schemas.Retries, f field) { t.Backoff = r.duration(f) }},
	{name: "factor", read: func(r *reader, t *schemas.Retries, f field) { t.Factor = r.number(f, 1, 100) }},
	{name: "jitter", read: func(r *reader, t *schemas.Retries, f field) { t.Jitter = new(r.number(f, 0, 1)) }},
	{name: "max_backoff", read: func(r *reader, t *schemas.Retries, f field) { t.MaxBackoff = r.duration(f) }},
	{name: "retry_on", read: func(r *reader, t *schemas.Retries, f field) { t.RetryOn = r.causes(f) }},
	{name: "never_on", read: func(r *reader, t *schemas.Retries, f field) { t.NeverOn = r.causes(f) }},
}

// readRetries reads a number, or a mapping that says more.
func readRetries(r *reader, f field) *schemas.Retries {
	var t schemas.Retries
	if f.value.kind == number {
		t.Max = r.integer(f, 0, maxRetries)
		return &t
	}
	if f.value.kind != mapping {
		r.fail(f.value.at, "retries: got %s, want a number such as 3, or a mapping such as {max: 3, backoff: 10s}", f.value.kind)
		return nil
	}
	readMapping(r, f.value, "retries", retriesKeys, &t)
	if f.value.field("max") == nil {
		r.fail(f.value.at, "retries needs max: how many attempts may follow the first")
	}
	return &t
}

func (r *reader) number(f field, least, most float64) float64 {
	n, err := strconv.ParseFloat(string(f.value.json), 64)
	if f.value.kind != number || err != nil || n < least || n > most {
		got := string(f.value.kind)
		if f.value.kind == number {
			got = f.value.text
		}
		r.fail(f.value.at, "%s: got %s, want a number from %v to %v", f.key, got, least, most)
		return 0
	}
	return n
}

// causes reads a list such as [exit:75, oom_killed]. The parser takes exit:75 in brackets for a mapping, and people write
// exit: 75; both mean the same.
func (r *reader) causes(f field) []schemas.Cause {
	if f.value.kind != list {
		r.fail(f.value.at, "%s: got %s, want a list such as [exit:75, oom_killed]", f.key, f.value.kind)
		return nil
	}
	var causes []schemas.Cause
	for _, item := range f.value.items {
		c := schemas.Cause(item.text)
		if item.kind == mapping && len(item.fields) == 1 {
			c = schemas.Cause(item.fields[0].key + ":" + item.fields[0].value.text)
		}
		if err := c.Check(); err != nil {
			r.fail(item.at, "%s: %s", f.key, err)
			continue
		}
		causes = append(causes, c)
	}
	return causes
}
