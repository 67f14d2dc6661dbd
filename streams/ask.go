package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
)

// DrainSubject is where a worker is asked to drain.
func DrainSubject(pool, worker string) string { return workerPrefix + pool + "." + worker + ".drain" }

// HasSubject is where a worker is asked whether it has an execution.
func HasSubject(pool, worker string) string { return workerPrefix + pool + "." + worker + ".has" }

// Draining is a worker's answer when it is asked to drain.
type Draining struct {
	Status  schemas.WorkerStatus `json:"status"`
	Running int                  `json:"running"` // runs that it still holds
}

// DrainWorker asks a worker to take no more runs and to end when those it holds have ended. [ErrNotFound]: it is not online.
func (c *Conn) DrainWorker(ctx context.Context, pool, worker string) (Draining, error) {
	if err := checkNames([2]string{"work pool", pool}, [2]string{"worker", worker}); err != nil {
		return Draining{}, err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	m, err := c.NC.RequestWithContext(ctx, DrainSubject(pool, worker), nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return Draining{}, notFound("online worker", worker, nil, "")
	} else if err != nil {
		return Draining{}, fmt.Errorf("drain worker %s: %w", worker, unavailable(c.url, err))
	}
	var d Draining
	if err := json.Unmarshal(m.Data, &d); err != nil {
		return d, fmt.Errorf("drain worker %s: read its answer: %w", worker, err)
	}
	return d, nil
}

// What a worker answers on [HasSubject].
const (
	HasIt    = "yes"
	HasItNot = "no"
)

// Answers tells whether a worker of that name is there to be asked.
func (c *Conn) Answers(ctx context.Context, pool, worker string) bool {
	_, err := c.askHas(ctx, pool, worker, "")
	return err == nil
}

// Lacks asks a worker whether it has an execution, and tells whether it says that it has not. A worker that does not answer may
// have it.
func (c *Conn) Lacks(ctx context.Context, pool, worker, execution string) bool {
	answer, err := c.askHas(ctx, pool, worker, execution)
	return err == nil && answer == HasItNot
}

func (c *Conn) askHas(ctx context.Context, pool, worker, execution string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout/5)
	defer cancel()
	m, err := c.NC.RequestWithContext(ctx, HasSubject(pool, worker), []byte(execution))
	if err != nil {
		return "", err
	}
	return string(m.Data), nil
}
