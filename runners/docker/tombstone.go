package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// tombstoneImage is an image of nothing: a container has to have one, and the one that only takes a name is never started.
const tombstoneImage = "weir/tombstone:1"

// bury takes the name of an execution that is not there, so that no container can be made under it any more. A conflict says that
// the name is taken.
func (r *runner) bury(ctx context.Context, name string) error {
	for {
		err := r.plant(ctx, name)
		if !errdefs.IsNotFound(err) {
			return err
		}
		if err := r.importNothing(ctx); err != nil {
			return err
		}
	}
}

func (r *runner) plant(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := r.engine.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: r.containerName(name),
		Config: &container.Config{
			Image: tombstoneImage, Cmd: []string{"/never-started"},
			Labels: map[string]string{labelSystem: r.config.System, labelPool: r.config.Pool, labelExecution: name, labelTombstone: "true"},
		},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	return err
}

// importNothing makes the tombstone's image, on any engine and without a registry.
func (r *runner) importNothing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var empty bytes.Buffer
	if err := tar.NewWriter(&empty).Close(); err != nil {
		return fmt.Errorf("write an empty image: %w", err)
	}
	answer, err := r.engine.api.ImageImport(ctx, client.ImageImportSource{Source: &empty, SourceName: "-"}, tombstoneImage, client.ImageImportOptions{
		Message: "takes the names of containers that Weir has given up",
	})
	if err != nil {
		return fmt.Errorf("make image %s: %w", tombstoneImage, err)
	}
	defer answer.Close()
	var said bytes.Buffer
	if _, err := said.ReadFrom(answer); err != nil {
		return fmt.Errorf("make image %s: %w", tombstoneImage, err)
	}
	return nil
}
