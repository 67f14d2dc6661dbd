package main

import (
	"strings"
	"testing"

	"github.com/weir-run/weir/runners"
)

// withoutAWS takes away whatever tells where AWS is.
func withoutAWS(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// What to type next asks for the same as what was typed.
func TestProvision_carriesOnWhatWasGiven(t *testing.T) {
	e := &env{getenv: func(string) string { return "" }}
	e.global.conn.Server, e.global.conn.Context = "nats://there:4222", "our team"
	for _, tt := range []struct {
		request   runners.ProvisionRequest
		variables []string
		want      string
	}{
		{runners.ProvisionRequest{Type: "ecs"}, nil, "--type ecs"},
		{
			runners.ProvisionRequest{Type: "ecs:push", Pool: "production"},
			[]string{"cluster=jobs", `cloudwatch_logs_options={"awslogs-group":"/it's"}`},
			`production --type ecs:push --job-variable cluster=jobs --job-variable 'cloudwatch_logs_options={"awslogs-group":"/it'\''s"}'`,
		},
	} {
		if got, want := e.provisionAgain(tt.request, tt.variables), "weir --server nats://there:4222 --context 'our team' work-pool provision "+tt.want; got != want {
			t.Errorf("\ngot  %s\nwant %s", got, want)
		}
	}

	withoutAWS(t)
	out := weir(t, strings.Fields("work-pool provision --type ecs --jv cluster=jobs")...).stdout
	if want := "weir work-pool provision --type ecs --job-variable cluster=jobs"; !strings.Contains(out, want) {
		t.Errorf("got %s, want %q in it", out, want)
	}
}

func TestAgain_isTheSameNATS(t *testing.T) {
	for _, tt := range []struct{ server, context, env, want string }{
		{want: "weir"},
		{server: "nats://127.0.0.1:4222", want: "weir"},
		{server: "nats://there:4222", want: "weir --server nats://there:4222"},
		{server: "nats://me:secret@there:4222", want: "weir"},
		{server: "there", context: "there", env: "there", want: "weir"},
		{context: "there", want: "weir --context there"},
	} {
		e := &env{getenv: func(string) string { return tt.env }}
		e.global.conn.Server, e.global.conn.Context = tt.server, tt.context
		if got := e.again(); got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

// A variable that was not meant is no reason to look for something else, or to make it.
func TestProvision_refusesVariablesOfNoEffect(t *testing.T) {
	withoutAWS(t)
	for _, more := range []string{"", " --apply --yes", " --rights runner"} {
		got := weir(t, strings.Fields("work-pool provision --type ecs --jv cluser=jobs"+more)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, `did you mean "cluster"?`) || got.stdout != "" {
			t.Errorf("%s: exit code %d, %s%s", more, got.code, got.stdout, got.stderr)
		}
	}
}
