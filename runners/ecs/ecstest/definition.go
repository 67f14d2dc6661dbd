package ecstest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// family is the revisions of a task definition, from 1.
type family struct {
	name      string
	revisions []*definition
}

type definition struct {
	name       string // family:revision
	arn        string
	revision   int
	active     bool
	wire       map[string]any // what was registered, with what AWS adds
	tags       []tag
	settings   settings
	containers []containerDefinition
}

// settings is what of a task definition, or a container, decides how a task lives.
type settings struct {
	Family                  string
	CPU                     string
	Memory                  string
	NetworkMode             string
	RequiresCompatibilities []string
	ExecutionRoleARN        string
	TaskRoleARN             string
	ContainerDefinitions    []containerDefinition
	Tags                    []tag
}

type containerDefinition struct {
	Name              string
	Image             string
	Essential         *bool
	Command           []string
	EntryPoint        []string
	Environment       []variable
	Secrets           []secret
	CPU               int
	Memory            *int
	MemoryReservation *int
	StopTimeout       *int
	User              string
	WorkingDirectory  string
	LinuxParameters   struct{ InitProcessEnabled bool }
	LogConfiguration  *struct {
		LogDriver string
		Options   map[string]string
	}
}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type secret struct{ Name, ValueFrom string }

func (d *containerDefinition) essential() bool { return d.Essential == nil || *d.Essential }

func (s *settings) fargate() bool { return slices.Contains(s.RequiresCompatibilities, "FARGATE") }

// definitionName is what a family, a revision and an ARN look like.
var (
	familyName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	roleName   = regexp.MustCompile(`^arn:aws:iam::\d{12}:role/[\w+=,.@/-]+$`)
)

// check refuses what AWS refuses when a definition is registered.
func (s *settings) check() error {
	if !familyName.MatchString(s.Family) {
		return client("Invalid family name %q: letters, numbers, hyphens and underscores, at most 255", s.Family)
	}
	if len(s.ContainerDefinitions) == 0 {
		return client("Container list cannot be empty.")
	}
	essential := false
	for i := range s.ContainerDefinitions {
		d := &s.ContainerDefinitions[i]
		if err := s.checkContainer(d); err != nil {
			return err
		}
		essential = essential || d.essential()
	}
	if !essential {
		return client("A task definition must have at least one essential container.")
	}
	for _, role := range []string{s.ExecutionRoleARN, s.TaskRoleARN} {
		if role != "" && !roleName.MatchString(role) {
			return client("Role is not valid")
		}
	}
	if s.fargate() {
		return s.checkFargate()
	}
	return nil
}

func (s *settings) checkContainer(d *containerDefinition) error {
	switch {
	case d.Name == "":
		return client("Container.name should not be null or empty.")
	case d.Image == "":
		return client("Container.image should not be null or empty.")
	case s.Memory == "" && d.Memory == nil && d.MemoryReservation == nil:
		return client("Invalid setting for container '%s'. At least one of 'memory' or 'memoryReservation' must be specified.", d.Name)
	case len(d.Secrets) > 0 && s.ExecutionRoleARN == "":
		return client("When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.")
	case d.LogConfiguration == nil || d.LogConfiguration.LogDriver != "awslogs":
		return nil
	}
	for _, option := range []string{"awslogs-group", "awslogs-region"} {
		if d.LogConfiguration.Options[option] == "" {
			return client("Log driver awslogs requires options: %s", option)
		}
	}
	if s.fargate() && d.LogConfiguration.Options["awslogs-stream-prefix"] == "" {
		return client("Log driver awslogs requires options: awslogs-stream-prefix")
	}
	return nil
}

func (s *settings) checkFargate() error {
	switch {
	case s.CPU == "":
		return client("Fargate requires that 'cpu' be defined at the task level.")
	case s.Memory == "":
		return client("Fargate requires that 'memory' be defined at the task level.")
	case s.NetworkMode != "awsvpc":
		return client("Fargate only supports network mode 'awsvpc'.")
	case !fargatePair(units(s.CPU), units(s.Memory)):
		return client("No Fargate configuration exists for given values: %s CPU, %s memory. See the Amazon ECS documentation for the valid values.",
			s.CPU, s.Memory)
	}
	for i := range s.ContainerDefinitions {
		d := &s.ContainerDefinitions[i]
		if d.StopTimeout != nil && *d.StopTimeout > 120 {
			return client("The value for stopTimeout must be at most 120 seconds on Fargate.")
		}
		if d.LogConfiguration != nil && d.LogConfiguration.LogDriver == "awslogs" && s.ExecutionRoleARN == "" {
			return client("Fargate requires task definition to have execution role ARN to support log driver awslogs.")
		}
	}
	return nil
}

func registerTaskDefinition(c *call, in *settings) (any, error) {
	if err := c.mayTag(arn("ecs", "task-definition/"+in.Family+":*"), nil, in.Tags); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := c.mayPass(in.ExecutionRoleARN, in.TaskRoleARN); err != nil {
		return nil, err
	}
	wire := map[string]any{}
	if err := json.Unmarshal(c.body, &wire); err != nil {
		return nil, err
	}
	delete(wire, "tags")
	defaults(wire)
	f := c.families[in.Family]
	if f == nil {
		f = &family{name: in.Family}
		c.families[in.Family] = f
	}
	d := &definition{revision: len(f.revisions) + 1, active: true, wire: wire, tags: in.Tags, settings: *in, containers: in.ContainerDefinitions}
	d.name = fmt.Sprintf("%s:%d", in.Family, d.revision)
	d.arn = arn("ecs", "task-definition/"+d.name)
	wire["taskDefinitionArn"], wire["revision"], wire["status"] = d.arn, d.revision, "ACTIVE"
	wire["registeredAt"], wire["registeredBy"] = c.clock.ms(), c.who.arn
	f.revisions = append(f.revisions, d)
	return map[string]any{"taskDefinition": wire, "tags": list(d.tags)}, nil
}

// defaults adds what AWS answers though it was not registered.
func defaults(wire map[string]any) {
	absent := func(m map[string]any, name string, value any) {
		if m[name] == nil {
			m[name] = value
		}
	}
	compatibilities := []string{"EC2"}
	if wire["networkMode"] == "awsvpc" {
		compatibilities = append(compatibilities, "FARGATE")
	}
	absent(wire, "compatibilities", compatibilities)
	absent(wire, "volumes", []any{})
	absent(wire, "placementConstraints", []any{})
	containers, _ := wire["containerDefinitions"].([]any)
	for _, x := range containers {
		container, _ := x.(map[string]any)
		absent(container, "essential", true)
		absent(container, "cpu", 0)
		for _, name := range []string{"environment", "mountPoints", "portMappings", "volumesFrom", "systemControls"} {
			absent(container, name, []any{})
		}
	}
}

// definitionOf finds a definition by family, family:revision or ARN: of a family the latest active one. nil: there is none.
func (e *Endpoint) definitionOf(id string) *definition {
	name, revision, exact := strings.Cut(strings.TrimPrefix(id, arn("ecs", "task-definition/")), ":")
	f := e.families[name]
	if f == nil {
		return nil
	}
	if exact {
		if n, err := strconv.Atoi(revision); err == nil && n >= 1 && n <= len(f.revisions) {
			return f.revisions[n-1]
		}
		return nil
	}
	for _, d := range slices.Backward(f.revisions) {
		if d.active {
			return d
		}
	}
	return nil
}

func describeTaskDefinition(c *call, in *struct {
	TaskDefinition string
	Include        []string
},
) (any, error) {
	if err := c.may("*", nil); err != nil {
		return nil, err
	}
	d := c.definitionOf(in.TaskDefinition)
	if d == nil {
		return nil, client("Unable to describe task definition.")
	}
	answer := map[string]any{"taskDefinition": d.wire}
	if slices.Contains(in.Include, "TAGS") {
		answer["tags"] = list(d.tags)
	}
	return answer, nil
}

func listTaskDefinitions(c *call, in *struct {
	FamilyPrefix, Status, Sort, NextToken string
	MaxResults                            int
},
) (any, error) {
	if err := c.may("*", nil); err != nil {
		return nil, err
	}
	var found []*definition
	for name, f := range c.families {
		if in.FamilyPrefix != "" && in.FamilyPrefix != name { // the full name, whatever the parameter's name says
			continue
		}
		for _, d := range f.revisions {
			if d.active == (in.Status != "INACTIVE") {
				found = append(found, d)
			}
		}
	}
	slices.SortFunc(found, func(a, b *definition) int {
		if order := strings.Compare(a.settings.Family, b.settings.Family); order != 0 {
			return order
		}
		return a.revision - b.revision
	})
	if in.Sort == "DESC" {
		slices.Reverse(found)
	}
	names := make([]string, len(found))
	for i, d := range found {
		names[i] = d.arn
	}
	page, next, err := paged(names, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return map[string]any{"taskDefinitionArns": page, "nextToken": next}, nil
}

// paged is the page of a list that a token asks for, and the next one's token.
func paged(list []string, size int, token string) ([]string, *string, error) {
	from := 0
	if token != "" {
		n, err := strconv.Atoi(token)
		if err != nil || n > len(list) {
			return nil, nil, invalid("Invalid token.")
		}
		from = n
	}
	if size <= 0 || size > 100 {
		size = 100
	}
	to := min(from+size, len(list))
	if to == len(list) {
		return list[from:to], nil, nil
	}
	next := strconv.Itoa(to)
	return list[from:to], &next, nil
}

func deregisterTaskDefinition(c *call, in *struct{ TaskDefinition string }) (any, error) {
	if err := c.may("*", nil); err != nil {
		return nil, err
	}
	if !strings.Contains(strings.TrimPrefix(in.TaskDefinition, arn("ecs", "task-definition/")), ":") {
		return nil, client("The specified task definition is missing a revision: %s", in.TaskDefinition)
	}
	d := c.definitionOf(in.TaskDefinition)
	if d == nil {
		return nil, client("The specified task definition does not exist.")
	}
	d.active = false
	d.wire["status"], d.wire["deregisteredAt"] = "INACTIVE", c.clock.ms()
	return map[string]any{"taskDefinition": d.wire}, nil
}
