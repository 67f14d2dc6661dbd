package ecstest

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

func TestPolicy_allows(t *testing.T) {
	const text = `{"Statement": [
		{"Effect": "Allow", "Action": "ecs:RunTask", "Resource": "arn:aws:ecs:*:*:task-definition/weir-*",
			"Condition": {"ArnEquals": {"ecs:cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/prod"}}},
		{"Effect": "Allow", "Action": ["ecs:Describe*", "logs:*"], "Resource": "*"},
		{"Effect": "Deny", "Action": "logs:Delete*", "Resource": ["*"]},
		{"Effect": "Allow", "Action": "ecs:TagResource", "Resource": "*", "Condition": {"StringEquals": {"ecs:CreateAction": ["RunTask"]}}}
	]}`
	p, err := parsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	prod := map[string]string{"ecs:cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/prod"}
	for _, test := range []struct {
		action, resource string
		keys             map[string]string
		want             bool
	}{
		{"ecs:RunTask", "arn:aws:ecs:us-east-1:123456789012:task-definition/weir-p-d:3", prod, true},
		{"ecs:RunTask", "arn:aws:ecs:us-east-1:123456789012:task-definition/other:3", prod, false},
		{"ecs:RunTask", "arn:aws:ecs:us-east-1:123456789012:task-definition/weir-p-d:3", nil, false},
		{"ecs:DescribeTasks", "anything", nil, true},
		{"ecs:StopTask", "anything", nil, false},
		{"logs:FilterLogEvents", "x", nil, true},
		{"logs:DeleteLogGroup", "x", nil, false},
		{"ecs:TagResource", "x", map[string]string{"ecs:createaction": "RunTask"}, true},
		{"ecs:TagResource", "x", map[string]string{"ecs:createaction": "CreateCluster"}, false},
	} {
		if got := p.allows(test.action, test.resource, test.keys); got != test.want {
			t.Errorf("%s on %s with %v: got %v, want %v", test.action, test.resource, test.keys, got, test.want)
		}
	}
	if _, err := parsePolicy(`{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"IpAddress": {"a": "b"}}}]}`); err == nil {
		t.Error("an unknown operator was taken, want an error")
	}
}

func TestPolicy_refusesInAWSWords(t *testing.T) {
	a := open(t, Paper(nil))
	if err := a.AddUser("WORKER", "weir", `{"Statement": [{"Effect": "Allow", "Action": "ecs:RunTask", "Resource": "*"}]}`); err != nil {
		t.Fatal(err)
	}
	cfg := a.Config()
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "WORKER", SecretAccessKey: "x"}, nil
	})
	worker := ecs.NewFromConfig(cfg)
	in := runInput()
	_, err := worker.RunTask(t.Context(), in)
	refused(t, err, "AccessDeniedException")
	if want := "User: arn:aws:sts::123456789012:assumed-role/weir/session is not authorized to perform: iam:PassRole on resource: " +
		"arn:aws:iam::123456789012:role/execution"; err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	in.Tags = []types.Tag{{Key: aws.String("run.weir.pool"), Value: aws.String("p")}}
	_, err = worker.RunTask(t.Context(), in)
	refused(t, err, "AccessDeniedException")
	if err != nil && !strings.Contains(err.Error(), "ecs:TagResource") {
		t.Errorf("with tags: got %v, want ecs:TagResource", err)
	}
}
