package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/go-units"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// Job is the rendered job configuration of a docker pool. Its names are Prefect's, plus cpu, memory, platform, python, user, init,
// working_dir, start_timeout, keep_failed and allowed_volumes.
type Job struct {
	Image           string            `json:"image"`             // name, name with tag or digest, or an image ID
	ImagePullPolicy string            `json:"image_pull_policy"` // see [policy]
	Credentials     *credentials      `json:"registry_credentials"`
	Command         schemas.Command   `json:"command"`         // the program and its arguments; empty: the run's entrypoint, or the image's own command
	Python          string            `json:"python"`          // interpreter for entrypoints; empty: python3
	Env             runners.Env       `json:"env"`             // over the image's own
	WorkingDir      string            `json:"working_dir"`     // in the container; empty: the image's
	User            string            `json:"user"`            // name or UID, with group or without; empty: the image's
	CPU             runners.Amount    `json:"cpu"`             // 1024 = 1 vCPU; 0: no limit
	Memory          runners.Amount    `json:"memory"`          // MiB; 0: no limit
	MemLimit        size              `json:"mem_limit"`       // as docker run --memory takes it; 0: see Memory
	MemswapLimit    size              `json:"memswap_limit"`   // memory and swap together; -1: swap without limit; 0: as much swap as memory
	NetworkMode     string            `json:"network_mode"`    // bridge, none, host, container:NAME or a network
	Networks        []string          `json:"networks"`        // networks to join, instead of NetworkMode
	Volumes         []string          `json:"volumes"`         // see [volume]
	AllowedVolumes  *[]string         `json:"allowed_volumes"` // what Volumes may name; nil: anything
	Privileged      bool              `json:"privileged"`      // all capabilities and devices of the host
	Platform        string            `json:"platform"`        // os/arch or os/arch/variant; empty: the engine's
	Init            bool              `json:"init"`            // a small init is the container's first process and passes signals on
	Labels          map[string]string `json:"labels"`
	Name            string            `json:"name"`          // for people, in a label: containers are named by run and attempt
	StreamOutput    *bool             `json:"stream_output"` // false: output is not stored as the run's log; absent: true
	AutoRemove      *bool             `json:"auto_remove"`   // false: the container stays when its end is recorded; absent: true
	KeepFailed      int               `json:"keep_failed"`   // so many containers that failed stay, of the deployment's on this engine
	StartTimeout    float64           `json:"start_timeout"` // seconds from the claim until the container runs, the pull included; 0: no limit
}

// minMemory is the least memory that an engine gives a container.
const minMemory = 6 << 20

// minCPU is the least CPU that an engine gives a container, of 1024 for a whole one: a hundredth.
const minCPU = 11

// The pull policies. Empty is [pullDefault].
const (
	pullAlways       = "Always"
	pullIfNotPresent = "IfNotPresent"
	pullNever        = "Never"
)

// parseJob reads a rendered job configuration. The error says which field is wrong and how.
func parseJob(b json.RawMessage) (*Job, error) {
	j := &Job{}
	if err := runners.DecodeJob(b, j); err != nil {
		return nil, err
	}
	for _, check := range []func() error{j.Env.Check, j.checkImage, j.checkProgram, j.checkResources, j.checkNetworks, j.checkVolumes, j.checkLabels} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("job configuration: %w", err)
		}
	}
	return j, nil
}

// check is [runners.Type.Check].
func check(b json.RawMessage) error {
	_, err := parseJob(b)
	return err
}

func (j *Job) checkImage() error {
	if j.Image == "" {
		return errors.New("image is missing: name the image to run, such as python:3.13-slim")
	}
	if _, err := reference.ParseAnyReference(j.Image); err != nil {
		return fmt.Errorf("image %q cannot name an image: %w", clip(j.Image), err)
	}
	policies := []string{"", pullAlways, pullIfNotPresent, pullNever}
	if !slices.Contains(policies, j.ImagePullPolicy) {
		return fmt.Errorf("image_pull_policy is %q, want %s", clip(j.ImagePullPolicy), strings.Join(policies[1:], ", "))
	}
	if _, err := j.platform(); err != nil {
		return err
	}
	return j.Credentials.check()
}

func (j *Job) checkProgram() error {
	if len(j.Command) > 0 && j.Command[0] == "" {
		return errors.New("command names no program")
	}
	if j.WorkingDir != "" && !path.IsAbs(j.WorkingDir) {
		return fmt.Errorf("working_dir %q is relative: a folder of the container starts with /", clip(j.WorkingDir))
	}
	for what, list := range map[string][]string{"command": j.Command, "working_dir": {j.WorkingDir}, "python": {j.Python}, "user": {j.User}} {
		if slices.ContainsFunc(list, func(s string) bool { return strings.IndexByte(s, 0) >= 0 }) {
			return fmt.Errorf("%s holds a zero byte, which no command line can", what)
		}
	}
	if j.StartTimeout < 0 || j.KeepFailed < 0 {
		return errors.New("start_timeout and keep_failed cannot be below 0")
	}
	return nil
}

func (j *Job) checkResources() error {
	if j.CPU > 0 && j.CPU < minCPU {
		return fmt.Errorf("cpu is %d, want %d or more: 1024 is one vCPU", j.CPU, minCPU)
	}
	if j.Memory > 0 && j.MemLimit != 0 {
		return errors.New("memory and mem_limit say the same: give one of them")
	}
	memory := j.memory()
	switch {
	case j.MemLimit < 0:
		return errors.New("mem_limit is below 0")
	case memory != 0 && memory < minMemory:
		return fmt.Errorf("the memory limit is %s, an engine gives a container no less than 6 MiB", units.BytesSize(float64(memory)))
	case j.MemswapLimit != 0 && memory == 0:
		return errors.New("memswap_limit needs memory or mem_limit: it is both together")
	case j.MemswapLimit > 0 && int64(j.MemswapLimit) < memory:
		return fmt.Errorf("memswap_limit is %s, less than the memory limit of %s: it is memory and swap together",
			units.BytesSize(float64(j.MemswapLimit)), units.BytesSize(float64(memory)))
	}
	return nil
}

func (j *Job) checkNetworks() error {
	if len(j.Networks) > 0 && j.NetworkMode != "" {
		return errors.New("network_mode and networks are both set: give one of them")
	}
	if slices.Contains(j.Networks, "") {
		return errors.New("networks has an empty name")
	}
	return nil
}

func (j *Job) checkLabels() error {
	for name := range j.Labels {
		if name == "" || strings.HasPrefix(name, labelPrefix) {
			return fmt.Errorf("label %q: labels that begin with %s are Weir's own", clip(name), labelPrefix)
		}
	}
	return nil
}

// memory is the limit in bytes; 0: none.
func (j *Job) memory() int64 {
	if j.Memory > 0 {
		return int64(j.Memory) << 20
	}
	return int64(j.MemLimit)
}

func (j *Job) keep() keep {
	return keep{always: j.AutoRemove != nil && !*j.AutoRemove, failed: j.KeepFailed}
}

func (j *Job) startTimeout() time.Duration {
	return time.Duration(j.StartTimeout * float64(time.Second))
}

// size is a number of bytes, or text such as 512m or 1g; -1 is kept as it is.
type size int64

// UnmarshalJSON implements [json.Unmarshaler].
func (s *size) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	switch text {
	case "null", "":
		*s = 0
		return nil
	case "-1":
		*s = -1
		return nil
	}
	n, err := units.RAMInBytes(text)
	if err != nil {
		return fmt.Errorf("mem_limit or memswap_limit is %s, want a number of bytes or a size such as 512m or 1g", clip(string(b)))
	}
	*s = size(n)
	return nil
}

// clip keeps text from outside from filling an error.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
