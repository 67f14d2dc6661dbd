package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What a project file may ask of its reader. Aliases of aliases are counted as often as they are used.
const (
	maxFile   = 1 << 20 // bytes
	maxValues = 20_000  // values that aliases may stand for, all together: those of the file itself are bound by its size
	maxDepth  = 100     // mappings and lists inside each other
)

// parseYAML reads the one document of a project file. What is wrong is added to src, and the value is nil or
// incomplete then.
func parseYAML(src *source, data []byte) *value {
	if len(data) > maxFile {
		src.fail(position{}, "the file has %d bytes, the limit is %d", len(data), maxFile)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // as editors on Windows put it
	if i := invalidUTF8(data); i >= 0 {
		line := bytes.Count(data[:i], []byte("\n"))
		src.fail(position{line + 1, utf8.RuneCount(data[bytes.LastIndexByte(data[:i], '\n')+1:i]) + 1}, "not UTF-8 text: save the file in that encoding")
		return nil
	}
	if at, deep := tooDeep(data); deep {
		src.fail(at, "mappings and lists are nested more than %d deep", maxDepth)
		return nil
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok && syntax.Token != nil {
			src.fail(tokenAt(syntax.Token), "not YAML: %s", strings.TrimSpace(syntax.Message))
		} else {
			src.fail(position{}, "not YAML: %s", err)
		}
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			src.fail(nodeAt(doc.Body), "the file has a second document here: a project file is one")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		return &value{kind: null}
	}
	r := resolver{src: src, anchors: map[string]ast.Node{}, open: map[string]bool{}}
	return r.value(body, 0)
}

// invalidUTF8 is where data is no UTF-8 text, or -1.
func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// tooDeep finds nesting that the parser, which recurses, had better not see. It may count brackets inside text.
func tooDeep(data []byte) (position, bool) {
	brackets := 0
	for n, line := range bytes.Split(data, []byte("\n")) {
		for i, c := range line {
			switch c {
			case '[', '{':
				brackets++
			case ']', '}':
				brackets = max(brackets-1, 0)
			}
			if brackets > maxDepth {
				return position{n + 1, i + 1}, true
			}
		}
		dashes := len(line) - len(bytes.TrimLeft(line, "-? "))
		if bytes.Count(line[:dashes], []byte("- "))+bytes.Count(line[:dashes], []byte("? ")) > maxDepth {
			return position{n + 1, 1}, true
		}
	}
	return position{}, false
}

func tokenAt(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{}
	}
	return position{t.Position.Line, max(t.Position.Column, 1)}
}

func nodeAt(n ast.Node) position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return nodeAt(m.Values[0].Key) // a block mapping's own token is the first colon
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		return nodeAt(m.Key)
	}
	return tokenAt(n.GetToken())
}

// resolver turns nodes into values.
type resolver struct {
	src     *source
	anchors map[string]ast.Node // seen so far, by name
	open    map[string]bool     // anchors and aliases that are being resolved
	aliases int                 // how many of them are aliases
	values  int                 // that aliases stand for
	gaveUp  bool
}

func (r *resolver) value(n ast.Node, depth int) *value {
	v := &value{kind: null, json: json.RawMessage("null")}
	if n == nil {
		return v
	}
	v.at = nodeAt(n)
	if r.aliases > 0 {
		r.values++
	}
	if r.values > maxValues || depth > maxDepth {
		switch {
		case r.gaveUp:
		case depth > maxDepth:
			r.src.fail(v.at, "mappings and lists are nested more than %d deep", maxDepth)
		default:
			r.src.fail(v.at, "the file's aliases stand for more than %d values", maxValues)
		}
		r.gaveUp = true
		return v
	}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.BoolNode:
		v.kind, v.json = boolean, json.RawMessage(fmt.Sprint(n.Value))
	case *ast.IntegerNode:
		v.kind, v.text, v.json = number, n.Token.Value, json.RawMessage(fmt.Sprint(n.Value))
	case *ast.FloatNode:
		v.kind, v.text, v.json = number, n.Token.Value, r.float(n.Value, n.Token)
	case *ast.StringNode:
		v.kind, v.text, v.json = text, n.Value, quoted(n.Value)
		v.plain = n.Token.Type == token.StringType
	case *ast.LiteralNode:
		v.kind, v.text, v.json = text, n.Value.Value, quoted(n.Value.Value)
	case *ast.SequenceNode:
		v.kind = list
		for _, item := range n.Values {
			v.items = append(v.items, r.value(item, depth+1))
		}
	case *ast.MappingNode:
		v.kind = mapping
		v.fields = r.fields(n.Values, depth)
	case *ast.MappingValueNode:
		v.kind = mapping
		v.fields = r.fields([]*ast.MappingValueNode{n}, depth)
	case *ast.AnchorNode:
		return r.anchor(n, depth)
	case *ast.AliasNode:
		return r.alias(n, depth)
	case *ast.TagNode:
		return r.tagged(n, depth)
	default:
		r.src.fail(v.at, "%s has no meaning in a project file: write text, a number, true, false, a list or a mapping", n.GetToken().Value)
	}
	return v
}

func (r *resolver) float(f float64, t *token.Token) json.RawMessage {
	if json.Valid([]byte(t.Value)) {
		return json.RawMessage(t.Value) // as it is written
	}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		r.src.fail(tokenAt(t), "%s is out of range", t.Value)
		return json.RawMessage("null")
	}
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // a finite number always encodes
	}
	return b
}

func (r *resolver) anchor(n *ast.AnchorNode, depth int) *value {
	name := n.Name.GetToken().Value
	r.anchors[name] = n.Value
	r.open[name] = true
	defer delete(r.open, name)
	return r.value(n.Value, depth)
}

func (r *resolver) alias(n *ast.AliasNode, depth int) *value {
	name := n.Value.GetToken().Value
	target, ok := r.anchors[name]
	switch {
	case !ok:
		r.src.fail(nodeAt(n), "the alias *%s has no anchor &%s before it%s", name, name, didYouMean(name, keys(r.anchors)))
	case r.open[name]:
		r.src.fail(nodeAt(n), "the alias *%s is inside what &%s names: it would have no end", name, name)
	default:
		r.open[name] = true
		r.aliases++
		defer func() {
			delete(r.open, name)
			r.aliases--
		}()
		return r.value(target, depth+1)
	}
	return &value{at: nodeAt(n), kind: null, json: json.RawMessage("null")}
}

// tagged honours !!str, which makes text of a number. What other tags say is visible in the value itself.
func (r *resolver) tagged(n *ast.TagNode, depth int) *value {
	v := r.value(n.Value, depth+1)
	if n.Start.Value == "!!str" && (v.kind == number || v.kind == boolean || v.kind == null) && n.Value != nil {
		s := strings.TrimSpace(n.Value.GetToken().Value)
		return &value{at: v.at, kind: text, text: s, json: quoted(s)}
	}
	return v
}

// fields reads a mapping. Its own keys win over what << merges in, and the first merged mapping wins over the next.
func (r *resolver) fields(nodes []*ast.MappingValueNode, depth int) []field {
	var own, merged []field
	for _, n := range nodes {
		if n.Key.IsMergeKey() {
			merged = append(merged, r.merged(n.Value, depth)...)
			continue
		}
		var keyNode ast.Node = n.Key
		if explicit, ok := n.Key.(*ast.MappingKeyNode); ok {
			keyNode = explicit.Value
		}
		at := nodeAt(n.Key)
		key := r.value(keyNode, depth+1)
		switch key.kind {
		case text, number:
		case boolean, null:
			key.text = string(key.json)
		default:
			r.src.fail(at, "a key is text, not %s", key.kind)
			continue
		}
		if own = append(own, field{at: at, key: key.text, value: r.value(n.Value, depth+1)}); r.gaveUp {
			break // the keys that follow were not read
		}
	}
	has := map[string]bool{}
	for _, f := range own {
		if has[f.key] {
			r.src.fail(f.at, "the key %s is there twice", f.key)
		}
		has[f.key] = true
	}
	for _, f := range merged {
		if !has[f.key] {
			has[f.key] = true
			own = append(own, f)
		}
	}
	return own
}

func (r *resolver) merged(n ast.Node, depth int) []field {
	v := r.value(n, depth+1)
	switch v.kind {
	case mapping:
		return v.fields
	case list:
		var all []field
		for _, item := range v.items {
			if item.kind != mapping {
				r.src.fail(item.at, "<< merges mappings in, not %s", item.kind)
			}
			all = append(all, item.fields...)
		}
		return all
	}
	r.src.fail(v.at, "<< merges mappings in, not %s", v.kind)
	return nil
}
