package provision

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest/golden"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		pool      string
		variables map[string]json.RawMessage
		want      names
		err       string
	}{
		"nothing": {want: names{"weir", "weir-execution", "weir-job", "/weir/jobs"}},
		"pool":    {pool: "etl", want: names{"weir", "weir-etl-execution", "weir-etl-job", "/weir/etl"}},
		"null": {
			variables: map[string]json.RawMessage{"cluster": json.RawMessage("null"), "task_role_arn": json.RawMessage(`""`)},
			want:      names{"weir", "weir-execution", "weir-job", "/weir/jobs"},
		},
		"named": {
			pool: "etl", variables: map[string]json.RawMessage{
				"cluster": json.RawMessage(`"jobs"`), "execution_role_arn": json.RawMessage(`"arn:aws:iam::123456789012:role/team/start"`),
				"task_role_arn": json.RawMessage(`"work"`), "cloudwatch_logs_options": json.RawMessage(`{"awslogs-group": "/jobs", "mode": "non-blocking"}`),
			},
			want: names{"jobs", "start", "work", "/jobs"},
		},
		"cluster by ARN": {
			variables: map[string]json.RawMessage{"cluster": json.RawMessage(`"arn:aws:ecs:eu-central-1:123456789012:cluster/jobs"`)},
			want:      names{"jobs", "weir-execution", "weir-job", "/weir/jobs"},
		},
		"no text":    {variables: map[string]json.RawMessage{"cluster": json.RawMessage("5")}, err: "job variable cluster is 5"},
		"no group":   {variables: map[string]json.RawMessage{"cloudwatch_logs_options": json.RawMessage(`{"awslogs-group": 5}`)}, err: "awslogs-group is 5, want text"},
		"one role":   {variables: map[string]json.RawMessage{"task_role_arn": json.RawMessage(`"weir-execution"`)}, err: "name two roles"},
		"long names": {pool: strings.Repeat("p", 60), err: "and IAM takes 64"},
	} {
		got, err := decide(tt.pool, tt.variables)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: got %v, want an error with %q", name, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, tt.want)
		}
	}
}

func TestTrusts(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]bool{
		`{"Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]}`:                                              true,
		`{"Statement": [{"Effect": "Allow", "Principal": {"Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]}}]}`:                       true,
		`%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22Service%22%3A%22ecs-tasks.amazonaws.com%22%7D%7D%5D%7D`: true,
		`{"Statement": [{"Effect": "Deny", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]}`:                                               false,
		`{"Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs.amazonaws.com"}}]}`:                                                    false,
		`{"Statement": []}`: false,
		"nonsense":          false,
	} {
		if got := trusts(policy); got != want {
			t.Errorf("trusts(%s) = %v, want %v", policy, got, want)
		}
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	want := json.RawMessage(`{"a": 1, "b": [1, 2]}`)
	for told, same1 := range map[string]bool{
		`{"b":[1,2],"a":1}`: true,
		`%7B%22a%22%3A%201%2C%22b%22%3A%5B1%2C%202%5D%7D`: true,
		`{"b":[2,1],"a":1}`: false,
		``:                  false,
	} {
		if got := same(told, want); got != same1 {
			t.Errorf("same(%s) = %v, want %v", told, got, same1)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"AccessDenied":                "not allowed: IAM CreateRole (no)",
		"AccessDeniedException":       "not allowed: IAM CreateRole (no)",
		"ExpiredTokenException":       "the AWS credentials have run out: get new ones, such as by aws sso login (no)",
		"UnrecognizedClientException": "AWS does not know the credentials: check AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (no)",
		"LimitExceeded":               "IAM CreateRole: no (LimitExceeded)",
	} {
		err := &smithy.OperationError{ServiceID: "IAM", OperationName: "CreateRole", Err: &smithy.GenericAPIError{Code: code, Message: "no"}}
		if got := explain(err).Error(); got != want {
			t.Errorf("%s: got %q, want %q", code, got, want)
		}
	}
	if err := errors.New("other"); !errors.Is(explain(err), err) {
		t.Errorf("got %v, want it as it is", explain(err))
	}
}

// Without AWS the command still says what would be looked for.
func TestProvision_withoutRegionSaysWhatWouldBeMade(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv(queueVariable, "")
	got, err := Provision(t.Context(), runners.ProvisionRequest{Type: "ecs", Pool: "etl", Command: "weir work-pool provision etl --type ecs"})
	if err != nil {
		t.Fatal(err)
	}
	golden.JSON(t, "blind.golden.json", got)
	t.Setenv(queueVariable, "https://sqs.eu-central-1.amazonaws.com/123456789012/weir-events")
	if got, err = Provision(t.Context(), runners.ProvisionRequest{Type: "ecs"}); err != nil || !strings.Contains(string(got.Rights["runner"]), ":ACCOUNT:weir-events") {
		t.Errorf("with a queue of events: got %s, %v, want rights to it", got.Rights["runner"], err)
	}
	if _, err := Provision(t.Context(), runners.ProvisionRequest{Type: "ecs", Pool: "etl", Apply: true}); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("got %v, want an error that names AWS_REGION", err)
	}
}
