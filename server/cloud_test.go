package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/runners"
)

// cloudBucket has a cloud's tasks: they outlive whoever started them, and every process finds them.
const cloudBucket = "cloud"

// record is a task of a cloud.
type record struct {
	Starts   int  `json:"starts"` // how often somebody wanted to start it
	Ended    bool `json:"ended"`
	ExitCode int  `json:"exit_code"`
	Stopped  bool `json:"stopped"`
}

// cloudType is a kind of push pool whose runs are tasks of the cloud that the NATS at url has.
func cloudType(url string) runners.Type {
	return runners.Type{
		Name: "cloud:push", Summary: "a cloud of the tests", Push: true, AckWait: 24 * time.Second,
		Template: json.RawMessage(`{"variables": {"type": "object", "properties": {"command": {"type": "string"}}}, "job_configuration": {"command": "{{ command }}"}}`),
		New:      func(ctx context.Context, _ runners.Config) (runners.Runner, error) { return openCloud(ctx, url) },
	}
}

type cloud struct {
	nc *nats.Conn
	kv jetstream.KeyValue
}

func openCloud(ctx context.Context, url string) (*cloud, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, cloudBucket)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("the cloud cannot be reached: %w", err)
	}
	return &cloud{nc, kv}, nil
}

func (c *cloud) Close() error {
	c.nc.Close()
	return nil
}

// change changes a task's record.
func (c *cloud) change(ctx context.Context, name string, change func(*record)) error {
	for {
		e, err := c.kv.Get(ctx, name)
		if err != nil {
			return err
		}
		var r record
		if err := json.Unmarshal(e.Value(), &r); err != nil {
			return err
		}
		change(&r)
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err = c.kv.Update(ctx, name, b, e.Revision()); err == nil || ctx.Err() != nil {
			return err
		}
	}
}

func (c *cloud) Start(ctx context.Context, s runners.Spec) (runners.Execution, error) {
	if _, err := c.kv.Create(ctx, s.Name, []byte(`{}`)); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return nil, err
	}
	if err := c.change(ctx, s.Name, func(r *record) { r.Starts++ }); err != nil {
		return nil, err
	}
	return &task{c, s.Name}, nil
}

func (c *cloud) Find(ctx context.Context, s runners.Sought) (runners.Execution, error) {
	if _, err := c.kv.Get(ctx, s.Name); errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, runners.ErrGone
	} else if err != nil {
		return nil, err
	}
	return &task{c, s.Name}, nil
}

// task is an execution of a cloud.
type task struct {
	cloud *cloud
	name  string
}

func (t *task) ID() string { return "task/" + t.name }

func (t *task) Wait(ctx context.Context) (runners.Result, error) {
	w, err := t.cloud.kv.Watch(ctx, t.name)
	if err != nil {
		return runners.Result{}, err
	}
	defer w.Stop()
	for {
		select {
		case e := <-w.Updates():
			var r record
			if e != nil && json.Unmarshal(e.Value(), &r) == nil && r.Ended {
				return runners.Result{ExitCode: r.ExitCode}, nil
			}
		case <-ctx.Done():
			return runners.Result{}, context.Cause(ctx)
		}
	}
}

func (t *task) Stop(ctx context.Context, _ time.Duration) error {
	return t.cloud.change(ctx, t.name, func(r *record) { r.Ended, r.Stopped, r.ExitCode = true, true, 143 })
}
