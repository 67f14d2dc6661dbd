package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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
	out := weir(t, strings.Fields("work-pool provision --type ecs --jv cluster=jobs")...).stdout // which fails without AWS
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

// Placeholders are not taken for rights: the exit code is not 0, and what they are is said where nobody redirects it.
func TestProvision_saysWhatStandsForTheUnknown(t *testing.T) {
	withoutAWS(t)
	for _, tt := range []struct{ args, region, want string }{
		{"", "", "ACCOUNT and REGION stand for what could not be found out: no AWS region is known"},
		{"-o json", "", "ACCOUNT and REGION stand for"},
		{"--rights runner", "", "ACCOUNT and REGION stand for"},
		{"--rights runner", "eu-central-1", "ACCOUNT stands for what could not be found out: no AWS credentials"},
		{"--apply --yes", "", "nothing was made: no AWS region"},
	} {
		t.Setenv("AWS_REGION", tt.region)
		got := weir(t, strings.Fields("work-pool provision --type ecs "+tt.args)...)
		if got.code != exitNoConnection || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: exit code %d, want %q in %s", tt.args, got.code, tt.want, got.stderr)
		}
		if strings.Contains(got.stdout, "put-role-policy") {
			t.Errorf("%s: placeholders are to be given to AWS: %s", tt.args, got.stdout)
		}
		if tt.args == "--rights runner" && (!strings.Contains(got.stdout, ":ACCOUNT:") || strings.Contains(got.stdout, "REGION") != (tt.region == "")) {
			t.Errorf("%s: got %s", tt.args, got.stdout)
		}
	}
}

// An account that shows nothing is no success either.
func TestProvision_whereAllIsRefused(t *testing.T) {
	withoutAWS(t)
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "GetCallerIdentity" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/me</Arn>`+
			`<UserId>me</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	}))
	defer aws.Close()
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": aws.URL, "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"} {
		t.Setenv(name, value)
	}
	got := weir(t, strings.Fields("work-pool provision --type ecs")...)
	if got.code != exitRefused || !strings.Contains(got.stderr, "nothing that a pool of type ecs needs could be looked at") || !strings.Contains(got.stdout, "not allowed") {
		t.Errorf("exit code %d, %s%s", got.code, got.stdout, got.stderr)
	}
}
