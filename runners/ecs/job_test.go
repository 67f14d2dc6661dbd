package ecs

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// rendered is a job of the default template with the given variables.
func rendered(t testing.TB, variables string) (json.RawMessage, error) {
	t.Helper()
	var vars map[string]json.RawMessage
	if err := json.Unmarshal([]byte(variables), &vars); err != nil {
		t.Fatalf("bad test data %s: %v", variables, err)
	}
	return runners.Job(Type, schemas.Pool{Name: "p"}, schemas.Deployment{Name: "d", JobVariables: vars}, nil)
}

// jobOf is a job of the default template that is as it should be.
func jobOf(t testing.TB, variables string) *Job {
	t.Helper()
	raw, err := rendered(t, variables)
	if err != nil {
		t.Fatal(err)
	}
	job, err := parseJob(raw)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// configured is a job of a base job template that was written by hand.
func configured(t testing.TB, configuration string) *Job {
	t.Helper()
	job, err := parseJob(json.RawMessage(configuration))
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func TestCheck_saysWhatCanNeverStart(t *testing.T) {
	const secret = `arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf`
	for _, tt := range []struct{ variables, want string }{
		{`{}`, `image is missing: name the image to run`},
		{`{"image": "two words"}`, `image "two words" cannot name an image`},
		{`{"image": "i", "imagee": "x"}`, `did you mean "image"?`},
		{`{"image": "i", "command": [""]}`, `command names no program`},
		{`{"image": "i", "working_dir": "app"}`, `working_dir "app" is relative`},
		{`{"image": "i", "user": "a\u0000b"}`, `user holds a zero byte`},
		{`{"image": "i", "cpu": 1024, "memory": 512}`, `cpu 1024 with memory 512 is no pair that Fargate has: with cpu 1024 memory is 2048 to 8192 in steps of 1024; memory 512 goes with cpu 256`},
		{`{"image": "i", "cpu": 256, "memory": 1536}`, `with cpu 256 memory is 512, 1024 or 2048`},
		{`{"image": "i", "cpu": 1000}`, `cpu 1000 is none that Fargate has: it is 256, 512, 1024, 2048, 4096, 8192, 16384`},
		{`{"image": "i", "memory": 100}`, `memory 100 is none that Fargate has`},
		{`{"image": "i", "cpu": "lots"}`, `cpu is "lots", want a number of CPU units, such as 1024`},
		{`{"image": "i", "memory": "2 GB"}`, `memory is "2 GB", want a number of MiB, such as 2048`},
		{`{"image": "i", "cpu": "0"}`, `cpu is "0", want a number of CPU units`},
		{`{"image": "i", "capacity": ["EC2", "FARGATE_SPOT"], "cpu": 1}`, `cpu 1 is none that Fargate has`},
		{`{"image": "i", "launch_type": "EC2", "capacity": ["FARGATE_SPOT"]}`, `capacity and launch_type both say where to run: give one of them, and set the other one to null where the pool gives it`},
		{`{"image": "i", "capacity": ["FARGTE"]}`, `capacity has "FARGTE": did you mean FARGATE? If the cluster has a capacity provider of that name, name it in capacity_provider_strategy`},
		{`{"image": "i", "capacity": ["gpu", "fargate_spot"]}`, `did you mean FARGATE_SPOT?`},
		{`{"image": "i", "capacity": ["ec2"]}`, `did you mean EC2?`},
		{`{"image": "i", "ephemeral_storage": 20}`, `ephemeral_storage`},
		{`{"image": "i", "platform": "windows/amd64"}`, `platform is "windows/amd64", want linux/amd64 or linux/arm64`},
		{`{"image": "i", "stop_timeout": 121}`, `stop_timeout is 121, want 120 or less`},
		{`{"image": "i", "launch_type": "SPOT"}`, `launch_type`},
		{`{"image": "i", "capacity": ["FARGATE SPOT"]}`, `capacity has "FARGATE SPOT", want FARGATE_SPOT`},
		{`{"image": "i", "capacity": ["FARGATE", "FARGATE"]}`, `capacity has FARGATE twice`},
		{`{"image": "i", "capacity": ["FARGATE"], "capacity_provider_strategy": [{"capacityProvider": "x"}]}`, `give one of them`},
		{`{"image": "i", "capacity_provider_strategy": [{"capacityProvider": "x", "weight": 1001}]}`, `"x" with weight 1001 and base 0`},
		{`{"image": "i", "network_configuration": {"subnets": ["sn-1"]}}`, `subnets has "sn-1", want an ID that begins with subnet-`},
		{`{"image": "i", "network_configuration": {"awsvpcConfiguration": {"securityGroups": ["x"]}}}`, `securityGroups has "x", want an ID that begins with sg-`},
		{`{"image": "i", "network_configuration": {"subnet": "x"}}`, `network_configuration`},
		{`{"image": "i", "execution_role_arn": "arn:aws:iam::1:role/x"}`, `execution_role_arn is "arn:aws:iam::1:role/x", want a role's ARN`},
		{`{"image": "i", "execution_role_arn": "ecsTaskExecutionRole"}`, `execution_role_arn is "ecsTaskExecutionRole", want a role's ARN`},
		{`{"image": "i", "task_role_arn": "my role"}`, `task_role_arn is "my role", want a role's ARN such as arn:aws:iam::123456789012:role/etl-job, or its name`},
		{`{"image": "i", "task_role_arn": "arn:aws:iam::123456789012:user/x"}`, `task_role_arn is`},
		{`{"image": "i", "cluster": "my cluster"}`, `cluster is "my cluster", want a cluster's name, of letters, digits, - and _, or its ARN`},
		{`{"image": "i", "cluster": "arn:aws:ecs:eu-central-1:123456789012:service/x"}`, `cluster is`},
		{`{"image": "i", "vpc_id": "default"}`, `vpc_id is "default", want an ID that begins with vpc-`},
		{`{"task_definition_arn": "etl:latest"}`, `task_definition_arn is "etl:latest", want family, family:revision or an ARN`},
		{`{"task_definition_arn": "arn:aws:ecs:eu-central-1:123456789012:task/etl"}`, `task_definition_arn is`},
		{`{"image": "i", "configure_cloudwatch_logs": true, "execution_role_arn": "arn:aws:iam::123456789012:role/x", "cloudwatch_logs_options": {"awslog-group": "g"}}`, `"awslog-group", which is no option of the awslogs driver: did you mean awslogs-group?`},
		{`{"image": "i", "configure_cloudwatch_logs": true, "execution_role_arn": "arn:aws:iam::123456789012:role/x", "cloudwatch_logs_options": {"x": "g"}}`, `it has awslogs-group, awslogs-region,`},
		{`{"image": "i", "configure_cloudwatch_logs": true}`, `execution_role_arn is missing: Fargate writes to CloudWatch Logs`},
		{`{"image": "i", "cloudwatch_logs_options": {"awslogs-group": "g"}}`, `cloudwatch_logs_options have no effect without configure_cloudwatch_logs`},
		{`{"image": "i", "cloudwatch_logs_prefix": "a:b"}`, `cloudwatch_logs_prefix "a:b"`},
		{`{"image": "i", "env": {"A": {"from_aws": "` + secret + `"}}}`, `execution_role_arn is missing: ECS reads the secrets`},
		{`{"image": "i", "env": {"A": {"from_env": "HOME"}}}`, `which an ECS pool does not take: AWS would show its value`},
		{`{"image": "i", "env": {"A": {"from_file": "/etc/passwd"}}}`, `keep it in Secrets Manager or the Parameter Store`},
		{`{"image": "i", "env": {"A": {"from_aws": "db:password"}}}`, `a secret of Secrets Manager is named by its ARN`},
		{`{"image": "i", "env": {"A": {"from_aws": "arn:aws:s3:::bucket/key"}}}`, `is no ARN of a secret`},
		{`{"image": "i", "env": {"A": ["x"]}}`, `env.A`},
		{`{"image": "i", "env": {"WEIR_RUN_ID": "x"}}`, `env WEIR_RUN_ID is set by weir itself`},
		{`{"image": "i", "env": {"WEIR_LAUNCHER": "x"}}`, `env WEIR_LAUNCHER is set by weir itself`},
		{`{"image": "i", "env": {"A=B": "x"}}`, `cannot name a variable`},
		{`{"image": "i", "labels": {"run.weir.run": "x"}}`, `are Weir's own`},
		{`{"image": "i", "labels": {"AWS:x": "x"}}`, `are AWS's own`},
		{`{"image": "i", "labels": {"a": "x#y"}}`, `label "a" cannot be a tag`},
		{`{"image": "i", "container_name": "a b"}`, `container_name "a b": ECS takes letters`},
		{`{"image": "i", "family": "a b"}`, `family "a b": ECS takes letters`},
		{`{"image": "i", "start_timeout": -1}`, `start_timeout`},
		{`{"image": "i", "aws_credentials": {"aws_access_key_id": "AKIA"}}`, `aws_credentials must be null, or left out: a message is no place for a key. The worker or server speaks to AWS with its own credentials`},
		{`{"image": "i", "aws_credentials": "AKIA"}`, `a message is no place for a key`},
		{`{"task_definition_arn": "x:1", "env": {"A": {"from_aws": "p"}}}`, `which only a task definition can have`},
		{`{"task_definition_arn": "x:1", "cpu": 1024, "memory": 512}`, `cpu 1024 with memory 512 is no pair`},
	} {
		raw, err := rendered(t, tt.variables)
		if err == nil {
			err = check(raw)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\ngot  %v\nwant %q in it", tt.variables, err, tt.want)
		}
	}
}

func TestCheck_takesEachFormThatECSTakes(t *testing.T) {
	for _, variables := range []string{
		`{"image": "i", "cluster": "arn:aws-us-gov:ecs:us-gov-west-1:123456789012:cluster/jobs_2"}`,
		`{"image": "i", "task_role_arn": "etl-job", "execution_role_arn": "arn:aws-cn:iam::123456789012:role/path/exec"}`,
		`{"task_definition_arn": "etl"}`,
		`{"task_definition_arn": "etl:12"}`,
		`{"task_definition_arn": "arn:aws:ecs:eu-central-1:123456789012:task-definition/etl:3"}`,
		`{"image": "i", "vpc_id": "vpc-0a1b2c3d"}`,
		`{"image": "i", "capacity_provider_strategy": [{"capacityProvider": "frigate"}]}`,
		`{"image": "i", "aws_credentials": {}}`,
		`{"image": "i", "cpu": "256", "memory": "512"}`,
	} {
		raw, err := rendered(t, variables)
		if err == nil {
			err = check(raw)
		}
		if err != nil {
			t.Errorf("%s: %v", variables, err)
		}
	}
}

func TestCheck_refusesWhatATemplateCannotSay(t *testing.T) {
	for _, tt := range []struct{ configuration, want string }{
		{`{"image": "i", "task_definition": {"familly": "x"}}`, `task_definition: unknown field "familly"`},
		{`{"image": "i", "task_definition": []}`, `task_definition: got [], want an object`},
		{`{"task_definition": {"containerDefinitions": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}}`, `task_definition has the containers a, b: say in container_name`},
		{`{"container_name": "c", "task_definition": {"containerDefinitions": [{"name": "a", "image": "i"}]}, "image": "j"}`, `container_name "c" is not in task_definition, which has the containers a`},
		{`{"image": "i", "task_definition": {"cpu": "lots"}}`, `task_definition: cpu or memory is`},
		{`{"image": "i", "task_definition": {"cpu": "1 vCPU", "memory": "1 GB"}}`, `cpu 1024 with memory 1024 is no pair`},
		{`{"image": "i", "task_run_request": {"clientToken": "x"}}`, `task_run_request: clientToken is set by weir itself`},
		{`{"image": "i", "task_run_request": {"launchtipe": "FARGATE"}}`, `task_run_request: unknown field "launchtipe"`},
		{`{"image": "i", "task_run_request": {"launchType": "MOON"}}`, `launch_type is "MOON"`},
		{`{"image": "i", "task_run_request": {"overrides": {"cpu": 1024, "memory": "512"}}}`, `cpu 1024 with memory 512 is no pair`},
		{`{"image": "i", "task_run_request": {"overrides": {"containerOverrides": [{"environment": {"A": {"from_env": "B"}}}]}}}`, `task_run_request: environment A: an env value is {"from_env"}`},
		{`{"image": 1}`, `image is a number, want string`},
		{`{"imag": "i"}`, `unknown field "imag"`},
		{`[]`, `job configuration`},
	} {
		err := check(json.RawMessage(tt.configuration))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\ngot  %v\nwant %q in it", tt.configuration, err, tt.want)
		}
	}
}

func TestPlacements_areTriedInTurn(t *testing.T) {
	for _, tt := range []struct{ variables, places, compatibilities string }{
		{`{"image": "i"}`, `[{"launchType":"FARGATE","name":"FARGATE"}]`, `["FARGATE"]`},
		{`{"image": "i", "launch_type": "EC2"}`, `[{"launchType":"EC2","name":"EC2"}]`, `["EC2"]`},
		{
			`{"image": "i", "launch_type": "FARGATE_SPOT"}`,
			`[{"name":"FARGATE_SPOT","strategy":[{"capacityProvider":"FARGATE_SPOT","weight":1}]}]`, `["FARGATE"]`,
		},
		{
			`{"image": "i", "capacity": ["FARGATE_SPOT", "FARGATE", "gpu"]}`,
			`[{"name":"FARGATE_SPOT","strategy":[{"capacityProvider":"FARGATE_SPOT","weight":1}]},{"launchType":"FARGATE","name":"FARGATE"},` +
				`{"name":"gpu","strategy":[{"capacityProvider":"gpu","weight":1}]}]`, `["FARGATE","EC2"]`,
		},
		{
			`{"image": "i", "capacity_provider_strategy": [{"capacityProvider": "FARGATE", "base": 1, "weight": 1}, {"capacityProvider": "FARGATE_SPOT", "weight": 4}]}`,
			`[{"name":"FARGATE, FARGATE_SPOT","strategy":[{"base":1,"capacityProvider":"FARGATE","weight":1},{"capacityProvider":"FARGATE_SPOT","weight":4}]}]`, `["FARGATE"]`,
		},
	} {
		job := jobOf(t, tt.variables)
		var places []any
		for _, p := range job.placements() {
			o := object{"name": p.name}
			if p.launchType != "" {
				o["launchType"] = p.launchType
			}
			if len(p.strategy) > 0 {
				o["strategy"] = wire(p.strategy)
			}
			places = append(places, o)
		}
		for what, pair := range map[string][2]any{"placements": {places, tt.places}, "compatibilities": {job.compatibilities(), tt.compatibilities}} {
			if got, _ := json.Marshal(pair[0]); string(got) != pair[1] {
				t.Errorf("%s of %s:\ngot  %s\nwant %s", what, tt.variables, got, pair[1])
			}
		}
	}
}

// What a pool says of the place, a deployment replaces by another of the variables for it.
func TestCheck_aDeploymentReplacesThePoolsPlace(t *testing.T) {
	template := bytes.Replace(Type.Template, []byte(`{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
        "default": []`), []byte(`{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
        "default": ["FARGATE_SPOT"]`), 1)
	for variables, want := range map[string]string{
		`{"image": "i", "capacity": null, "launch_type": "EC2"}`: "EC2",
		`{"image": "i", "capacity": [], "launch_type": "EC2"}`:   "EC2",
		`{"image": "i", "capacity": ["EC3"]}`:                    "EC3",
		`{"image": "i"}`:                                         "FARGATE_SPOT",
	} {
		var vars map[string]json.RawMessage
		if err := json.Unmarshal([]byte(variables), &vars); err != nil {
			t.Fatal(err)
		}
		raw, err := runners.Job(Type, schemas.Pool{Name: "p", BaseJobTemplate: template}, schemas.Deployment{Name: "d", JobVariables: vars}, nil)
		if err != nil {
			t.Errorf("%s: %v", variables, err)
			continue
		}
		if got := configured(t, string(raw)).placements(); len(got) != 1 || got[0].name != want {
			t.Errorf("%s runs on %v, want %s", variables, got, want)
		}
	}
}

// Prefect's templates say stream_output: false and 0 for the times, which it does not read any more.
func TestParseJob_takesPrefectsTemplates(t *testing.T) {
	for name, want := range map[string]string{
		"prefect-ecs":      `{"image":"busybox","command":["echo","hi there"],"cluster":"default","place":"FARGATE_SPOT","cpu":512,"memory":1024,"family":"etl","log":true,"secrets":1}`,
		"prefect-ecs-2023": `{"image":"","command":null,"cluster":"jobs","place":"FARGATE","cpu":0,"memory":0,"family":"","log":true,"secrets":0}`,
	} {
		raw, err := os.ReadFile(filepath.Join("..", "testdata", name+".golden.json"))
		if err != nil {
			t.Fatal(err)
		}
		j := configured(t, string(raw))
		got, err := json.Marshal(struct {
			Image   string          `json:"image"`
			Command schemas.Command `json:"command"`
			Cluster string          `json:"cluster"`
			Place   string          `json:"place"`
			CPU     runners.Amount  `json:"cpu"`
			Memory  runners.Amount  `json:"memory"`
			Family  string          `json:"family"`
			Log     bool            `json:"log"`
			Secrets int             `json:"secrets"`
		}{j.Image, j.Command, j.cluster(), j.placements()[0].name, j.CPU, j.Memory, j.Family, j.streams(), len(j.Env.secrets())})
		if err != nil || string(got) != want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", name, got, err, want)
		}
	}
	if jobOf(t, `{"image": "i", "stream_output": false}`).streams() {
		t.Error("stream_output: false has no effect")
	}
}

func TestValueFrom_isAsECSTakesIt(t *testing.T) {
	const secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf"
	for from, want := range map[string]string{
		"/prod/db/password": "/prod/db/password",
		"token":             "token",
		"arn:aws:ssm:eu-west-1:123456789012:parameter/token": "arn:aws:ssm:eu-west-1:123456789012:parameter/token",
		secret:                          secret,
		secret + ":password":            secret + ":password::",
		secret + ":password:AWSCURRENT": secret + ":password:AWSCURRENT:",
		secret + ":::abc":               secret + ":::abc",
	} {
		if got, err := valueFrom(from); err != nil || got != want {
			t.Errorf("valueFrom(%s) = %s, %v, want %s", from, got, err, want)
		}
	}
}

// Fargate has these pairs and no others.
func TestResources_areFargatesPairs(t *testing.T) {
	gib := func(from, to, step int) []int {
		var list []int
		for n := from; n <= to; n += step {
			list = append(list, n*1024)
		}
		return list
	}
	want := map[int][]int{
		256: {512, 1024, 2048}, 512: gib(1, 4, 1), 1024: gib(2, 8, 1), 2048: gib(4, 16, 1), 4096: gib(8, 30, 1), 8192: gib(16, 60, 4), 16384: gib(32, 120, 8),
	}
	got := map[int][]int{}
	for _, p := range pairs {
		for memory := runners.Amount(1); memory < 200<<10; memory++ {
			if p.fits(memory) {
				got[int(p.cpu)] = append(got[int(p.cpu)], int(memory))
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestResources_chooseWhatIsNotSaid(t *testing.T) {
	for _, tt := range []struct {
		variables   string
		cpu, memory runners.Amount
	}{
		{`{"image": "i"}`, 1024, 2048},
		{`{"image": "i", "cpu": 256}`, 256, 512},
		{`{"image": "i", "cpu": "16384"}`, 16384, 32768},
		{`{"image": "i", "memory": 512}`, 256, 512},
		{`{"image": "i", "memory": 2048}`, 1024, 2048},
		{`{"image": "i", "memory": 16384}`, 2048, 16384},
		{`{"image": "i", "memory": 122880}`, 16384, 122880},
		{`{"image": "i", "launch_type": "EC2", "memory": 100}`, 0, 100},
	} {
		if cpu, memory := jobOf(t, tt.variables).resources(); cpu != tt.cpu || memory != tt.memory {
			t.Errorf("resources of %s = %d, %d, want %d, %d", tt.variables, cpu, memory, tt.cpu, tt.memory)
		}
	}
}

func FuzzParseJob(f *testing.F) {
	f.Add([]byte(`{"image": "i"}`))
	f.Add([]byte(`{"image": "i", "cpu": 256, "memory": "512", "env": {"A": 1, "B": {"from_aws": "arn:aws:ssm:r:a:parameter/b"}}, "execution_role_arn": "arn:aws:iam::123456789012:role/r"}`))
	f.Add([]byte(`{"image":"i","network_configuration":{"awsvpcConfiguration":{"subnets":["subnet-1"]}},"capacity":["FARGATE_SPOT","FARGATE"],"labels":{"a":null}}`))
	for _, name := range []string{"prefect-ecs", "prefect-ecs-2023"} {
		job, err := os.ReadFile(filepath.Join("..", "testdata", name+".golden.json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(job)
	}
	s := spec()
	f.Fuzz(func(t *testing.T, raw []byte) {
		job, err := parseJob(raw)
		if err != nil {
			return
		}
		in := register(job, s, "us-east-1")
		if got := content(in); got != content(register(job, s, "us-east-1")) {
			t.Errorf("the content of %s differs from itself", raw)
		}
		if len(job.placements()) == 0 {
			t.Errorf("%s has no placement", raw)
		}
		for i, place := range job.placements() {
			o := order{system: "s", spec: s, job: job, definition: &definition{arn: "a", container: job.ContainerName}, place: place, try: i + 1}
			req, err := o.request()
			if err == nil && !json.Valid(wireJSON(req)) {
				t.Errorf("the request of %s is no JSON", raw)
			}
		}
	})
}
