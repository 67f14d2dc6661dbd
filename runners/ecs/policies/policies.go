// Package policies has what AWS's IAM has to allow for ECS pools, and no more: one text for each policy, which Weir prints and applies, the
// Terraform modules in deploy/terraform carry a copy of, and the tests of the ecs runner are held to.
//
// A text is a policy as IAM takes it, with two liberties. A statement says why it is there ("Why"), and a value may be a placeholder:
// ${name} for a piece of text, ${jsonencode(name)} for a list. A statement about an empty list is left out, and so is every Why.
package policies

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
)

var (
	//go:embed runner.json.tftpl
	runner string
	//go:embed execution.json.tftpl
	execution string
	//go:embed agent.json.tftpl
	agent string
	//go:embed tasks.json.tftpl
	tasks string
	//go:embed events.json.tftpl
	events string
	//go:embed provision.json.tftpl
	provision string
)

// Policy is a policy's text.
type Policy string

// The policies.
var (
	Runner    = Policy(runner)    // of a worker of an ecs pool, and of a server that runs ecs:push pools
	Execution = Policy(execution) // of the role with which ECS starts a task: image, secrets, log streams
	Agent     = Policy(agent)     // who may take on that role
	Tasks     = Policy(tasks)     // who may take on the roles of jobs
	Events    = Policy(events)    // who may send to the queue of task events
	Provision = Policy(provision) // of whoever makes cluster, roles and log group by weir work-pool provision
)

// FamilyPrefix is what the names of all task definition families begin with that Weir registers by itself.
const FamilyPrefix = "weir-"

// Scope is what the policies are limited to.
type Scope struct {
	Partition    string   // aws, aws-cn, aws-us-gov
	Region       string   // of the cluster
	Account      string   // of all of it
	Cluster      string   // name
	FamilyPrefix string   // of task definitions that are registered; empty: [FamilyPrefix]
	Families     []string // that a job may name by task_definition_arn, beside those
	Roles        []string // ARNs of the roles that tasks run with
	LogGroups    []string // names
	Repositories []string // ARNs of the registry's repositories; empty: all of the account in the region
	Secrets      []string // ARNs in Secrets Manager
	Parameters   []string // ARNs in Systems Manager
	Keys         []string // ARNs in KMS
	Queue        string   // name of the queue of task events; empty: there is none
	Rule         string   // name of the EventBridge rule that sends to it
}

// arn names a thing of a service in the scope's account and region.
func (s Scope) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", s.Partition, service, s.Region, s.Account, resource)
}

// values are what placeholders stand for.
func (s Scope) values() map[string]any {
	prefix := s.FamilyPrefix
	if prefix == "" {
		prefix = FamilyPrefix
	}
	definitions := []string{s.arn("ecs", "task-definition/"+prefix+"*")}
	for _, family := range s.Families {
		definitions = append(definitions, s.arn("ecs", "task-definition/"+family+":*"))
	}
	groups := []string{}
	for _, name := range s.LogGroups {
		groups = append(groups, s.arn("logs", "log-group:"+name+":*")) // of a group's streams: what IAM asks for in calls on streams and events
	}
	repositories := s.Repositories
	if len(repositories) == 0 {
		repositories = []string{s.arn("ecr", "repository/*")}
	}
	queues := []string{}
	if s.Queue != "" {
		queues = append(queues, s.arn("sqs", s.Queue))
	}
	return map[string]any{
		"partition": s.Partition, "region": s.Region, "account": s.Account, "cluster": s.Cluster, "family_prefix": prefix,
		"task_definitions": definitions, "task_roles": list(s.Roles), "log_groups": groups, "event_queues": queues,
		"repositories": repositories, "secrets": list(s.Secrets), "parameters": list(s.Parameters), "keys": list(s.Keys),
		"queue_arn": s.arn("sqs", s.Queue), "rule_arn": s.arn("events", "rule/"+s.Rule),
	}
}

func list(s []string) []string { return append([]string{}, s...) }

// Statement is one right.
type Statement struct {
	Why       string          `json:"Why,omitempty"`
	Sid       string          `json:"Sid"`
	Effect    string          `json:"Effect"`
	Principal json.RawMessage `json:"Principal,omitempty"`
	Action    []string        `json:"Action"`
	Resource  json.RawMessage `json:"Resource,omitempty"`
	Condition json.RawMessage `json:"Condition,omitempty"`
}

// placeholder finds ${name} and ${jsonencode(name)}.
var placeholder = regexp.MustCompile(`\$\{(?:jsonencode\(([a-z_]+)\)|([a-z_]+))\}`)

// Statements are the policy's for that scope, each with its Why.
func (p Policy) Statements(s Scope) ([]Statement, error) {
	values := s.values()
	var unknown error
	text := placeholder.ReplaceAllStringFunc(string(p), func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		v, ok := values[m[1]+m[2]]
		b, err := json.Marshal(v)
		switch {
		case err != nil:
			unknown = err
		case !ok:
			unknown = fmt.Errorf("nothing is called %s", found)
		case m[2] != "":
			return string(b[1 : len(b)-1]) // within the quotes of the text
		}
		return string(b)
	})
	if unknown != nil {
		return nil, fmt.Errorf("fill in a policy: %w", unknown)
	}
	var document struct{ Statement []Statement }
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		return nil, fmt.Errorf("read a policy: %w", err)
	}
	return slices.DeleteFunc(document.Statement, func(s Statement) bool { return string(s.Resource) == "[]" }), nil
}

// Document is the policy for that scope as IAM takes it.
func (p Policy) Document(s Scope) (json.RawMessage, error) {
	statements, err := p.Statements(s)
	if err != nil {
		return nil, err
	}
	for i := range statements {
		statements[i].Why = ""
	}
	return json.Marshal(struct {
		Version   string
		Statement []Statement
	}{"2012-10-17", statements})
}

// Actions are all that the policy allows, where nothing of the scope is empty, in order.
func (p Policy) Actions() ([]string, error) {
	one := []string{"one"}
	statements, err := p.Statements(Scope{
		Roles: one, LogGroups: one, Secrets: one, Parameters: one, Keys: one, Queue: "one", Rule: "one",
	})
	if err != nil {
		return nil, err
	}
	var actions []string
	for _, s := range statements {
		actions = append(actions, s.Action...)
	}
	slices.Sort(actions)
	return slices.Compact(actions), nil
}
