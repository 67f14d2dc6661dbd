package policies

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners/runnertest/golden"
)

var all = map[string]Policy{"runner": Runner, "execution": Execution, "agent": Agent, "tasks": Tasks, "events": Events, "provision": Provision}

// full is a scope with everything that there can be.
var full = Scope{
	Partition: "aws", Region: "eu-central-1", Account: "123456789012", Cluster: "jobs",
	Families:  []string{"nightly"},
	Roles:     []string{"arn:aws:iam::123456789012:role/weir-execution", "arn:aws:iam::123456789012:role/weir-job"},
	LogGroups: []string{"/weir/production"}, Repositories: []string{"arn:aws:ecr:eu-central-1:123456789012:repository/etl"},
	Secrets:    []string{"arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf"},
	Parameters: []string{"arn:aws:ssm:eu-central-1:123456789012:parameter/etl/token"},
	Keys:       []string{"arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"},
	Queue:      "weir-events", Rule: "weir-events",
}

// small is what weir work-pool provision makes: no queue, no secrets.
var small = Scope{
	Partition: "aws", Region: "us-east-1", Account: "123456789012", Cluster: "weir",
	Roles:     []string{"arn:aws:iam::123456789012:role/weir-execution", "arn:aws:iam::123456789012:role/weir-job"},
	LogGroups: []string{"/weir/production"},
}

func TestDocument_isWhatIAMTakes(t *testing.T) {
	t.Parallel()
	for name, p := range all {
		for size, scope := range map[string]Scope{"full": full, "small": small} {
			document, err := p.Document(scope)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var got any
			if err := json.Unmarshal(document, &got); err != nil {
				t.Fatalf("%s: %v in %s", name, err, document)
			}
			golden.JSON(t, name+"."+size+".golden.json", got)
			if strings.Contains(string(document), "Why") || strings.Contains(string(document), "${") {
				t.Errorf("%s has what IAM does not take: %s", name, document)
			}
			if len(document) > 6144 { // a managed policy's limit; white space does not count
				t.Errorf("%s has %d characters, and a managed policy 6,144 at most", name, len(document))
			}
		}
	}
}

// Least privilege, as far as it can be read off: actions by their whole names, resources named or said why not, and every statement with
// its reason.
func TestPolicies_allowByName(t *testing.T) {
	t.Parallel()
	unlimited := map[string]bool{ // AWS knows no resource for these
		"ecs:DescribeTaskDefinition": true, "ecs:ListTaskDefinitions": true, "ecs:DeregisterTaskDefinition": true, "ecs:ListTasks": true,
		"ec2:DescribeSubnets": true, "ec2:DescribeVpcs": true, "ecr:GetAuthorizationToken": true, "logs:DescribeLogGroups": true,
	}
	for name, p := range all {
		statements, err := p.Statements(full)
		if err != nil {
			t.Fatal(err)
		}
		var sids []string
		for _, s := range statements {
			sids = append(sids, s.Sid)
			if s.Effect != "Allow" || !strings.HasSuffix(s.Why, ".") || len(s.Why) < 40 {
				t.Errorf("%s: %s is %q and does not say why: %q", name, s.Sid, s.Effect, s.Why)
			}
			if strings.ContainsFunc(s.Sid, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
				t.Errorf("%s: IAM takes letters and digits as a Sid, not %q", name, s.Sid)
			}
			for _, action := range s.Action {
				if strings.ContainsAny(action, "*?") || !strings.Contains(action, ":") {
					t.Errorf("%s: %s allows %q, which is no action's whole name", name, s.Sid, action)
				}
				if string(s.Resource) == `"*"` && !unlimited[action] {
					t.Errorf("%s: %s allows %s on everything", name, s.Sid, action)
				}
			}
			if len(s.Resource) == 0 && len(s.Principal) == 0 {
				t.Errorf("%s: %s has neither a resource nor a principal", name, s.Sid)
			}
		}
		slices.Sort(sids)
		if len(slices.Compact(slices.Clone(sids))) != len(sids) {
			t.Errorf("%s has a Sid twice: %v", name, sids)
		}
	}
}

func TestStatements_ofNothingAreLeftOut(t *testing.T) {
	t.Parallel()
	got, err := Runner.Document(small)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), "sqs:") {
		t.Errorf("without a queue there is a right to one: %s", got)
	}
	if _, err := Policy(`{"Statement": [{"Resource": "${nobody}"}]}`).Document(small); err == nil || !strings.Contains(err.Error(), "${nobody}") {
		t.Errorf("a placeholder that nothing fills: got %v", err)
	}
}

func TestDocument_carriesTextAsItIs(t *testing.T) {
	t.Parallel()
	scope := small
	scope.Cluster = `a"b\c`
	statements, err := Runner.Statements(scope)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := json.Unmarshal(statements[3].Resource, &got); err != nil || !strings.HasSuffix(got[0], `task/a"b\c/*`) {
		t.Errorf("got %s, %v", statements[3].Resource, err)
	}
}

// What Terraform uses is this text, to the letter. It makes things with rights of its own.
func TestTexts_areThoseOfTheTerraformModule(t *testing.T) {
	t.Parallel()
	copies := filepath.Join("..", "..", "..", "deploy", "terraform", "ecs-policies")
	used := maps.Clone(all)
	delete(used, "provision")
	for name, p := range used {
		file := filepath.Join(copies, name+".json.tftpl")
		if *golden.Update {
			if err := os.WriteFile(file, []byte(p), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(p), string(got)); diff != "" {
			t.Errorf("%s is not the text beside this test (-here +there, go test -update copies it):\n%s", file, diff)
		}
	}
	found, err := filepath.Glob(filepath.Join(copies, "*.tftpl"))
	if err != nil || len(found) != len(used) {
		t.Errorf("got %v, %v, want %d texts", found, err, len(used))
	}
}
