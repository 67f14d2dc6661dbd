package ecs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/schemas"
)

// A definitionTemplate is a task definition as RegisterTaskDefinition takes it, or DescribeTaskDefinition gives it, in the looser form of
// Prefect's templates: with null where a variable is not set, maps for environment and tags, text for a command.
type definitionTemplate struct {
	input ecs.RegisterTaskDefinitionInput
}

// A requestTemplate is a request as RunTask takes it, in the same looser form.
type requestTemplate struct {
	input      ecs.RunTaskInput
	launchType string                     // which may be FARGATE_SPOT
	references map[string]json.RawMessage // what environment does not say in text
	present    bool
}

// object is one of JSON.
type object = map[string]any

// registered is what DescribeTaskDefinition tells of a definition beyond what was asked for.
var registered = []string{
	"taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities", "registeredAt", "registeredBy", "deregisteredAt", "deleteRequestedAt",
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *definitionTemplate) UnmarshalJSON(b []byte) error {
	root, err := loose(b)
	if err != nil {
		return fmt.Errorf("task_definition: %w", err)
	}
	for _, name := range registered {
		delete(root, name)
	}
	asText(root, "cpu", "memory")
	asList(root, "tags", "key")
	containers, _ := root["containerDefinitions"].([]any)
	for _, c := range containers {
		if c, ok := c.(object); ok {
			asNumber(c, "cpu", "memory", "memoryReservation")
			asList(c, "environment", "name")
			asWords(c, "command", "entryPoint")
		}
	}
	if err := strict(root, &t.input); err != nil {
		return fmt.Errorf("task_definition: %w", err)
	}
	t.input.ContainerDefinitions = slices.DeleteFunc(t.input.ContainerDefinitions, func(c types.ContainerDefinition) bool {
		return len(wire(c).(object)) == 0
	})
	return nil
}

// given tells whether there is a template.
func (t *definitionTemplate) given() bool { return len(wire(t.input).(object)) > 0 }

// names are those of the containers.
func (t *definitionTemplate) names() []string {
	var names []string
	for _, c := range t.input.ContainerDefinitions {
		names = append(names, deref(c.Name))
	}
	return names
}

// container is the one of that name; a single one without a name is meant by any.
func (t *definitionTemplate) container(name string) *types.ContainerDefinition {
	list := t.input.ContainerDefinitions
	for i := range list {
		if deref(list[i].Name) == name || list[i].Name == nil && len(list) == 1 {
			return &list[i]
		}
	}
	return nil
}

// ownFields are those of RunTask that Weir alone fills in.
var ownFields = []string{"clientToken", "startedBy", "count", "referenceId"}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *requestTemplate) UnmarshalJSON(b []byte) error {
	if err := t.parse(b); err != nil {
		return fmt.Errorf("task_run_request: %w", err)
	}
	return nil
}

func (t *requestTemplate) parse(b []byte) error {
	root, err := loose(b)
	if err != nil {
		return err
	}
	t.present = len(root) > 0
	for _, name := range ownFields {
		if _, ok := root[name]; ok {
			return fmt.Errorf("%s is set by weir itself: leave it out", name)
		}
	}
	t.launchType, _ = root["launchType"].(string)
	delete(root, "launchType")
	asList(root, "tags", "key")
	overrides, _ := root["overrides"].(object)
	asText(overrides, "cpu", "memory")
	containers, _ := overrides["containerOverrides"].([]any)
	for _, c := range containers {
		c, ok := c.(object)
		if !ok {
			continue
		}
		asNumber(c, "cpu", "memory", "memoryReservation")
		asWords(c, "command")
		environment, _ := c["environment"].(object)
		for name, value := range environment {
			if _, ok := value.(object); !ok {
				continue
			}
			if t.references == nil {
				t.references = map[string]json.RawMessage{}
			}
			if t.references[name], err = json.Marshal(value); err != nil {
				return err
			}
			delete(environment, name)
		}
		asList(c, "environment", "name")
	}
	return strict(root, &t.input)
}

// given tells whether there is a template.
func (t *requestTemplate) given() bool { return t.present }

// container is the override of that container; one without a name is the job's.
func (t *requestTemplate) container(name string) *types.ContainerOverride {
	if t.input.Overrides == nil {
		return nil
	}
	for i, c := range t.input.Overrides.ContainerOverrides {
		if c.Name == nil || *c.Name == name {
			return &t.input.Overrides.ContainerOverrides[i]
		}
	}
	return nil
}

// loose reads an object without its nulls. Numbers stay as they are written.
func loose(b []byte) (object, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if v == nil {
		return object{}, nil
	}
	root, ok := withoutNulls(v).(object)
	if !ok {
		return nil, fmt.Errorf("got %s, want an object", clip(string(b)))
	}
	return root, nil
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case object:
		maps.DeleteFunc(v, func(_ string, value any) bool { return value == nil })
		for name, value := range v {
			v[name] = withoutNulls(value)
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return v
}

// strict fills a request of the SDK, whose fields are ECS's own in another case, and refuses what it does not have.
func strict(root object, into any) error {
	b, err := json.Marshal(root)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: it is to have the fields of ECS's own request", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// asText turns numbers into the text that ECS wants there.
func asText(o object, names ...string) {
	for _, name := range names {
		if n, ok := o[name].(json.Number); ok {
			o[name] = n.String()
		}
	}
}

// asNumber turns text into the numbers that ECS wants there.
func asNumber(o object, names ...string) {
	for _, name := range names {
		if s, ok := o[name].(string); ok {
			if _, err := strconv.ParseInt(s, 10, 32); err == nil {
				o[name] = json.Number(s)
			}
		}
	}
}

// asList turns a map into ECS's list of pairs.
func asList(o object, name, key string) {
	pairs, ok := o[name].(object)
	if !ok {
		return
	}
	list := []any{}
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		value := pairs[k]
		switch value.(type) {
		case bool, json.Number:
			value = fmt.Sprint(value)
		}
		list = append(list, object{key: k, "value": value})
	}
	o[name] = list
}

// asWords turns text into a list of words.
func asWords(o object, names ...string) {
	for _, name := range names {
		if s, ok := o[name].(string); ok {
			if words, err := schemas.SplitCommand(s); err == nil {
				o[name] = words
			}
		}
	}
}
