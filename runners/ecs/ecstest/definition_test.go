package ecstest

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

func TestFargatePair(t *testing.T) {
	for _, pair := range []struct {
		cpu, memory string
		want        bool
	}{
		{"256", "512", true},
		{"256", "1024", true},
		{"256", "4096", false},
		{"1024", "512", false},
		{"1024", "2048", true},
		{"1 vCPU", "2 GB", true},
		{".5 vCPU", "1GB", true},
		{"1000", "banana", false},
		{"4096", "30720", true},
		{"4096", "31744", false},
		{"8192", "20480", true},
		{"8192", "18432", false},
		{"16384", "122880", true},
		{"16384", "32769", false},
	} {
		if got := fargatePair(units(pair.cpu), units(pair.memory)); got != pair.want {
			t.Errorf("%s CPU with %s of memory: got %v, want %v", pair.cpu, pair.memory, got, pair.want)
		}
	}
}

func TestRegister_countsRevisions(t *testing.T) {
	a := open(t, Paper(nil))
	second := a.register(t, definitionInput("job"))
	if second.Revision != 2 || !strings.HasSuffix(*second.TaskDefinitionArn, ":task-definition/job:2") {
		t.Errorf("got revision %d, %s, want 2", second.Revision, *second.TaskDefinitionArn)
	}
	look := func(id string) *ecs.DescribeTaskDefinitionOutput {
		t.Helper()
		out, err := a.ecs.DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{
			TaskDefinition: aws.String(id), Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	latest := look("job")
	if latest.TaskDefinition.Revision != 2 || len(latest.Tags) != 1 || *latest.TaskDefinition.ContainerDefinitions[0].Image != "weir-test/busybox:1" {
		t.Errorf("the latest is revision %d with tags %v", latest.TaskDefinition.Revision, latest.Tags)
	}
	if _, err := a.ecs.DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("job:2")}); err != nil {
		t.Fatal(err)
	}
	if got := look("job").TaskDefinition.Revision; got != 1 {
		t.Errorf("without revision 2 the latest is %d, want 1", got)
	}
	if got := look("job:2").TaskDefinition.Status; got != types.TaskDefinitionStatusInactive {
		t.Errorf("revision 2 is %s, want INACTIVE", got)
	}
	a.register(t, definitionInput("job-2"))
	list, err := a.ecs.ListTaskDefinitions(t.Context(), &ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("job")})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"arn:aws:ecs:us-east-1:123456789012:task-definition/job:1"}; !slices.Equal(list.TaskDefinitionArns, want) {
		t.Errorf("list of family job: got %v, want %v", list.TaskDefinitionArns, want)
	}
	in := runInput()
	in.TaskDefinition = aws.String("job:2")
	_, err = a.ecs.RunTask(t.Context(), in)
	refused(t, err, "InvalidParameterException")
	_, err = a.ecs.DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("nobody")})
	refused(t, err, "ClientException")
}

func TestRegister_refusesWhatCannotRun(t *testing.T) {
	a := open(t, Paper(nil))
	for name, change := range map[string]func(*ecs.RegisterTaskDefinitionInput){
		"pair":         func(in *ecs.RegisterTaskDefinitionInput) { in.Cpu, in.Memory = aws.String("1024"), aws.String("512") },
		"no cpu":       func(in *ecs.RegisterTaskDefinitionInput) { in.Cpu = nil },
		"network":      func(in *ecs.RegisterTaskDefinitionInput) { in.NetworkMode = types.NetworkModeBridge },
		"no role":      func(in *ecs.RegisterTaskDefinitionInput) { in.ExecutionRoleArn = nil },
		"role":         func(in *ecs.RegisterTaskDefinitionInput) { in.TaskRoleArn = aws.String("admin") },
		"family":       func(in *ecs.RegisterTaskDefinitionInput) { in.Family = aws.String("a b") },
		"container":    func(in *ecs.RegisterTaskDefinitionInput) { in.ContainerDefinitions = []types.ContainerDefinition{} },
		"image":        func(in *ecs.RegisterTaskDefinitionInput) { in.ContainerDefinitions[0].Image = nil },
		"stop timeout": func(in *ecs.RegisterTaskDefinitionInput) { in.ContainerDefinitions[0].StopTimeout = aws.Int32(121) },
		"essential":    func(in *ecs.RegisterTaskDefinitionInput) { in.ContainerDefinitions[0].Essential = aws.Bool(false) },
	} {
		in := definitionInput("bad")
		change(in)
		_, err := a.ecs.RegisterTaskDefinition(t.Context(), in)
		t.Run(name, func(t *testing.T) { refused(t, err, "ClientException") })
	}
}
