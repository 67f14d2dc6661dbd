package deploy

import (
	"context"
	"fmt"

	"github.com/weir-run/weir/schemas"
)

// Target is where a plan is applied.
type Target interface {
	CreatePool(ctx context.Context, p schemas.Pool) (schemas.Pool, error)
	UpdatePool(ctx context.Context, p schemas.Pool) (schemas.Pool, error)
	PutDeployment(ctx context.Context, d schemas.Deployment) (schemas.Deployment, error)
}

// Apply does what the plan says, pools first. It stops at the first error; what was done before stays, and the next plan
// starts from there.
func Apply(ctx context.Context, target Target, d *Diff) error {
	for _, p := range d.Pools {
		var err error
		switch p.Action {
		case Create:
			_, err = target.CreatePool(ctx, p.Pool)
		case Update:
			_, err = target.UpdatePool(ctx, p.Pool)
		case Unchanged:
		}
		if err != nil {
			return fmt.Errorf("%s work pool %s: %w", p.Action, p.Name, err)
		}
	}
	for _, p := range d.Deployments {
		if p.Action == Unchanged {
			continue
		}
		if _, err := target.PutDeployment(ctx, p.Deployment); err != nil {
			return fmt.Errorf("%s deployment %s: %w", p.Action, p.Name, err)
		}
	}
	return nil
}
