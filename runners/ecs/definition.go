package ecs

import (
	"fmt"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

var platformForm = regexp.MustCompile(`^linux/([a-z0-9_]+)(/v8)?$`)

// architectures are ECS's names of those that a platform may name.
var architectures = map[string]types.CPUArchitecture{
	"amd64": types.CPUArchitectureX8664, "x86_64": types.CPUArchitectureX8664, "arm64": types.CPUArchitectureArm64, "aarch64": types.CPUArchitectureArm64,
}

// runtime is the platform that the job names; nil: it names none.
func (j *Job) runtime() (*types.RuntimePlatform, error) {
	if j.Platform == "" {
		return nil, nil
	}
	if m := platformForm.FindStringSubmatch(j.Platform); m != nil {
		if architecture, ok := architectures[m[1]]; ok {
			return &types.RuntimePlatform{CpuArchitecture: architecture, OperatingSystemFamily: types.OSFamilyLinux}, nil
		}
	}
	return nil, fmt.Errorf("platform is %q, want linux/amd64 or linux/arm64; another system is named by runtimePlatform in task_definition", clip(j.Platform))
}
