package ecstest

import (
	"encoding/json"
	"slices"
	"strings"
)

type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// list is a list that is never null.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// merged is tags with more, which win.
func merged(tags []tag, more ...tag) []tag {
	tags = slices.Clone(tags)
	for _, t := range more {
		if i := slices.IndexFunc(tags, func(old tag) bool { return old.Key == t.Key }); i >= 0 {
			tags[i] = t
		} else {
			tags = append(tags, t)
		}
	}
	return tags
}

func checkTags(tags []tag) error {
	if len(tags) > 50 {
		return invalid("Too many tags. A resource can have at most 50 tags.")
	}
	for _, t := range tags {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 || strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return invalid("Invalid tag: key %q, value %q", t.Key, t.Value)
		}
	}
	return nil
}

// retag changes a resource's tags.
func (c *call) retag(resource string, change func([]tag) []tag) error {
	if err := c.may(resource, nil); err != nil {
		return err
	}
	if t := c.tasks.byID[idOf(resource)]; t != nil {
		var tags []tag
		if err := json.Unmarshal(t.tags, &tags); err != nil {
			return err
		}
		t.tags, _ = json.Marshal(list(change(tags)))
		return nil
	}
	if d := c.definitionOf(resource); d != nil {
		d.tags = change(d.tags)
		return nil
	}
	if _, ok := c.clusters[strings.TrimPrefix(resource, arn("ecs", "cluster/"))]; ok {
		c.tags[resource] = change(c.tags[resource])
		return nil
	}
	return invalid("The specified resource could not be found: %s", resource)
}

func tagResource(c *call, in *struct {
	ResourceARN string
	Tags        []tag
},
) (any, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return struct{}{}, c.retag(in.ResourceARN, func(old []tag) []tag { return merged(old, in.Tags...) })
}

func untagResource(c *call, in *struct {
	ResourceARN string
	TagKeys     []string
},
) (any, error) {
	return struct{}{}, c.retag(in.ResourceARN, func(old []tag) []tag {
		return slices.DeleteFunc(slices.Clone(old), func(t tag) bool { return slices.Contains(in.TagKeys, t.Key) })
	})
}

func listTagsForResource(c *call, in *struct{ ResourceARN string }) (any, error) {
	var tags []tag
	err := c.retag(in.ResourceARN, func(old []tag) []tag {
		tags = old
		return old
	})
	return map[string]any{"tags": list(tags)}, err
}
