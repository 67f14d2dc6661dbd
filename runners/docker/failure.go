package docker

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// failure says what it means that err came of a container that was made, with the words of say unless the container is not there any
// more: an engine says of much else that it is not found, even of another container, whose network the job was to use.
func (r *runner) failure(ctx context.Context, id string, err error, say func(error) error) error {
	if errdefs.IsNotFound(err) {
		if _, gone := r.inspect(ctx, id); errdefs.IsNotFound(gone) {
			return errTaken
		}
	}
	return say(err)
}

// createError says what it means that a container could not be made: what an engine says of the request, another try does not mend.
func createError(err error) error {
	switch {
	case errdefs.IsInvalidArgument(err), errdefs.IsNotFound(err), errdefs.IsPermissionDenied(err), errdefs.IsNotImplemented(err):
		return runners.Permanent(schemas.ReasonStartFailed, fmt.Errorf("the engine refuses the container: %s", said(err)))
	case unreachable(err):
		return err
	}
	return runners.Because(schemas.ReasonStartFailed, fmt.Errorf("the engine could not make the container: %s", said(err)))
}

// startError says what it means that a container did not start.
func startError(err error) error {
	switch {
	case errdefs.IsInvalidArgument(err), errdefs.IsNotFound(err), errdefs.IsPermissionDenied(err):
		return runners.Permanent(schemas.ReasonStartFailed, fmt.Errorf("the container does not start: %s", said(err)))
	case unreachable(err):
		return err
	}
	return runners.Because(schemas.ReasonStartFailed, fmt.Errorf("the container does not start: %s", said(err)))
}
