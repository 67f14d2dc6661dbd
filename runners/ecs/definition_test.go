package ecs

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest/golden"
)

// spec is a run's.
func spec() *runners.Spec {
	return &runners.Spec{
		Name: "prod-17.2", Run: "prod-17", Attempt: 2, Pool: "prod", Queue: "default", Deployment: "etl", Worker: "w",
		Parameters: json.RawMessage(`{"n":1}`), Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

const role = `"execution_role_arn": "arn:aws:iam::123456789012:role/ecsTaskExecutionRole"`

// cases are jobs by name: of the default template, or a whole configuration.
var cases = map[string]string{
	"least": `{"image": "busybox", "command": "echo 'hello <there>'"}`,
	"entrypoint": `{"image": "python:3.13-slim", "python": "python3.13", "env": {"A": "b"}, "configure_cloudwatch_logs": true, ` + role + `,
		"capacity": ["FARGATE_SPOT", "FARGATE"]}`,
	"most": `{"image": "ghcr.io/acme/etl:1.4", "command": ["python", "-m", "etl"], ` + role + `, "task_role_arn": "arn:aws:iam::123456789012:role/etl",
		"env": {"A": "b", "N": 1, "DB": {"from_aws": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf:password"}, "T": {"from_aws": "/prod/token"}},
		"cpu": 512, "memory": "1024", "ephemeral_storage": 50, "platform": "linux/arm64/v8", "platform_version": "1.4.0", "cluster": "jobs",
		"network_configuration": {"subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"},
		"labels": {"team": "data", "run.x": "y"}, "working_dir": "/app", "user": "1000:1000", "init": true, "stop_timeout": 90, "name": "nightly", "family": "etl", "container_name": "main",
		"configure_cloudwatch_logs": true, "cloudwatch_logs_options": {"awslogs-group": "jobs", "mode": "blocking"}, "cloudwatch_logs_prefix": "etl"}`,
	"ec2": `{"image": "busybox", "launch_type": "EC2", "memory": 256, "configure_cloudwatch_logs": true}`,
}

// configurations are those of base job templates that have ECS's own shapes.
var configurations = map[string]string{
	"sidecar": `{"image": "app:2", "command": "run it", "env": {"A": "mine", "S": {"from_aws": "token"}}, "cpu": 2048, "memory": 4096, "labels": {"team": "b"}, ` + role + `,
		"container_name": "app", "launch_type": null, "stream_output": false,
		"task_definition": {"family": "fam", "cpu": 1024, "memory": "2 GB", "taskRoleArn": null, "tags": {"owner": "me"},
			"containerDefinitions": [
				{"name": "proxy", "image": "envoy:1", "essential": false, "memoryReservation": "128", "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}]},
				{"name": "app", "image": "app:1", "environment": {"A": "theirs", "B": "theirs", "S": "theirs"}, "secrets": [{"name": "S", "valueFrom": "old"}, {"name": "K", "valueFrom": "kept"}],
					"dependsOn": [{"containerName": "proxy", "condition": "START"}]}, {}]},
		"task_run_request": {"launchType": "FARGATE", "cluster": "jobs", "enableExecuteCommand": true, "tags": {"team": "a", "cost": 7}, "taskDefinition": null,
			"overrides": {"cpu": null, "ephemeralStorage": {"sizeInGiB": 30}, "containerOverrides": [{"name": "proxy", "environment": {"P": "q"}}, {"name": "app", "memory": 512, "environment": {"A": "theirs", "C": 5}}]}}}`,
	"existing": `{"task_definition_arn": "arn:aws:ecs:us-east-1:123456789012:task-definition/theirs:7", "command": "run", "container_name": "weir", "memory": 4096}`,
}

// eachCase calls f for every job.
func eachCase(t *testing.T, f func(t *testing.T, name string, job *Job)) {
	for name, variables := range cases {
		t.Run(name, func(t *testing.T) { f(t, name, jobOf(t, variables)) })
	}
	for name, configuration := range configurations {
		t.Run(name, func(t *testing.T) { f(t, name, configured(t, configuration)) })
	}
}

// specOf is a run of an entrypoint where the job has no command.
func specOf(job *Job) *runners.Spec {
	s := spec()
	if len(job.Command) == 0 {
		s.Entrypoint = "flows/etl.py:main"
	}
	return s
}

// What ECS is asked to register.
func TestRegister_isAsReviewed(t *testing.T) {
	eachCase(t, func(t *testing.T, name string, job *Job) {
		if job.TaskDefinition != "" {
			return
		}
		in := register(job, specOf(job), "us-east-1")
		before := string(wireJSON(job.Definition.input))
		for i := range in.ContainerDefinitions {
			for k, pair := range in.ContainerDefinitions[i].Environment {
				if deref(pair.Name) == launcherVariable { // it is tested by itself
					in.ContainerDefinitions[i].Environment[k].Value = aws.String("…")
				}
			}
			if c := in.ContainerDefinitions[i]; len(c.EntryPoint) == 3 && c.EntryPoint[2] == launchScript {
				c.EntryPoint[2] = "…"
			}
		}
		golden.JSON(t, name+".definition.golden.json", wire(in))
		if after := string(wireJSON(job.Definition.input)); after != before {
			t.Errorf("the template was changed:\n%s\nwas\n%s", after, before)
		}
	})
}

// Runs of one deployment share a definition, whatever differs from run to run.
func TestContent_isTheSameForWhatOverridesSay(t *testing.T) {
	base := `{"image": "i", "command": "a"`
	of := func(more string) string {
		s := spec()
		s.Name, s.Run, s.Worker, s.Parameters = "x.1", "x", "v", json.RawMessage(`{"z":2}`)
		return content(register(jobOf(t, base+more+`}`), s, "us-east-1"))
	}
	want := of(``)
	for _, same := range []string{
		`, "command": "b"`, `, "env": {"A": "b"}`, `, "cpu": 256`, `, "cpu": 4096, "memory": 30720`, `, "labels": {"a": "b"}`, `, "cluster": "c"`, `, "start_timeout": 5`,
		`, "network_configuration": {"subnets": ["subnet-1"]}`, `, "capacity": ["FARGATE_SPOT", "FARGATE"]`, `, "stream_output": false`, `, "platform_version": "1.4.0"`, `, "name": "n"`,
	} {
		if of(same) != want {
			t.Errorf("with %s the definition is another one", same)
		}
	}
	seen := map[string]string{want: "nothing"}
	for _, other := range []string{
		`, "image": "j"`, `, "user": "1"`, `, "working_dir": "/a"`, `, "platform": "linux/arm64"`, `, ` + role, `, ` + role + `, "configure_cloudwatch_logs": true`,
		`, ` + role + `, "env": {"A": {"from_aws": "p"}}`, `, ` + role + `, "env": {"A": {"from_aws": "q"}}`, `, "family": "f"`, `, "container_name": "c"`, `, "ephemeral_storage": 30`, `, "init": true`,
		`, "stop_timeout": 60`, `, "task_role_arn": "arn:aws:iam::123456789012:role/r"`, `, "launch_type": "EC2"`, `, "capacity": ["FARGATE", "EC2"]`,
	} {
		got := of(other)
		if was, ok := seen[got]; ok {
			t.Errorf("%s and %s are one definition", other, was)
		}
		seen[got] = other
	}
}

// The hash is recorded in AWS, so it has to stay what it is.
func TestContent_doesNotChangeWithTheSDK(t *testing.T) {
	const want = "8d542f2b5a0b2cb258aa70e3801e15dfdaf27102a5955e1150264887d53b4ed6"
	if got := content(register(jobOf(t, cases["most"]), spec(), "us-east-1")); got != want {
		t.Errorf("content = %s, want %s: every deployment would be registered again", got, want)
	}
}

// What ECS adds to a definition by itself does not make it another one.
func TestContent_ofWhatECSGivesBackIsThatOfWhatWasAsked(t *testing.T) {
	eachCase(t, func(t *testing.T, _ string, job *Job) {
		if job.TaskDefinition != "" {
			return
		}
		in := register(job, specOf(job), "us-east-1")
		given := types.TaskDefinition{
			ContainerDefinitions: append([]types.ContainerDefinition{}, in.ContainerDefinitions...), Family: in.Family, Cpu: in.Cpu, Memory: in.Memory, ExecutionRoleArn: in.ExecutionRoleArn,
			TaskRoleArn: in.TaskRoleArn, NetworkMode: in.NetworkMode, RequiresCompatibilities: in.RequiresCompatibilities, RuntimePlatform: in.RuntimePlatform, EphemeralStorage: in.EphemeralStorage,
			Revision: 3, Status: types.TaskDefinitionStatusActive, Volumes: []types.Volume{}, PlacementConstraints: []types.TaskDefinitionPlacementConstraint{},
			Compatibilities: []types.Compatibility{"EC2", "FARGATE"}, TaskDefinitionArn: aws.String("arn"),
		}
		for i := range given.ContainerDefinitions {
			c := &given.ContainerDefinitions[i]
			if c.Essential == nil {
				c.Essential = aws.Bool(true)
			}
			c.MountPoints, c.VolumesFrom, c.SystemControls = []types.MountPoint{}, []types.VolumeFrom{}, []types.SystemControl{}
			if len(c.Environment) == 0 {
				c.Environment = []types.KeyValuePair{}
			}
		}
		tags := append([]types.Tag{{Key: aws.String(tagContent), Value: aws.String("x")}}, in.Tags...)
		if got := content(asked(&given, tags)); got != content(in) {
			t.Errorf("got  %s\nwant %s", wireJSON(normal(*asked(&given, tags))), wireJSON(normal(*in)))
		}
	})
}

func TestDefinitionOf_knowsTheLog(t *testing.T) {
	d := definitionOf(&types.TaskDefinition{
		TaskDefinitionArn: aws.String("arn:x/fam:2"), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"),
		ContainerDefinitions: []types.ContainerDefinition{
			{Name: aws.String("a"), LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
				"awslogs-group": "g", "awslogs-region": "r", "awslogs-stream-prefix": "p",
			}}},
			{Name: aws.String("b"), LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{"awslogs-group": "g"}}},
			{Name: aws.String("c"), LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverSplunk}},
		},
	})
	for name, want := range map[string]string{"a": "r g p/a/0123", "b": "", "c": "", "d": ""} {
		d.container = name
		got := ""
		if l := d.log(); l != nil {
			got = l.region + " " + l.group + " " + l.stream(name, "arn:aws:ecs:r:1:task/c/0123")
		}
		if got != want {
			t.Errorf("log of %s is %q, want %q", name, got, want)
		}
	}
	if !d.awsvpc || d.cpu != "256" || d.memory != "" || strings.Join(d.containers, " ") != "a b c" {
		t.Errorf("got %+v", d)
	}
}
