package ecstest

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"strings"
)

// policy is an IAM policy, as far as the actions here need one: Allow and Deny, with resources and conditions.
type policy struct{ Statement []statement }

type statement struct {
	Sid       string
	Effect    string
	Action    texts
	Resource  texts
	Condition map[string]map[string]texts
}

// texts is one text or several.
type texts []string

// UnmarshalJSON implements [json.Unmarshaler].
func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

func parsePolicy(text string) (*policy, error) {
	var p policy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, fmt.Errorf("read a policy: %w", err)
	}
	for _, s := range p.Statement {
		for operator := range s.Condition {
			if _, ok := operators[operator]; !ok {
				return nil, fmt.Errorf("read a policy: statement %q has the condition operator %s, which this endpoint does not know", s.Sid, operator)
			}
		}
	}
	return &p, nil
}

// like tells whether a text matches one with * and ?.
func like(pattern, text string) bool {
	// path.Match has no * that goes over a slash.
	const slash = "\x00"
	ok, err := path.Match(strings.NewReplacer("/", slash, "[", `\[`, "\\", `\\`).Replace(pattern), strings.ReplaceAll(text, "/", slash))
	return err == nil && ok
}

func equal(a, b string) bool { return a == b }

// operators compare a condition's value with the request's.
var operators = map[string]func(want, got string) bool{
	"StringEquals": equal, "StringLike": like, "ArnEquals": like, "ArnLike": like, "Null": nil, "ForAllValues:StringEquals": equal,
	"ForAllValues:StringLike": like,
}

func (s *statement) matches(action, resource string, keys map[string]string) bool {
	matched := false
	for _, pattern := range s.Action {
		matched = matched || like(strings.ToLower(pattern), strings.ToLower(action))
	}
	if !matched {
		return false
	}
	matched = false
	for _, pattern := range s.Resource {
		matched = matched || like(pattern, resource)
	}
	if !matched {
		return false
	}
	for operator, conditions := range s.Condition {
		for key, values := range conditions {
			if !holds(operator, values, key, keys) {
				return false
			}
		}
	}
	return true
}

func holds(operator string, values texts, key string, keys map[string]string) bool {
	got, there := keys[strings.ToLower(key)]
	if operator == "Null" {
		return len(values) > 0 && (values[0] == "true") == !there
	}
	if strings.HasPrefix(operator, "ForAllValues:") {
		for value := range strings.SplitSeq(got, "\n") {
			if there && !anyOf(values, operators[operator], value) {
				return false
			}
		}
		return true
	}
	return there && anyOf(values, operators[operator], got)
}

func anyOf(values texts, compare func(want, got string) bool, got string) bool {
	for _, want := range values {
		if compare(want, got) {
			return true
		}
	}
	return false
}

func (p *policy) allows(action, resource string, keys map[string]string) bool {
	allowed := false
	for i := range p.Statement {
		if s := &p.Statement[i]; s.matches(action, resource, keys) {
			if s.Effect != "Allow" {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

// may refuses the call's action on a resource, where the caller's policy does not allow it. keys are the condition keys of the request.
func (c *call) may(resource string, keys map[string]string) error {
	return c.mayDo(c.action, resource, keys)
}

func (c *call) mayDo(action, resource string, keys map[string]string) error {
	if c.who.policy == nil {
		return nil
	}
	lower := map[string]string{"aws:requestedregion": Region}
	for key, value := range keys {
		lower[strings.ToLower(key)] = value
	}
	if c.who.policy.allows(action, resource, lower) {
		return nil
	}
	return fault(c.wording("AccessDeniedException", "AccessDenied", "UnauthorizedOperation"),
		"User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", c.who.arn, action, resource, action)
}

// mayTag is may for an action that makes something with tags: AWS asks for the right to tag as well.
func (c *call) mayTag(resource string, keys map[string]string, tags []tag) error {
	all := maps.Clone(keys)
	if all == nil {
		all = map[string]string{}
	}
	var names []string
	for _, t := range tags {
		all["aws:RequestTag/"+t.Key] = t.Value
		names = append(names, t.Key)
	}
	if len(names) > 0 {
		all["aws:TagKeys"] = strings.Join(names, "\n")
	}
	if err := c.may(resource, all); err != nil || len(tags) == 0 {
		return err
	}
	all["ecs:CreateAction"] = strings.TrimPrefix(c.action, "ecs:")
	made := resource
	if c.action == "ecs:RunTask" {
		made = arn("ecs", "task/"+idOf(keys["ecs:cluster"])+"/*")
	}
	return c.mayDo("ecs:TagResource", made, all)
}

// mayPass asks for the right to give roles to a task.
func (c *call) mayPass(roles ...string) error {
	for _, role := range roles {
		if role == "" {
			continue
		}
		if err := c.mayDo("iam:PassRole", role, map[string]string{"iam:PassedToService": "ecs-tasks.amazonaws.com"}); err != nil {
			return err
		}
	}
	return nil
}

// mayPassOverrides is mayPass for what a task has: RunTask passes its roles too.
func (c *call) mayPassOverrides(t *task) error {
	o := t.overridden()
	roles := []string{t.definition.settings.ExecutionRoleARN, t.definition.settings.TaskRoleARN}
	if o.ExecutionRoleARN != "" {
		roles[0] = o.ExecutionRoleARN
	}
	if o.TaskRoleARN != "" {
		roles[1] = o.TaskRoleARN
	}
	return c.mayPass(roles...)
}
