package ecs

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
)

// connected are the services of an endpoint.
func connected(t *testing.T, e *ecstest.Endpoint) *clients {
	t.Helper()
	e.Setenv(t)
	c, err := newClients(t.Context(), silence)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// locks is a [runners.Lock] of one process.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
	keys []string // each time one was taken
}

func (l *locks) lock(ctx context.Context, key string) (func(), error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	turn := l.held[key]
	if turn == nil {
		turn = make(chan struct{}, 1)
		l.held[key] = turn
	}
	l.mu.Unlock()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = append(l.keys, key)
	return func() { <-turn }, nil
}

func newTestRegistrar(c *clients, l *locks) *registrar {
	return newRegistrar(c, runners.Config{System: "s", Pool: "prod", Worker: "w", Lock: l.lock})
}

// 500 runs of one deployment, on two workers, that differ in all that may differ from run to run: one definition is registered.
func TestResolve_registersOnce(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c, l := connected(t, e), &locks{}
	workers := []*registrar{newTestRegistrar(c, l), newTestRegistrar(c, l)}
	arns := make([]string, 500)
	var wg sync.WaitGroup
	for i := range arns {
		wg.Go(func() {
			s := spec()
			s.Name, s.Run, s.Worker = fmt.Sprintf("prod-%d.1", i), fmt.Sprintf("prod-%d", i), fmt.Sprint("w", i%2)
			s.Parameters = json.RawMessage(fmt.Sprintf(`{"i":%d}`, i))
			job := jobOf(t, fmt.Sprintf(`{"image": "i", "command": "echo %d", "env": {"N": %d}, "cpu": %d, "labels": {"n": "%d"}}`, i, i, 256<<(i%4), i))
			d, err := workers[i%2].resolve(t.Context(), s, job)
			if err != nil {
				t.Error(err)
				return
			}
			arns[i] = d.arn
		})
	}
	wg.Wait()
	for _, arn := range arns {
		if arn != arns[0] || !strings.HasSuffix(arn, "task-definition/weir-prod-etl:1") {
			t.Fatalf("got %s and %s, want one definition of family weir-prod-etl", arns[0], arn)
		}
	}
	if n := e.Calls("ecs:RegisterTaskDefinition"); n != 1 {
		t.Errorf("%d registrations, want 1", n)
	}
	if n := e.Calls("ecs:DescribeTaskDefinition"); n > 2 {
		t.Errorf("%d look-ups, want one for each worker", n)
	}
	if len(l.keys) != 2 || l.keys[0] != "ecs/us-east-1/weir-prod-etl" {
		t.Errorf("locks taken: %v, want the family's by each worker", l.keys)
	}
}

// A restarted worker, and another pool of the same account, use what is there.
func TestResolve_findsOlderRevisions(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c, l := connected(t, e), &locks{}
	r := newTestRegistrar(c, l)
	first := map[string]string{}
	for _, image := range []string{"a", "b", "c"} {
		d, err := r.resolve(t.Context(), spec(), jobOf(t, `{"image": "`+image+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		first[image] = d.arn
	}
	if first["c"] != "arn:aws:ecs:us-east-1:123456789012:task-definition/weir-prod-etl:3" {
		t.Errorf("the third content is %s", first["c"])
	}
	for _, image := range []string{"a", "c", "b", "a"} {
		d, err := newTestRegistrar(c, l).resolve(t.Context(), spec(), jobOf(t, `{"image": "`+image+`"}`))
		if err != nil || d.arn != first[image] || d.container != "weir" || !d.awsvpc || d.cpu != "1024" {
			t.Errorf("image %s: got %+v, %v, want %s", image, d, err, first[image])
		}
	}
	if n := e.Calls("ecs:RegisterTaskDefinition"); n != 3 {
		t.Errorf("%d registrations, want 3", n)
	}
}

// A list by a family may have those of others whose names begin with it.
func TestResolve_takesNoOtherFamilysRevision(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c := connected(t, e)
	theirs := c.ecs.ListTaskDefinitions
	c.ecs.ListTaskDefinitions = func(ctx context.Context, in *ecs.ListTaskDefinitionsInput, options ...func(*ecs.Options)) (*ecs.ListTaskDefinitionsOutput, error) {
		return theirs(ctx, &ecs.ListTaskDefinitionsInput{Status: in.Status}, options...)
	}
	l := &locks{}
	of := func(deployment, image string) string {
		s := spec()
		s.Deployment = deployment
		d, err := newTestRegistrar(c, l).resolve(t.Context(), s, jobOf(t, `{"auto_deregister_task_definition": true, "image": "`+image+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		return lastPart(d.arn)
	}
	for _, tt := range [][3]string{
		{"etl-nightly", "a", "weir-prod-etl-nightly:1"}, {"etl", "a", "weir-prod-etl:1"}, {"etl", "b", "weir-prod-etl:2"}, {"etl-nightly", "a", "weir-prod-etl-nightly:1"},
	} {
		if got := of(tt[0], tt[1]); got != tt[2] {
			t.Errorf("image %s of %s is %s, want %s", tt[1], tt[0], got, tt[2])
		}
	}
}

func TestResolve_deregistersWhatItReplaces(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c := connected(t, e)
	theirs := func() {
		if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
			Family: aws.String("weir-prod-etl"), Cpu: aws.String("256"), Memory: aws.String("512"),
			ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("x"), Image: aws.String("x")}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	ours := func(variables string) {
		if _, err := newTestRegistrar(c, &locks{}).resolve(t.Context(), spec(), jobOf(t, variables)); err != nil {
			t.Fatal(err)
		}
	}
	active := func() string {
		list, err := c.ecs.ListTaskDefinitions(t.Context(), &ecs.ListTaskDefinitionsInput{Status: types.TaskDefinitionStatusActive})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, arn := range list.TaskDefinitionArns {
			names = append(names, strings.TrimPrefix(lastPart(arn), "weir-prod-etl:"))
		}
		return strings.Join(names, " ")
	}
	theirs()
	ours(`{"image": "a"}`)
	ours(`{"image": "b"}`)
	ours(`{"image": "c", "auto_deregister_task_definition": true}`)
	if got := active(); got != "1 4" {
		t.Errorf("active: %s, want 1, which is somebody else's, and 4", got)
	}
	theirs()
	ours(`{"image": "d", "auto_deregister_task_definition": true}`)
	if got := active(); got != "1 5 6" {
		t.Errorf("active: %s, want 1 and 5, which are somebody else's, and 6", got)
	}
}

// What somebody took away is registered again, once it is said to be gone.
func TestForget_looksAgain(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c := connected(t, e)
	r, job := newTestRegistrar(c, &locks{}), jobOf(t, `{"image": "i"}`)
	before, err := r.resolve(t.Context(), spec(), job)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ecs.DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &before.arn}); err != nil {
		t.Fatal(err)
	}
	o := orderOf(job)
	o.definition = before
	in, err := o.request()
	if err != nil {
		t.Fatal(err)
	}
	in.NetworkConfiguration = &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-a"}}}
	_, err = ask(t.Context(), c, runTask, c.ecs.RunTask, in)
	if !isInactive(err) {
		t.Fatalf("RunTask = %v, want that the definition is inactive", err)
	}
	if again, err := r.resolve(t.Context(), spec(), job); err != nil || again != before {
		t.Fatalf("resolve = %v, %v: it looked without being told to", again, err)
	}
	if err := r.forget(t.Context(), before.arn); err != nil {
		t.Fatal(err)
	}
	after, err := r.resolve(t.Context(), spec(), job)
	if err != nil || after.arn == before.arn {
		t.Errorf("resolve = %v, %v, want another revision than %s", after, err, before.arn)
	}
}

func TestResolve_matchesWhatOthersRegistered(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c := connected(t, e)
	const same = `{"image": "i", "family": "theirs", ` + role + `, "env": {"S": {"from_aws": "/s"}}`
	theirs := register(jobOf(t, same+`}`), spec(), "us-east-1")
	theirs.Tags = []types.Tag{{Key: aws.String("made"), Value: aws.String("by hand")}}
	if _, err := c.ecs.RegisterTaskDefinition(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ variables, want string }{
		{same + `, "match_latest_revision_in_family": true}`, "theirs:1"}, // whatever tags it has
		{`{"image": "other", "family": "theirs", "match_latest_revision_in_family": true}`, "theirs:2"},
	} {
		d, err := newTestRegistrar(c, &locks{}).resolve(t.Context(), spec(), jobOf(t, tt.variables))
		if err != nil || lastPart(d.arn) != tt.want {
			t.Errorf("%s: got %+v, %v, want %s", tt.variables, d, err, tt.want)
		}
	}
}

func TestResolve_usesWhatAJobNames(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	c := connected(t, e)
	for _, image := range []string{"one", "two"} {
		_, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
			Family: aws.String("theirs"), Memory: aws.String("512"), NetworkMode: types.NetworkModeAwsvpc,
			ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("a"), Image: &image}, {Name: aws.String("b"), Image: &image}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r := newTestRegistrar(c, &locks{})
	for _, tt := range []struct{ variables, arn, container, wrong string }{
		{`{"task_definition_arn": "theirs:1", "container_name": "b"}`, "theirs:1", "b", ""},
		{`{"task_definition_arn": "theirs", "container_name": "a"}`, "theirs:2", "a", ""},
		{`{"task_definition_arn": "arn:aws:ecs:us-east-1:123456789012:task-definition/theirs:1", "container_name": "a"}`, "theirs:1", "a", ""},
		{`{"task_definition_arn": "theirs:1"}`, "", "", `task definition theirs:1 has the containers a, b: say in container_name`},
		{`{"task_definition_arn": "theirs:1", "container_name": "c"}`, "", "", `task definition theirs:1 has no container c: it has a, b`},
		{`{"task_definition_arn": "missing"}`, "", "", `look up the task definition missing: the task definition is not there`},
	} {
		d, err := r.resolve(t.Context(), spec(), jobOf(t, tt.variables))
		if tt.wrong != "" {
			if _, final := runners.IsPermanent(err); !final || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%s: got %v, want a permanent error with %q", tt.variables, err, tt.wrong)
			}
		} else if err != nil || lastPart(d.arn) != tt.arn || d.container != tt.container || !d.awsvpc {
			t.Errorf("%s: got %+v, %v", tt.variables, d, err)
		}
	}
	for id, longer := range map[string]bool{"theirs": false, "theirs:1": true, "arn:aws:ecs:us-east-1:123456789012:task-definition/theirs:1": true} {
		if left := time.Until(r.found[id].until); left > 2*revisionTime != longer {
			t.Errorf("%s is remembered for %s: a revision does not change, a family's latest does", id, left)
		}
	}
	calls := e.Calls("ecs:DescribeTaskDefinition")
	if _, err := r.resolve(t.Context(), spec(), jobOf(t, `{"task_definition_arn": "theirs", "container_name": "b"}`)); err != nil || e.Calls("ecs:DescribeTaskDefinition") != calls {
		t.Errorf("%v: it was looked up again", err)
	}
	if n := e.Calls("ecs:RegisterTaskDefinition"); n != 2 {
		t.Errorf("%d registrations, want none of ours", n-2)
	}
}

// A start that is given up does not keep others from registering.
func TestResolve_givesWayWhenItsContextEnds(t *testing.T) {
	e := ecstest.Open(t, ecstest.Paper(nil))
	l := &locks{}
	r := newTestRegistrar(connected(t, e), l)
	unlock, err := l.lock(t.Context(), "ecs/us-east-1/weir-prod-etl")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 2)
	for range 2 { // one waits for the lock, the other for the first one
		go func() {
			_, err := r.resolve(ctx, spec(), jobOf(t, `{"image": "i"}`))
			done <- err
		}()
	}
	cancel(runners.ErrLetGo)
	for range 2 {
		if err := <-done; err != runners.ErrLetGo { //nolint:errorlint // the cause as it is
			t.Errorf("resolve = %v, want %v", err, runners.ErrLetGo)
		}
	}
	unlock()
	if _, err := r.resolve(t.Context(), spec(), jobOf(t, `{"image": "i"}`)); err != nil {
		t.Error(err)
	}
}
