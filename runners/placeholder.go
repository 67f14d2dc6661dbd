package runners

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// placeholder is {{ name }} as Prefect writes it. Anything else between braces, such as the {{.Names}} of a docker
// format, is text.
var placeholder = regexp.MustCompile(`\{\{\s*([A-Za-z_$][\w.$\[\]-]*)\s*\}\}`)

// A node is a part of a job configuration, parsed once: rendering it only copies bytes.
type node interface {
	// render appends the part to b. false: it is a variable without a value, and nothing was appended.
	render(b *bytes.Buffer, vars map[string]json.RawMessage) bool
}

type (
	literal  json.RawMessage // a part without placeholders
	variable string          // a string that is one placeholder: takes the value with its type
	text     []node          // a string with placeholders in it: literal and variable parts, in turn
	list     []node
	object   []member
	member   struct {
		key   json.RawMessage // with its quotes and colon
		value node
	}
)

func (n literal) render(b *bytes.Buffer, _ map[string]json.RawMessage) bool {
	b.Write(n)
	return true
}

func (n variable) render(b *bytes.Buffer, vars map[string]json.RawMessage) bool {
	v, ok := vars[string(n)]
	b.Write(v)
	return ok
}

func (n text) render(b *bytes.Buffer, vars map[string]json.RawMessage) bool {
	var s strings.Builder
	for _, part := range n {
		switch part := part.(type) {
		case literal:
			s.Write(part)
		case variable:
			s.WriteString(stringForm(vars[string(part)]))
		}
	}
	b.Write(quote(s.String()))
	return true
}

func (n list) render(b *bytes.Buffer, vars map[string]json.RawMessage) bool {
	b.WriteByte('[')
	first := b.Len()
	for _, item := range n {
		before := b.Len()
		if before > first {
			b.WriteByte(',')
		}
		if !item.render(b, vars) {
			b.Truncate(before)
		}
	}
	b.WriteByte(']')
	return true
}

func (n object) render(b *bytes.Buffer, vars map[string]json.RawMessage) bool {
	b.WriteByte('{')
	first := b.Len()
	for _, m := range n {
		before := b.Len()
		if before > first {
			b.WriteByte(',')
		}
		b.Write(m.key)
		if !m.value.render(b, vars) {
			b.Truncate(before)
		}
	}
	b.WriteByte('}')
	return true
}

// stringForm is how a value reads inside text. Nothing and null are empty.
func stringForm(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return ""
	}
	return b.String()
}

func quote(s string) json.RawMessage {
	q, err := encode(s)
	if err != nil {
		panic(err) // a string always encodes
	}
	return q
}

// parser turns a decoded job configuration into nodes and notes the variables it uses.
type parser struct {
	known []string // variables that the template declares, sorted
	used  map[string]bool
}

func (p *parser) parse(v any, path string) (node, error) {
	switch v := v.(type) {
	case string:
		return p.text(v, path)
	case []any:
		items, constant := make(list, len(v)), true
		for i := range v {
			n, err := p.parse(v[i], fmt.Sprintf("%s[%d]", path, i))
			if err != nil {
				return nil, err
			}
			_, lit := n.(literal)
			items[i], constant = n, constant && lit
		}
		return folded(items, constant), nil
	case map[string]any:
		members, constant := make(object, 0, len(v)), true
		for _, key := range sortedKeys(v) {
			n, err := p.parse(v[key], path+"."+key)
			if err != nil {
				return nil, err
			}
			_, lit := n.(literal)
			members, constant = append(members, member{key: append(quote(key), ':'), value: n}), constant && lit
		}
		return folded(members, constant), nil
	default:
		raw, err := encode(v)
		return literal(raw), err
	}
}

// folded renders what holds no placeholder once and for all.
func folded(n node, constant bool) node {
	if !constant {
		return n
	}
	var b bytes.Buffer
	n.render(&b, nil)
	return literal(b.Bytes())
}

func (p *parser) text(s, path string) (node, error) {
	found := placeholder.FindAllStringSubmatchIndex(s, -1)
	if found == nil {
		return literal(quote(s)), nil
	}
	var parts text
	end := 0
	for _, at := range found {
		name := s[at[2]:at[3]]
		if err := p.use(name, path); err != nil {
			return nil, err
		}
		if at[0] == 0 && at[1] == len(s) {
			return variable(name), nil
		}
		parts = append(parts, literal(s[end:at[0]]), variable(name))
		end = at[1]
	}
	return append(parts, literal(s[end:])), nil
}

func (p *parser) use(name, path string) error {
	if _, ok := slices.BinarySearch(p.known, name); ok {
		p.used[name] = true
		return nil
	}
	if strings.HasPrefix(name, "$") || strings.HasPrefix(name, "prefect.") || strings.HasPrefix(name, "ctx.") {
		return fmt.Errorf("%s uses {{ %s }}, which only Prefect fills in: write the value, or {\"from_env\": \"NAME\"} in env for a secret", path, name)
	}
	return fmt.Errorf("%s uses {{ %s }}, which variables does not declare%s; it declares %s", path, name, didYouMean(name, p.known), orNone(p.known))
}
