package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// policy is when to pull: what the job says, else Always for an image that is named by the tag latest or by no tag, and
// IfNotPresent for any other, as Kubernetes and Prefect have it.
func policy(j *Job) string {
	if j.ImagePullPolicy != "" {
		return j.ImagePullPolicy
	}
	ref, err := reference.ParseAnyReference(j.Image)
	named, ok := ref.(reference.Named)
	if err != nil || !ok {
		return pullNever // an ID, which no registry knows
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok && tagged.Tag() == "latest" && !isDigested(named) {
		return pullAlways
	}
	return pullIfNotPresent
}

func isDigested(named reference.Named) bool {
	_, ok := named.(reference.Digested)
	return ok
}

// ensureImage returns the ID of the image to run, which is on the engine then: the one that the attempt before ran, so that a retry
// repeats it whatever the name stands for by now, or else the one that the job names.
func (r *runner) ensureImage(ctx context.Context, j *Job, before string) (string, error) {
	if before != "" {
		pinned := *j
		pinned.Image = before
		if id, err := r.imageID(ctx, &pinned); err == nil || !errdefs.IsNotFound(err) {
			return id, err
		}
	}
	p := policy(j)
	if p != pullAlways {
		id, err := r.imageID(ctx, j)
		switch {
		case err == nil:
			return id, nil
		case !errdefs.IsNotFound(err):
			return "", err
		case p == pullNever:
			return "", runners.Permanent(schemas.ReasonImageNotFound, fmt.Errorf("image %s is not on the engine%s, and image_pull_policy %s forbids to pull it", j.Image, j.forPlatform(), pullNever))
		}
	}
	if err := r.pull(ctx, j); err != nil {
		return "", err
	}
	return r.imageID(ctx, j)
}

// forPlatform are the words for a platform that the job asks for.
func (j *Job) forPlatform() string {
	if j.Platform == "" {
		return ""
	}
	return " for platform " + j.Platform
}

// imageID asks the engine for an image's ID.
func (r *runner) imageID(ctx context.Context, j *Job) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	image, err := r.engine.api.ImageInspect(ctx, j.Image)
	if err != nil {
		return "", err
	}
	if p, _ := j.platform(); p != nil && (image.Os != p.OS || image.Architecture != p.Architecture) {
		return "", fmt.Errorf("image %s on the engine is for %s/%s: %w", j.Image, image.Os, image.Architecture, errdefs.ErrNotFound)
	}
	return image.ID, nil
}

// lacks tells whether the engine does not have an image, as far as it answers.
func (r *runner) lacks(ctx context.Context, id string) bool {
	_, err := r.imageID(ctx, &Job{Image: id})
	return errdefs.IsNotFound(err)
}

// pull brings an image to the engine.
func (r *runner) pull(ctx context.Context, j *Job) error {
	auth, err := registryAuth(j.Image, j.Credentials, r.config.Code)
	if err != nil {
		return runners.Permanent(schemas.ReasonImagePullFailed, err)
	}
	o := client.ImagePullOptions{RegistryAuth: auth}
	if p, _ := j.platform(); p != nil {
		o.Platforms = []ocispec.Platform{*p}
	}
	stream, err := r.engine.api.ImagePull(ctx, j.Image, o)
	if err == nil {
		err = stream.Wait(ctx)
		err = errors.Join(err, stream.Close())
	}
	return pullError(ctx, j.Image, err, auth)
}

// pullError says what it means that a pull with auth ended with err, which has what the registry says: anything. A registry that denies
// an image may not have it, or may not show it: who has logged in is refused.
func pullError(ctx context.Context, image string, err error, auth string) error {
	secrets, refused := secretsOf(auth), auth != "" && says(err, "denied", "unauthorized")
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("pull image %s: %w", image, context.Cause(ctx))
	case !refused && (errdefs.IsNotFound(err) || says(err, "manifest unknown", "name unknown", "repository does not exist")):
		return runners.Permanent(schemas.ReasonImageNotFound, fmt.Errorf("pull image %s: %s", image, secrets.Replace(said(err))))
	case refused, errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err), errdefs.IsInvalidArgument(err),
		says(err, "unauthorized", "denied", "no basic auth credentials"):
		return runners.Permanent(schemas.ReasonImagePullFailed, fmt.Errorf("pull image %s: %s", image, secrets.Replace(said(err))))
	case unreachable(err):
		return err
	}
	return runners.Because(schemas.ReasonImagePullFailed, fmt.Errorf("pull image %s: %s", image, secrets.Replace(said(err))))
}

// says tells whether a registry's error is one of these. Its codes have words of their own (the distribution API's), which the engine
// passes on, often as a fault of its own and without the code.
func says(err error, words ...string) bool {
	if err == nil {
		return false
	}
	text := strings.ToLower(err.Error())
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// said is what the engine said, without the client's own words around it.
func said(err error) string {
	return strings.TrimSpace(strings.TrimPrefix(err.Error(), "Error response from daemon: "))
}
