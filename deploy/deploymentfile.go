package deploy

import (
	"encoding/json"
	"regexp"

	"github.com/weir-run/weir/schemas"
)

// deploymentPlaces says where a deployment's parts are in the file.
type deploymentPlaces struct {
	name, entrypoint, command, pool, queue position

	parameters, jobVariables, exitCodes *value // nil: there are none
}

type deploymentEntry struct {
	schemas.Deployment
	deploymentPlaces
}

// notYet ends the warning for what Prefect does and this version does not do yet.
const notYet = "is not applied yet"

var deploymentKeys = []key[deploymentEntry]{
	{name: "name", read: func(r *reader, d *deploymentEntry, f field) {
		d.Name, d.deploymentPlaces.name = r.name(f, "deployment"), f.value.at
	}},
	{name: "version", read: func(r *reader, d *deploymentEntry, f field) { d.Version = r.text(f) }},
	{name: "tags", read: func(r *reader, d *deploymentEntry, f field) { d.Tags = r.texts(f) }},
	{name: "description", read: func(r *reader, d *deploymentEntry, f field) { d.Description = r.text(f) }},
	{name: "entrypoint", read: func(r *reader, d *deploymentEntry, f field) {
		d.Entrypoint, d.deploymentPlaces.entrypoint = r.entrypoint(f), f.value.at
	}},
	{name: "command", read: func(r *reader, d *deploymentEntry, f field) {
		d.Command, d.deploymentPlaces.command = r.command(f), f.value.at
	}},
	{name: "parameters", read: func(r *reader, d *deploymentEntry, f field) {
		d.Parameters, d.deploymentPlaces.parameters = r.object(f), f.value
	}},
	{name: "work_pool", read: func(r *reader, d *deploymentEntry, f field) { readMapping(r, f.value, "work_pool", workPoolKeys, d) }},
	{name: "timeout", read: func(r *reader, d *deploymentEntry, f field) { d.Timeout = r.duration(f) }},
	{name: "grace", read: func(r *reader, d *deploymentEntry, f field) { d.Grace = r.duration(f) }},
	{name: "retries", read: func(r *reader, d *deploymentEntry, f field) { d.Retries = readRetries(r, f) }},
	{name: "cancel_signal", read: func(r *reader, d *deploymentEntry, f field) { d.CancelSignal = r.signal(f) }},
	{name: "exit_codes", read: func(r *reader, d *deploymentEntry, f field) {
		d.ExitCodes, d.deploymentPlaces.exitCodes = r.exitCodes(f), f.value
	}},
	{name: "expires_after", read: func(r *reader, d *deploymentEntry, f field) { d.ExpiresAfter = r.duration(f) }},
	{name: "enforce_parameter_schema", read: func(r *reader, _ *deploymentEntry, f field) {
		if string(f.value.json) != "true" {
			r.ignore(f.at, f.key, "has no effect: parameters are always checked where the function says what it takes")
		}
	}},
	{name: "schedules", note: notYet + ": publish a message schedule, or start runs with: weir deployment run"},
	{name: "schedule", note: notYet + ": publish a message schedule, or start runs with: weir deployment run"},
	{name: "is_schedule_active", note: notYet},
	{name: "paused", note: notYet},
	{name: "concurrency_limit", note: notYet + ": runs of the deployment are not limited"},
	{name: "limit", note: notYet + ": runs of the deployment are not limited"},
	{name: "triggers", note: "has no meaning here: a run is a message, so publish one when the event comes"},
	{name: "sla", note: "has no meaning here"},
	{name: "flow_name", note: "has no meaning here: the deployment's name is enough"},
	{name: "version_type", note: "has no meaning here"},
	{name: "build", note: "has no meaning here: build images before you deploy"},
	{name: "push", note: "has no meaning here: push images and code before you deploy"},
	{name: "pull", note: "has no meaning here: jobs run in the folder of this file"},
}

var workPoolKeys = []key[deploymentEntry]{
	{name: "name", read: func(r *reader, d *deploymentEntry, f field) { d.Pool, d.pool = r.name(f, "pool"), f.value.at }},
	{name: "work_queue_name", read: func(r *reader, d *deploymentEntry, f field) { d.Queue, d.queue = r.name(f, "queue"), f.value.at }},
	{name: "job_variables", read: func(r *reader, d *deploymentEntry, f field) {
		d.JobVariables, d.jobVariables = r.object(f), f.value
	}},
}

func readDeployments(r *reader, p *Project, f field) {
	if f.value.kind != list {
		r.fail(f.value.at, "deployments: got %s, want a list: - name: my-flow", f.value.kind)
		return
	}
	for _, item := range f.value.items {
		e := deploymentEntry{Deployment: schemas.Deployment{Queue: schemas.DefaultQueue, Directory: p.Dir}}
		readMapping(r, item, "a deployment", deploymentKeys, &e)
		if item.kind != mapping {
			continue
		}
		r.complete(item, &e)
		if e.Name == "" {
			continue
		}
		if first, twice := p.deployments[e.Name]; twice {
			r.fail(e.deploymentPlaces.name, "deployment %s is there twice, first in line %d", e.Name, first.name.line)
			continue
		}
		p.deployments[e.Name] = &e.deploymentPlaces
		p.Deployments = append(p.Deployments, e.Deployment)
	}
}

// complete checks what a deployment needs. Its pool is checked later: weir deploy --pool may name it.
func (r *reader) complete(item *value, e *deploymentEntry) {
	if name := item.field("name"); name == nil || name.kind == null {
		r.fail(item.at, "a deployment needs a name")
	}
	if e.pool.line == 0 {
		e.pool = e.deploymentPlaces.name
		if p := item.field("work_pool"); p != nil && p.kind == mapping && len(p.fields) > 0 {
			e.pool = p.at
		}
	}
	entrypoint, command := e.deploymentPlaces.entrypoint, e.deploymentPlaces.command
	switch {
	case entrypoint.line == 0 && command.line == 0:
		r.fail(item.at, "%s needs entrypoint: file.py:function, or command", called("deployment", e.Name))
	case entrypoint.line > 0 && command.line > 0:
		r.fail(command, "%s has both entrypoint and command: keep one of them", called("deployment", e.Name))
	}
}

// entrypointForm is file.py:function; Prefect's own also allows a method, file.py:Class.method.
var entrypointForm = regexp.MustCompile(`^[^:]+\.py:[\p{L}_][\p{L}\p{N}_.]*$`)

func (r *reader) entrypoint(f field) string {
	failed := len(r.errs)
	s := r.plainText(f)
	if len(r.errs) == failed && !entrypointForm.MatchString(s) {
		r.fail(f.value.at, "entrypoint %q: write the file and the function in it, as in flows/my_flow.py:my_flow", s)
	}
	return s
}

// command reads words, or text that is split as a shell splits words, without a shell.
func (r *reader) command(f field) schemas.Command {
	switch f.value.kind {
	case text:
		if r.plainText(f) == "" && f.value.text != "" {
			return nil
		}
	case list:
		for _, item := range f.value.items {
			if item.kind != text && item.kind != number {
				r.fail(item.at, "command: got %s, want text", item.kind)
				return nil
			}
			item.kind, item.json = text, quoted(item.text)
		}
	default:
		r.fail(f.value.at, "command: got %s, want text or a list of words", f.value.kind)
		return nil
	}
	var c schemas.Command
	switch err := json.Unmarshal(f.value.JSON(), &c); {
	case err != nil:
		r.fail(f.value.at, "%s", err)
	case len(c) == 0 || c[0] == "":
		r.fail(f.value.at, "command: it is empty: write the program and its arguments")
	}
	return c
}
