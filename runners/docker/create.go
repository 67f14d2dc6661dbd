package docker

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// logConfig is the log of every job's container, whatever the engine's default: it has to be read again from its start, with
// every byte as it was written and nothing taken from its beginning. So the driver is local (json-file replaces what is not
// UTF-8), and its one file is never rotated, as Docker's own default has it.
var logConfig = container.LogConfig{Type: "local", Config: map[string]string{"max-size": "1000000g", "max-file": "1", "compress": "false"}}

// Paths in a job's container.
const (
	launcherFolder = "/.weir"     // the launcher of entrypoints
	codeFolder     = "/.weircode" // the project's folder, where that is mounted
)

// A launch is all that a container is made of: the job, and what one run adds to it.
type launch struct {
	name    string   // the container's
	image   string   // name or ID
	command []string // empty: the image's own
	whole   bool     // command is the whole command line: the image's entrypoint is left out
	env     []string
	labels  map[string]string
	code    string // folder of this machine to mount at codeFolder; empty: none
	result  string // where the job may leave its result
	files   []file // put into the container before it starts
}

// request turns a job and a launch into what the engine is asked to create. It is a function of its arguments alone.
func request(j *Job, l *launch) (client.ContainerCreateOptions, error) {
	platform, err := j.platform()
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	mounts, binds, err := j.mounts()
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	if l.code != "" {
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: l.code, Target: codeFolder, ReadOnly: true})
	}
	o := client.ContainerCreateOptions{
		Name: l.name, Platform: platform,
		Config: &container.Config{
			Image: l.image, Cmd: l.command, Env: l.env, WorkingDir: j.WorkingDir, User: j.User, Labels: l.labels,
		},
		HostConfig: &container.HostConfig{
			LogConfig: logConfig, Mounts: mounts, Binds: binds, NetworkMode: container.NetworkMode(j.NetworkMode), Privileged: j.Privileged, Init: &j.Init,
			Resources: container.Resources{NanoCPUs: int64(j.CPU) * 1e9 / 1024, Memory: j.memory(), MemorySwap: int64(j.MemswapLimit)},
		},
	}
	if l.whole {
		o.Config.Entrypoint = []string{} // not nil: that stands for the image's
	}
	if len(j.Networks) > 0 {
		o.HostConfig.NetworkMode = container.NetworkMode(j.Networks[0])
		o.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{j.Networks[0]: {}}}
	}
	return o, nil
}

var platformForm = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$`)

// architectures are the names of those that have two, as the docker CLI takes them, and as images have them.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// platform is the job's platform; nil: the engine's own.
func (j *Job) platform() (*ocispec.Platform, error) {
	if j.Platform == "" {
		return nil, nil
	}
	if !platformForm.MatchString(j.Platform) {
		return nil, fmt.Errorf("platform is %q, want os/arch such as linux/amd64 or linux/arm64/v8", clip(j.Platform))
	}
	parts := append(strings.Split(j.Platform, "/"), "")
	if name, ok := architectures[parts[1]]; ok {
		parts[1] = name
	}
	return &ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}, nil
}
