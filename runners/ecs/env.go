package ecs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
)

// env is a job's own environment variables.
//
// A secret is a reference that AWS resolves as the task starts, in the task's execution role. {"from_env"} and {"from_file"}, which other
// pool types resolve on their worker, are refused here: the value would be part of RunTask's request, and be shown to whoever may describe
// the task, and in a push pool it would be the server's environment that a request for a run may read.
type env map[string]value

// value is text, or where AWS has it.
type value struct {
	text    string
	fromAWS string // as ECS takes it in valueFrom
}

// UnmarshalJSON reads text, a number, a boolean or {"from_aws": where}.
func (v *value) UnmarshalJSON(b []byte) error {
	var x any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&x); err != nil {
		return err
	}
	switch x := x.(type) {
	case nil:
		*v = value{}
	case string:
		*v = value{text: x}
	case bool, json.Number:
		*v = value{text: fmt.Sprint(x)}
	case map[string]any:
		where, ok := x["from_aws"].(string)
		if !ok || len(x) != 1 {
			_, env := x["from_env"]
			_, file := x["from_file"]
			if env || file {
				return errors.New(`an env value is {"from_env"} or {"from_file"}, which an ECS pool does not take: AWS would show its value to whoever may describe the task; ` +
					`keep it in Secrets Manager or the Parameter Store and name it by {"from_aws": ARN}`)
			}
			return errors.New(`an env value is an object, but not {"from_aws": ARN}`)
		}
		from, err := valueFrom(where)
		if err != nil {
			return err
		}
		*v = value{fromAWS: from}
	default:
		return errors.New(`an env value is neither text nor {"from_aws": ARN}`)
	}
	return nil
}

// valueFrom is what ECS takes for a secret: the ARN of a secret of Secrets Manager, with a key of its JSON, a stage and a version behind
// it or without, the ARN of a parameter of the Parameter Store, or such a parameter's name, in the task's region.
func valueFrom(where string) (string, error) {
	parts := strings.Split(where, ":")
	switch {
	case where == "" || len(where) > 2048 || strings.ContainsAny(where, " \t\n\x00"):
		return "", fmt.Errorf(`{"from_aws": %q} names no secret: give the ARN of a secret or of a parameter, or a parameter's name`, clip(where))
	case parts[0] != "arn" && len(parts) == 1:
		return where, nil
	case parts[0] != "arn" || len(parts) < 6:
		return "", fmt.Errorf(`{"from_aws": %q}: a secret of Secrets Manager is named by its ARN (aws secretsmanager describe-secret), with :KEY behind it for one key of its JSON`, clip(where))
	case parts[2] == "ssm" && len(parts) == 6 && strings.HasPrefix(parts[5], "parameter/"):
		return where, nil
	case parts[2] == "secretsmanager" && parts[5] == "secret" && len(parts) >= 7 && len(parts) <= 10:
		if len(parts) > 7 {
			where += strings.Repeat(":", 10-len(parts)) // ECS wants key, stage and version all, or none of them
		}
		return where, nil
	}
	return "", fmt.Errorf(`{"from_aws": %q} is no ARN of a secret (arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME) or parameter (arn:aws:ssm:REGION:ACCOUNT:parameter/NAME)`, clip(where))
}

// check refuses what no environment can hold, and names that are Weir's own.
func (e env) check() error {
	names := make(runners.Env, len(e))
	for name, v := range e {
		if name == launcherVariable {
			return fmt.Errorf("env %s is set by weir itself: choose another name", name)
		}
		if strings.IndexByte(v.text, 0) >= 0 {
			return fmt.Errorf("env %s holds a zero byte, which no environment can", name)
		}
		names[name] = runners.Value{}
	}
	return names.Check()
}

// under adds what a template says, where e says nothing.
func (e *env) under(environment []types.KeyValuePair, references map[string]json.RawMessage) error {
	if *e == nil {
		*e = env{}
	}
	for _, pair := range environment {
		if _, ok := (*e)[deref(pair.Name)]; !ok {
			(*e)[deref(pair.Name)] = value{text: deref(pair.Value)}
		}
	}
	for name, raw := range references {
		if _, ok := (*e)[name]; ok {
			continue
		}
		var v value
		if err := v.UnmarshalJSON(raw); err != nil {
			return fmt.Errorf("task_run_request: environment %s: %w", clip(name), err)
		}
		(*e)[name] = v
	}
	return nil
}

// plain are the variables that are text, sorted by name.
func (e env) plain() []types.KeyValuePair {
	var list []types.KeyValuePair
	for _, name := range slices.Sorted(maps.Keys(e)) {
		if v := e[name]; v.fromAWS == "" {
			list = append(list, types.KeyValuePair{Name: &name, Value: &v.text})
		}
	}
	return list
}

// secrets are the others.
func (e env) secrets() []types.Secret {
	var list []types.Secret
	for _, name := range slices.Sorted(maps.Keys(e)) {
		if v := e[name]; v.fromAWS != "" {
			list = append(list, types.Secret{Name: &name, ValueFrom: &v.fromAWS})
		}
	}
	return list
}
