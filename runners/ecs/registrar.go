package ecs

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"

	"github.com/weir-run/weir/runners"
)

// A registrar finds the task definition of a job, and registers one for each content, once: runs that say the same have the same. What it
// has found it remembers, so that a worker asks once for each deployment.
type registrar struct {
	clients *clients
	config  runners.Config
	looking chan struct{} // held by the one who looks up a definition that is named: those behind find what it found

	mu       sync.Mutex
	families map[string]*family    // by name; under mu
	found    map[string]*described // definitions that were looked up, by what they were looked up by; under mu
}

// A family is a job's definition in all its revisions, as far as they are known here.
type family struct {
	turn  chan struct{}          // held by the one who looks or registers: those behind find what it found
	known map[string]*definition // by content; by the one whose turn it is
}

type described struct {
	definition *definition
	until      time.Time
}

// Bounds of what is remembered: what is forgotten is looked up again.
const (
	maxFamilies = 10000
	maxKnown    = 100 // contents of a family
	maxFound    = 1000
)

// revisionTime is how long a family's latest revision is taken for that, where a job names the family alone.
const revisionTime = time.Minute

// maxOlder is how many revisions before the latest are looked at for the same content.
const maxOlder = 20

func newRegistrar(c *clients, config runners.Config) *registrar {
	return &registrar{clients: c, config: config, looking: make(chan struct{}, 1), families: map[string]*family{}, found: map[string]*described{}}
}

// resolve returns the task definition of a run, which is registered if there is none that says the same.
func (r *registrar) resolve(ctx context.Context, s *runners.Spec, j *Job) (*definition, error) {
	if j.TaskDefinition != "" {
		return r.existing(ctx, j)
	}
	in := register(j, s, r.clients.region)
	wanted := content(in)
	f := r.family(*in.Family)
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-f.turn }()
	if d := f.known[wanted]; d != nil {
		return d, nil
	}
	if r.config.Lock != nil {
		unlock, err := r.config.Lock(ctx, "ecs/"+r.clients.region+"/"+*in.Family)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	d, err := r.obtain(ctx, s, j, in, wanted)
	if err != nil {
		return nil, err
	}
	d.container = j.ContainerName
	if len(f.known) >= maxKnown {
		clear(f.known)
	}
	f.known[wanted] = d
	return d, nil
}

func (r *registrar) family(name string) *family {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.families[name]
	if f == nil {
		if len(r.families) >= maxFamilies {
			clear(r.families) // those under way go on with theirs
		}
		f = &family{turn: make(chan struct{}, 1), known: map[string]*definition{}}
		r.families[name] = f
	}
	return f
}

// obtain finds a revision that says what is wanted, or registers it.
func (r *registrar) obtain(ctx context.Context, s *runners.Spec, j *Job, in *ecs.RegisterTaskDefinitionInput, wanted string) (*definition, error) {
	for bound := firstWait; ; bound = min(2*bound, lastWait) {
		d, older, err := r.look(ctx, s, j, in, wanted)
		if d != nil || err != nil {
			return d, err
		}
		out, err := r.register(ctx, s, in, wanted)
		if tooMany(err) { // others register in the same family, past our lock
			if err := sleep(ctx, rand.N(bound)); err != nil { //nolint:gosec // it only spreads tries
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, r.clients.failed("register the task definition "+*in.Family, j, err)
		}
		if j.AutoDeregister {
			r.deregister(ctx, older)
		}
		return definitionOf(out.TaskDefinition), nil
	}
}

// look returns the revision of a family that says what is wanted, or nil and those that Weir registered for this deployment before.
func (r *registrar) look(ctx context.Context, s *runners.Spec, j *Job, in *ecs.RegisterTaskDefinitionInput, wanted string) (
	found *definition, older []string, err error,
) {
	family := *in.Family
	latest, err := r.describe(ctx, family)
	if isMissing(err) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, r.clients.failed("look up the task definition "+family, j, err)
	}
	t := latest.TaskDefinition
	if says(latest, wanted) || j.MatchLatest && content(asked(t, in.Tags)) == wanted {
		return definitionOf(t), nil, nil
	}
	if r.owns(latest, s) {
		older = append(older, deref(t.TaskDefinitionArn))
	}
	list, err := ask(ctx, r.clients, readDefinitions, r.clients.ecs.ListTaskDefinitions, &ecs.ListTaskDefinitionsInput{
		FamilyPrefix: &family, Status: types.TaskDefinitionStatusActive, Sort: types.SortOrderDesc, MaxResults: aws.Int32(maxOlder + 1),
	})
	if err != nil {
		return nil, nil, r.clients.failed("list the task definitions "+family, j, err)
	}
	for _, arn := range list.TaskDefinitionArns {
		if arn == deref(t.TaskDefinitionArn) || !strings.Contains(arn, "/"+family+":") {
			continue
		}
		out, err := r.describe(ctx, arn)
		if isMissing(err) {
			continue // deregistered and deleted meanwhile
		} else if err != nil {
			return nil, nil, r.clients.failed("look up the task definition "+arn, j, err)
		}
		if out.TaskDefinition.Status == types.TaskDefinitionStatusActive && says(out, wanted) {
			return definitionOf(out.TaskDefinition), nil, nil
		}
		if r.owns(out, s) {
			older = append(older, arn)
		}
	}
	return nil, older, nil
}

// says tells whether a revision was registered with what is wanted.
func says(out *ecs.DescribeTaskDefinitionOutput, wanted string) bool {
	return tagged(out.Tags, tagContent) == wanted
}

// owns tells whether that revision was registered for this pool's deployment. Others may share its family, and have theirs in use.
func (r *registrar) owns(out *ecs.DescribeTaskDefinitionOutput, s *runners.Spec) bool {
	return tagged(out.Tags, tagSystem) == r.config.System && tagged(out.Tags, tagPool) == r.config.Pool && tagged(out.Tags, tagDeployment) == s.Deployment &&
		tagged(out.Tags, tagContent) != ""
}

func (r *registrar) describe(ctx context.Context, id string) (*ecs.DescribeTaskDefinitionOutput, error) {
	out, err := ask(ctx, r.clients, readDefinitions, r.clients.ecs.DescribeTaskDefinition, &ecs.DescribeTaskDefinitionInput{
		TaskDefinition: &id, Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags},
	})
	if err == nil && out.TaskDefinition == nil {
		err = errors.New("ECS does not say what is in it")
	}
	return out, err
}

func (r *registrar) register(ctx context.Context, s *runners.Spec, in *ecs.RegisterTaskDefinitionInput, wanted string) (*ecs.RegisterTaskDefinitionOutput, error) {
	tags := map[string]string{}
	for _, t := range in.Tags {
		tags[deref(t.Key)] = deref(t.Value)
	}
	tags[tagSystem], tags[tagPool], tags[tagDeployment], tags[tagContent] = r.config.System, r.config.Pool, s.Deployment, wanted
	request := *in
	request.Tags = tagList(tags)
	out, err := ask(ctx, r.clients, registerDefinition, r.clients.ecs.RegisterTaskDefinition, &request)
	if err == nil && out.TaskDefinition == nil {
		err = errors.New("ECS does not say what it has registered")
	}
	return out, err
}

// deregister takes back what a new revision replaces. Tasks that run go on; a start that is on its way with one of them looks again.
func (r *registrar) deregister(ctx context.Context, arns []string) {
	for _, arn := range arns {
		if _, err := ask(ctx, r.clients, registerDefinition, r.clients.ecs.DeregisterTaskDefinition, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &arn}); err != nil {
			r.clients.log.Warn("a task definition that was replaced stays registered", "definition", arn, "err", r.clients.worded("deregister it", "", err))
		}
	}
}

// existing returns the task definition that a job names.
func (r *registrar) existing(ctx context.Context, j *Job) (*definition, error) {
	d, err := r.described(ctx, j, j.TaskDefinition)
	if err != nil {
		return nil, err
	}
	own := *d
	own.container = j.ContainerName
	if own.container == "" {
		if own.container, err = jobContainer(d.containers); err != nil {
			return nil, refused("task definition %s %w", clip(j.TaskDefinition), err)
		}
	}
	if !slices.Contains(d.containers, own.container) {
		return nil, refused("task definition %s has no container %s: it has %s; say in container_name which of them is the job's",
			clip(j.TaskDefinition), clip(own.container), strings.Join(d.containers, ", "))
	}
	return &own, nil
}

// described returns what is registered under an ARN, family:revision or family. A revision does not change.
func (r *registrar) described(ctx context.Context, j *Job, id string) (*definition, error) {
	if d := r.remembered(id); d != nil {
		return d, nil
	}
	select {
	case r.looking <- struct{}{}: // all tasks of a lost server have the same few definitions, and ask at once
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-r.looking }()
	if d := r.remembered(id); d != nil {
		return d, nil
	}
	out, err := r.describe(ctx, id)
	if err != nil {
		return nil, r.clients.failed("look up the task definition "+clip(id), j, err)
	}
	d := definitionOf(out.TaskDefinition)
	until := time.Now().Add(revisionTime)
	if strings.HasSuffix(d.arn, id[strings.LastIndexByte(id, '/')+1:]) { // it names a revision
		until = until.AddDate(1, 0, 0)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.found) >= maxFound {
		clear(r.found)
	}
	r.found[id] = &described{definition: d, until: until}
	return d, nil
}

// remembered is what was looked up by id and is still true; nil: it has to be looked up.
func (r *registrar) remembered(id string) *definition {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.found[id]; known != nil && time.Now().Before(known.until) {
		return known.definition
	}
	return nil
}

// forget makes the next run look again: ECS said that the definition is not active.
func (r *registrar) forget(ctx context.Context, arn string) error {
	r.mu.Lock()
	for id, d := range r.found {
		if d.definition.arn == arn {
			delete(r.found, id)
		}
	}
	f := r.families[familyOf(arn)]
	r.mu.Unlock()
	if f == nil {
		return nil
	}
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-f.turn }()
	for what, d := range f.known {
		if d.arn == arn {
			delete(f.known, what)
		}
	}
	return nil
}

// familyOf is the family of a revision.
func familyOf(arn string) string {
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		return name[:i]
	}
	return name
}

// isMissing tells whether ECS has no such task definition, which it says by words alone.
func isMissing(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == "ClientException" && strings.Contains(strings.ToLower(api.ErrorMessage()), "unable to describe task definition")
}

// tooMany tells whether others register in the same family at the same time, which ECS says by words alone.
func tooMany(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && strings.Contains(api.ErrorMessage(), "Too many concurrent attempts")
}
