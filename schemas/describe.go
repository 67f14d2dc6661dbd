package schemas

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// describe says in words what one cause of a failed validation is. doc is the document and root the path of it.
func describe(cause *jsonschema.ValidationError, schema *jsonschema.Schema, doc any, root string) []Problem {
	field := path(root, cause.InstanceLocation, doc)
	var texts []string
	switch k := cause.ErrorKind.(type) {
	case *kind.Type:
		texts = append(texts, wrongType(k))
	case *kind.Required:
		for _, name := range k.Missing {
			texts = append(texts, fmt.Sprintf("the field %q is missing", clip(name)))
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			texts = append(texts, unknownField(name, properties(schema, cause.SchemaURL)))
		}
	case *kind.Enum:
		texts = append(texts, notListed(k))
	case *kind.Const:
		texts = append(texts, fmt.Sprintf("got %s, want %s", show(k.Got), show(k.Want)))
	case *kind.Pattern:
		if words, ok := patternWords[k.Want]; ok {
			texts = append(texts, fmt.Sprintf("got %s, want %s", show(k.Got), words))
		} else {
			texts = append(texts, fmt.Sprintf("got %s, want text that matches %s", show(k.Got), clip(k.Want)))
		}
	case *kind.Format:
		texts = append(texts, fmt.Sprintf("got %s, want %s", show(k.Got), formatWords(k.Want)))
	case *kind.Minimum:
		texts = append(texts, fmt.Sprintf("got %s, want at least %s", number(k.Got), number(k.Want)))
	case *kind.Maximum:
		texts = append(texts, fmt.Sprintf("got %s, want at most %s", number(k.Got), number(k.Want)))
	case *kind.ExclusiveMinimum:
		texts = append(texts, fmt.Sprintf("got %s, want more than %s", number(k.Got), number(k.Want)))
	case *kind.ExclusiveMaximum:
		texts = append(texts, fmt.Sprintf("got %s, want less than %s", number(k.Got), number(k.Want)))
	case *kind.MultipleOf:
		texts = append(texts, fmt.Sprintf("got %s, want a multiple of %s", number(k.Got), number(k.Want)))
	case *kind.MinLength:
		texts = append(texts, fmt.Sprintf("has %d characters, want at least %d", k.Got, k.Want))
	case *kind.MaxLength:
		texts = append(texts, fmt.Sprintf("has %d characters, want at most %d", k.Got, k.Want))
	case *kind.MinItems:
		texts = append(texts, fmt.Sprintf("has %d items, want at least %d", k.Got, k.Want))
	case *kind.MaxItems:
		texts = append(texts, fmt.Sprintf("has %d items, want at most %d", k.Got, k.Want))
	case *kind.UniqueItems:
		texts = append(texts, fmt.Sprintf("items %d and %d are the same", k.Duplicates[0]+1, k.Duplicates[1]+1))
	case *kind.AnyOf:
		texts = append(texts, "fits none of the forms it may have")
	case *kind.OneOf:
		texts = append(texts, "fits more than one of the forms it may have")
	case *kind.RefCycle:
		texts = append(texts, "cannot be checked: the schema refers to itself without end")
	case *kind.FalseSchema:
		texts = append(texts, "is not allowed here")
	default:
		texts = append(texts, k.LocalizedString(english))
	}
	list := make([]Problem, len(texts))
	for i, text := range texts {
		list[i] = Problem{Field: field, Text: text}
	}
	return list
}

// english words the validator's rarer findings.
var english = message.NewPrinter(language.English)

// typeWords are JSON's types as people who write YAML and Python know them.
var typeWords = map[string]string{
	"null": "null", "boolean": "true or false", "number": "a number", "integer": "an integer", "string": "text", "array": "a list", "object": "an object",
}

func wrongType(k *kind.Type) string {
	var want []string
	for _, t := range k.Want {
		if w := typeWords[t]; !slices.Contains(want, w) {
			want = append(want, w)
		}
	}
	text := fmt.Sprintf("got %s, want %s", typeWords[k.Got], strings.Join(want, " or "))
	if k.Got == "null" {
		text += " (or leave it out)"
	}
	return text
}

// kindOf is what people call v, a value as [readDocument] or encoding/json read it.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return typeWords["null"]
	case bool:
		return typeWords["boolean"]
	case string:
		return typeWords["string"]
	case []any:
		return typeWords["array"]
	case map[string]any:
		return typeWords["object"]
	default:
		return typeWords["number"]
	}
}

// patternWords say what the patterns of our own schemas mean.
var patternWords = map[string]string{
	namePattern:     "1 to 64 letters, digits, _ or -",
	durationPattern: "a number with a unit (90s, 10m, 1h30m)",
	causePattern:    causeHint,
}

// The patterns that the schemas share; a test finds them there.
const (
	namePattern     = `^[A-Za-z0-9_-]{1,64}$`
	durationPattern = `^(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
)

func formatWords(format string) string {
	switch format {
	case "date-time":
		return "a time such as 2026-01-31T15:04:05Z"
	case "date":
		return "a date such as 2026-01-31"
	default:
		return "a valid " + clip(format)
	}
}

// unknownField offers the field that was meant.
func unknownField(name string, known []string) string {
	if near := Nearest(name, known); near != "" {
		return fmt.Sprintf("unknown field %q: did you mean %q?", clip(name), near)
	}
	if len(known) == 0 {
		return fmt.Sprintf("unknown field %q", clip(name))
	}
	return fmt.Sprintf("unknown field %q: there are %s", clip(name), listed(known))
}

// notListed offers the value that was meant.
func notListed(k *kind.Enum) string {
	words := make([]string, len(k.Want))
	for i, v := range k.Want {
		words[i] = show(v)
	}
	if got, ok := k.Got.(string); ok {
		if near := Nearest(strconv.Quote(got), words); near != "" {
			return fmt.Sprintf("got %s: did you mean %s?", show(got), near)
		}
	}
	return fmt.Sprintf("got %s, want one of %s", show(k.Got), listed(words))
}

// listed joins words, and stops where nobody reads on.
func listed(words []string) string {
	const most = 12
	var list []string
	for _, w := range words[:min(most, len(words))] {
		list = append(list, clip(w))
	}
	text := strings.Join(list, ", ")
	if len(words) > most {
		text += fmt.Sprintf(" and %d more", len(words)-most)
	}
	return text
}

// show is v as JSON, clipped.
func show(v any) string {
	switch v.(type) {
	case map[string]any, []any:
		return kindOf(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return kindOf(v)
	}
	return clip(string(b))
}

func number(r *big.Rat) string {
	if r.IsInt() && len(r.Num().String()) <= 20 {
		return r.Num().String()
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// properties returns the names that the part of schema at url knows, sorted.
func properties(schema *jsonschema.Schema, url string) []string {
	seen := map[*jsonschema.Schema]bool{}
	var find func(s *jsonschema.Schema) *jsonschema.Schema
	find = func(s *jsonschema.Schema) *jsonschema.Schema {
		if s == nil || seen[s] {
			return nil
		}
		if s.Location == url {
			return s
		}
		seen[s] = true
		parts := slices.Concat(s.AllOf, s.AnyOf, s.OneOf, s.PrefixItems, slices.Collect(maps.Values(s.Properties)),
			[]*jsonschema.Schema{s.Ref, s.Items2020, s.If, s.Then, s.Else})
		if more, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
			parts = append(parts, more)
		}
		for _, part := range parts {
			if found := find(part); found != nil {
				return found
			}
		}
		return nil
	}
	found := find(schema)
	if found == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(found.Properties))
}
