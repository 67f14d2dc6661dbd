package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/docker/dockertest"
	"github.com/weir-run/weir/runners/ecs/policies"
)

// moto starts moto's AWS account for the test, where WEIR_TEST asks for ecs, and leads the environment to it. It has IAM, which decides by
// action.
func moto(t *testing.T) (url string) {
	t.Helper()
	dockertest.Need(t, "ecs")
	script := filepath.Join("..", "..", "runners", "ecs", "testdata", "emulators.sh")
	emulators := func(args ...string) {
		if out, err := exec.Command(script, args...).CombinedOutput(); err != nil {
			t.Fatalf("emulators.sh %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	emulators("install")
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "moto")
	emulators("up", dir, "moto", port)
	t.Cleanup(func() { emulators("down", dir) })
	url = "http://127.0.0.1:" + port
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": url, "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	return url
}

// motoIAM is a client of its IAM.
func motoIAM(t *testing.T) *iam.Client {
	t.Helper()
	cfg, err := awsconfig.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return iam.NewFromConfig(cfg)
}

// states are the parts' states by kind.
func states(t *testing.T, out string) map[string]runners.PartState {
	t.Helper()
	found := map[string]runners.PartState{}
	for _, part := range decodeJSON[provisioning](t, out).Parts {
		found[part.Kind] = part.State
	}
	return found
}

func all(state runners.PartState) map[string]runners.PartState {
	return map[string]runners.PartState{"cluster": state, "execution role": state, "job role": state, "log group": state}
}

// The command looks, makes what is missing, tells the pool of it, and does nothing when it is repeated.
func TestEcs_provisionMakesWhatAPoolNeeds(t *testing.T) {
	moto(t)
	url := newNATS(t)
	weir(t, "-s", url, "work-pool", "create", "production", "--type", "ecs:push").ok(t)
	do := func(args string) result {
		return weir(t, append([]string{"-s", url, "work-pool", "provision"}, strings.Fields(args)...)...)
	}

	if got := states(t, do("production -o json").ok(t)); !cmp.Equal(got, all(runners.PartMissing)) {
		t.Errorf("at first: got %v, want everything missing", got)
	}
	if got := do("production --apply"); got.code != exitRefused || !strings.Contains(got.stderr, "make cluster weir") || !strings.Contains(got.stderr, "--force") {
		t.Errorf("nobody is asked: exit code %d, %s", got.code, got.stderr)
	}
	made := decodeJSON[provisioning](t, do("production --apply --yes -o json").ok(t))
	if got := states(t, do("production -o json").ok(t)); !cmp.Equal(got, all(runners.PartExists)) {
		t.Errorf("then: got %v, want that everything exists", got)
	}
	if !made.Changed || made.Parts[0].State != runners.PartCreated {
		t.Errorf("got %+v, want a cluster that was created, and a changed pool", made)
	}
	if again := do("production --apply").ok(t); !strings.Contains(again, "exists") || strings.Contains(again, "created") {
		t.Errorf("once more: got %s", again)
	}

	pool, err := connectTo(t, url).Pool(t.Context(), "production")
	if err != nil {
		t.Fatal(err)
	}
	kind, err := poolType("ecs:push")
	if err != nil {
		t.Fatal(err)
	}
	r, err := runners.NewRenderer(kind, pool.BaseJobTemplate)
	if err != nil {
		t.Fatal(err)
	}
	defaults := r.Template().Variables.Defaults()
	for name, want := range map[string]string{
		"cluster": `"weir"`, "execution_role_arn": `"arn:aws:iam::123456789012:role/weir-production-execution"`,
		"task_role_arn": `"arn:aws:iam::123456789012:role/weir-production-job"`, "configure_cloudwatch_logs": "true",
		"cloudwatch_logs_options": `{"awslogs-group":"/weir/production"}`,
	} {
		if got := string(defaults[name]); got != want {
			t.Errorf("the pool's default of %s is %s, want %s", name, got, want)
		}
	}
}

// What is there under other names is used, and what is not as it has to be is told of.
func TestEcs_provisionTellsWhatDiffers(t *testing.T) {
	moto(t)
	client := motoIAM(t)
	do := func(args string) result {
		return weir(t, append([]string{"work-pool", "provision", "--type", "ecs"}, strings.Fields(args)...)...)
	}
	do("--apply --yes --job-variable cluster=jobs").ok(t)

	put := func(role, trust string) {
		if _, err := client.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: &role, PolicyDocument: &trust}); err != nil {
			t.Fatal(err)
		}
	}
	put("weir-job", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
	if _, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("weir-execution"), PolicyName: aws.String("weir"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"logs:PutLogEvents","Resource":"*"}]}`),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("theirs"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["ecs-tasks.amazonaws.com"]},"Action":"sts:AssumeRole"}]}`)}); err != nil {
		t.Fatal(err)
	}
	want := map[string]runners.PartState{"cluster": runners.PartExists, "execution role": runners.PartDiffers, "job role": runners.PartRefused, "log group": runners.PartExists}
	if got := states(t, do("--jv cluster=jobs -o json").ok(t)); !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	got := do("--jv cluster=jobs --apply --yes")
	if got.code != exitRefused || !strings.Contains(got.stdout, "updated") || !strings.Contains(got.stdout, "aws iam update-assume-role-policy --role-name weir-job") {
		t.Errorf("applied: exit code %d, %s%s", got.code, got.stdout, got.stderr)
	}
	want["execution role"], want["job role"] = runners.PartExists, runners.PartExists
	if got := states(t, do("--jv cluster=jobs --jv task_role_arn=theirs -o json").ok(t)); !cmp.Equal(got, want) {
		t.Errorf("with a role of theirs: got %v, want %v", got, want)
	}
}

// The policy that the command prints for itself is enough for it, and has no action to spare. moto decides by action alone.
func TestEcs_provisionNeedsTheRightsThatItPrints(t *testing.T) {
	url := moto(t)
	client := motoIAM(t)
	rights := weir(t, "work-pool", "provision", "--type", "ecs", "--rights", "provision").ok(t)
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("provisioner")}); err != nil {
		t.Fatal(err)
	}
	key, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("provisioner")})
	if err != nil {
		t.Fatal(err)
	}
	allow := func(document string) {
		if _, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
			UserName: aws.String("provisioner"), PolicyName: aws.String("weir"), PolicyDocument: &document,
		}); err != nil {
			t.Fatal(err)
		}
	}
	enforce := func(free string) {
		req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, url+"/moto-api/reset-auth", bytes.NewBufferString(free))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("reset-auth: %v, %v", res, err)
		}
		res.Body.Close()
	}
	t.Setenv("AWS_ACCESS_KEY_ID", aws.ToString(key.AccessKey.AccessKeyId))
	t.Setenv("AWS_SECRET_ACCESS_KEY", aws.ToString(key.AccessKey.SecretAccessKey))
	do := func(n int) result { // with names of its own, since what was made stays
		return weir(t, strings.Fields(fmt.Sprintf(
			"work-pool provision --type ecs --apply --yes -o json --jv cluster=c%[1]d --jv execution_role_arn=e%[1]d --jv task_role_arn=j%[1]d --jv "+
				`cloudwatch_logs_options={"awslogs-group":"/g%[1]d"}`, n))...)
	}
	document := decodeJSON[struct {
		Version   string
		Statement []policies.Statement
	}](t, rights)
	var actions []string
	for i := range document.Statement {
		document.Statement[i].Resource = json.RawMessage(`"*"`)
		document.Statement[i].Condition = nil
		actions = append(actions, document.Statement[i].Action...)
	}
	without := func(action string) string {
		d := document
		d.Statement = nil
		for _, s := range document.Statement {
			s.Action = slices.DeleteFunc(slices.Clone(s.Action), func(a string) bool { return a == action })
			if len(s.Action) > 0 {
				d.Statement = append(d.Statement, s)
			}
		}
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	allow(without(""))
	enforce("0")
	t.Cleanup(func() { enforce("inf") })
	if got := states(t, do(0).ok(t)); !cmp.Equal(got, all(runners.PartCreated)) {
		t.Errorf("with all rights: got %v, want that everything was created", got)
	}
	for i, action := range actions {
		if action == "iam:CreateServiceLinkedRole" {
			continue // ECS does that by itself, in an account's first cluster
		}
		enforce("inf")
		allow(without(action))
		enforce("0")
		made, found := do(i+1), do(0)
		if made.code != exitRefused && found.code != exitRefused {
			t.Errorf("without %s: what is made and what is found is all right, want a refusal: %s%s", action, made.stdout, found.stdout)
		}
		enforce("inf")
		allow(without(""))
		enforce("0")
		for kind, state := range states(t, do(i+1).ok(t)) { // what was left unfinished is finished
			if state != runners.PartExists && state != runners.PartCreated && state != runners.PartUpdated {
				t.Errorf("after %s was given back: %s is %s", action, kind, state)
			}
		}
		if got := states(t, do(i+1).ok(t)); !cmp.Equal(got, all(runners.PartExists)) {
			t.Errorf("after %s was given back, and once more: got %v, want that everything exists", action, got)
		}
	}
}

func TestProvision_refusesWhatItCannotDo(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	url := newNATS(t)
	weir(t, "-s", url, "work-pool", "create", "dev", "--type", "process").ok(t)
	weir(t, "-s", url, "work-pool", "create", "prod", "--type", "ecs").ok(t)
	for args, want := range map[string]string{
		"--type process":                        "needs nothing around it",
		"dev":                                   "needs nothing around it",
		"prod --type ecs:push":                  "is of type ecs, not ecs:push",
		"prd":                                   `"prod"`,
		"nope --type ecs:push":                  "work-pool create nope --type ecs:push",
		"nope":                                  "work-pool create nope --type process",
		"prod other":                            `unexpected argument "other"`,
		"":                                      "--type is missing",
		"--type ecs --rights nobody":            "it can be provision, runner",
		"--type ecs --job-variable cluster":     "is not KEY=VALUE",
		"--type ecs --job-variable cluster=[1]": "cluster",
		"--type ecs --jv cluser=jobs":           `did you mean "cluster"?`,
		"--type ecs --jv cpu=512":               "these do: cloudwatch_logs_options, cluster, ",
		"--type ecs --apply --jv cluser=jobs":   `did you mean "cluster"?`,
		"--type ecs --apply":                    "AWS_REGION",
	} {
		got := weir(t, append([]string{"-s", url, "work-pool", "provision"}, strings.Fields(args)...)...)
		if got.code == exitOK || !strings.Contains(got.stderr, want) {
			t.Errorf("provision %s: exit code %d, want %q in %s", args, got.code, want, got.stderr)
		}
	}
}
