package ecs

import (
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
	"github.com/weir-run/weir/runners/ecs/policies"
	"github.com/weir-run/weir/runners/runnertest"
)

// otherRights are the rights that a call needs whose name is another one, by the field of [clients] that is asked.
var otherRights = map[string]map[string]string{
	"ecs":  {},
	"logs": {},
	"ec2":  {},
	"sqs":  {"DeleteMessageBatch": "sqs:DeleteMessage"}, // IAM knows no right for the batch
}

// implied are rights that come with another call: RunTask and RegisterTaskDefinition tag what they make and hand roles over.
var implied = []string{"ecs:TagResource", "iam:PassRole"}

// The policy that Weir prints, and Terraform applies, has every right that a call in this package needs, and no other.
func TestPolicy_hasTheRightsOfTheCallsThatThereAre(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(implied)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr) // r.aws.ecs.RunTask, whether it is called there or handed on
			if !ok {
				return true
			}
			client, ok := call.X.(*ast.SelectorExpr)
			if !ok || otherRights[client.Sel.Name] == nil {
				return true
			}
			right := otherRights[client.Sel.Name][call.Sel.Name]
			if right == "" {
				right = client.Sel.Name + ":" + call.Sel.Name
			}
			want = append(want, right)
			return true
		})
	}
	slices.Sort(want)
	want = slices.Compact(want)
	got, err := policies.Runner.Actions()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rights (-calls +policy):\n%s", diff)
	}
}

// policyScope is that of the tests' account.
var policyScope = policies.Scope{
	Partition: "aws", Region: ecstest.Region, Account: ecstest.Account, Cluster: "default", LogGroups: []string{"/weir/p"}, Queue: "events", Rule: "events",
	Roles: []string{"arn:aws:iam::123456789012:role/exec", "arn:aws:iam::123456789012:role/job"},
}

// roleOf has a principal that may do what the policy allows, without one action, and returns what speaks to AWS as it does.
func (b *bench) roleOf(without string) *clients {
	b.t.Helper()
	statements, err := policies.Runner.Statements(policyScope)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range statements {
		statements[i].Action = slices.DeleteFunc(statements[i].Action, func(a string) bool { return a == without })
	}
	document, err := json.Marshal(map[string]any{"Statement": statements})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.AddUser("AKIAWEIR", "weir", string(document)); err != nil {
		b.t.Fatal(err)
	}
	c := b.clients()
	cfg := b.Config()
	cfg.Credentials = credentials{awscredentials.NewStaticCredentialsProvider("AKIAWEIR", "secret", "")}
	c.ecs, c.logs, c.ec2, c.sqs = ecsOf(ecs.NewFromConfig(cfg)), logsOf(cloudwatchlogs.NewFromConfig(cfg)), ec2Of(ec2.NewFromConfig(cfg)), sqsOf(sqs.NewFromConfig(cfg))
	return c
}

// allOfIt does everything that a runner does: a definition that replaces another one, a task in the default VPC with both roles, its output,
// one that is found again by another worker and stopped, and ends that events tell of. It returns what went wrong.
func (b *bench) allOfIt(c *clients) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Hour)
	defer cancel()
	url := b.AddQueue("events", 30*time.Second)
	b.Tune(func(k *ecstest.Knobs) { k.Events.Queue = "events" })
	r := b.workerWith("w", runners.Config{}, c, url)
	roles := map[string]any{"task_role_arn": "arn:aws:iam::123456789012:role/job", "network_configuration": nil, "auto_deregister_task_definition": true}
	var failures []error
	for i, image := range []string{"busybox:1", "busybox:2"} { // the second one replaces the first
		roles["image"] = image
		out := runnertest.NewRecorder()
		e, err := r.Start(ctx, b.spec([]string{"a.1", "b.1"}[i], out, roles))
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if _, err := e.Wait(ctx); err != nil {
			failures = append(failures, err)
		}
		if len(out.Lines("")) != 3 {
			failures = append(failures, errors.New("there is no output"))
		}
	}
	roles["labels"] = map[string]any{"long": "yes"}
	spec := b.spec("c.1", nil, roles)
	if _, err := r.Start(ctx, spec); err != nil {
		return errors.Join(append(failures, err)...)
	}
	time.Sleep(10 * time.Minute) // so that its output is old, and its stream is read by itself
	heir := b.workerWith("w2", runners.Config{}, c, "")
	found, err := heir.Find(ctx, runners.Sought{Name: "c.1", Place: placeOf(ecstest.Region, ecstest.Account, "default"), Output: runnertest.NewRecorder()})
	if err != nil {
		return errors.Join(append(failures, err)...)
	}
	return errors.Join(append(failures, found.Stop(ctx, time.Second))...)
}

// planned has tasks end after a minute, but for those that are labelled long.
func planned(t ecstest.Task) ecstest.Plan {
	if t.Tags["long"] == "yes" {
		return ecstest.Plan{Runs: ecstest.Forever, Output: lines(3)}
	}
	return ecstest.Plan{Runs: time.Minute, Output: lines(3)}
}

// refusal is how AWS's refusal of an action is worded.
func refusal(action string) string { return "not authorized to perform: " + action }

func TestPolicy_isEnough(t *testing.T) {
	bubble(t, planned, func(t *testing.T, b *bench) {
		if err := b.allOfIt(b.roleOf("")); err != nil {
			t.Error(err)
		}
		if n := b.log.count(refusal("")); n > 0 {
			t.Errorf("%d refusals were logged: %s", n, b.log.b.String())
		}
	})
}

// Without any one of its rights, something of it is refused, and the refusal names the right.
func TestPolicy_hasNothingToSpare(t *testing.T) {
	t.Parallel()
	actions, err := policies.Runner.Actions()
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range actions {
		t.Run(action, func(t *testing.T) {
			bubble(t, planned, func(t *testing.T, b *bench) {
				err := b.allOfIt(b.roleOf(action))
				if err != nil && strings.Contains(err.Error(), action) || b.log.count(action) > 0 {
					return
				}
				t.Errorf("without %s nothing is refused: %v, logged: %s", action, err, b.log.b.String())
			})
		})
	}
}

// What a request for a run may name, the policy may still forbid.
func TestPolicy_isForOneClusterItsRolesAndFamilies(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		job    map[string]any
		action string
	}{
		"another cluster": {map[string]any{"cluster": "other"}, "ecs:RunTask"},
		"another role":    {map[string]any{"task_role_arn": "arn:aws:iam::123456789012:role/admin"}, "iam:PassRole"},
		"another family":  {map[string]any{"family": "theirs"}, "ecs:RegisterTaskDefinition"},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, forever, func(t *testing.T, b *bench) {
				b.AddCluster("other")
				_, err := b.workerWith("w", runners.Config{}, b.roleOf(""), "").Start(b.t.Context(), b.spec("r.1", nil, tt.job))
				if err == nil || !strings.Contains(err.Error(), refusal(tt.action)) {
					t.Errorf("got %v, want a refusal of %s", err, tt.action)
				}
				if tasks := b.Tasks(); len(tasks) > 0 {
					t.Errorf("got tasks %v, want none", tasks)
				}
			})
		})
	}
}
