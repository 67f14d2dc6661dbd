package streams

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weir-run/weir/schemas"
)

// Rerun is the request for a run that repeats another one, with what that one's job was given: its parameters, the job variables
// and tags of its own. [ErrNotFound]: no job was ever given anything, or the events of it are not kept any more.
func (c *Conn) Rerun(ctx context.Context, run Recorded) (schemas.RunRequest, error) {
	subject := runEventSubject(schemas.RunEvent{Pool: run.Pool, Deployment: run.Deployment, Run: run.Run, State: schemas.Pending})
	m, err := c.leaderMsg(ctx, EventStream, msgGetRequest{LastFor: subject})
	if errors.Is(err, ErrNotFound) {
		return schemas.RunRequest{}, notFound("what was given to run", run.Run, nil, "")
	} else if err != nil {
		return schemas.RunRequest{}, fmt.Errorf("read what run %s was given: %w", run.Run, err)
	}
	claim, err := recorded(m)
	if err != nil {
		return schemas.RunRequest{}, err
	}
	if len(claim.Parameters) == 0 { // a claim that was recorded again after days (reason held)
		return schemas.RunRequest{}, notFound("what was given to run", run.Run, nil, "")
	}
	r := schemas.RunRequest{Parent: run.Run, Tags: run.Tags}
	for _, part := range []struct {
		from json.RawMessage
		to   *map[string]json.RawMessage
	}{{claim.Parameters, &r.Parameters}, {claim.Variables, &r.JobVariables}} {
		if len(part.from) == 0 {
			continue
		}
		if err := json.Unmarshal(part.from, part.to); err != nil {
			return schemas.RunRequest{}, fmt.Errorf("read what run %s was given: %w", run.Run, err)
		}
	}
	return r, nil
}

// RerunID is the idempotency key of a request that repeats a run: the same for the same request, so that asking again after
// an interruption starts nothing twice, and another one where something was changed.
func RerunID(run string, body []byte) string {
	sum := sha256.Sum256(body)
	return "rerun-" + run + "-" + hex.EncodeToString(sum[:8])
}
