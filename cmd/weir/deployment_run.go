package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func runCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "request a run of a deployment", ArgsUsage: "DEPLOYMENT",
		Description: "Prints the run's ID, or with --watch its states and output until it ends. Exit code with --watch: 0 completed, 1 otherwise.",
		Flags: outputFlags(
			&cli.StringSliceFlag{
				Name: "param", Aliases: []string{"p"},
				Usage: "set a parameter, `KEY=VALUE`; the value is read as the parameter's type, else as JSON, else as text; may be given again",
			},
			&cli.StringSliceFlag{Name: "param-json", Usage: "set a parameter, `KEY=JSON`; may be given again"},
			&cli.StringFlag{Name: "params", Usage: "set parameters from a `JSON` object"},
			&cli.StringSliceFlag{Name: "job-variable", Aliases: []string{"jv"}, Usage: "set a job variable, `KEY=VALUE`; may be given again"},
			&cli.StringFlag{Name: "pool", Usage: "run it on another work `POOL`"},
			&cli.StringFlag{Name: "work-queue", Aliases: []string{"q"}, Usage: "in another work `QUEUE`"},
			&cli.StringFlag{Name: "id", Usage: "name the run `RUN`: of all requests with it one runs"},
			&cli.StringFlag{Name: "idempotency-key", Usage: "of all requests with this `KEY` within two minutes one is stored (Nats-Msg-Id)"},
			&cli.StringSliceFlag{Name: "tag", Usage: "a `TAG` for the run; may be given again"},
			&cli.DurationFlag{
				Name: "timeout", DefaultText: "the deployment's",
				Usage: "end the run when it has run for so long, such as `10m`; before the command's name --timeout is NATS's",
			},
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show states and output until the run ends"},
		),
		Action: e.connected(e.runDeployment),
	}
}

// runConfig is what deployment run asks for.
type runConfig struct {
	deployment         string
	pool, queue        string // empty: the deployment's
	params             []string
	paramsJSON         []string
	paramsObject       string
	jobVariables       []string
	tags               []string
	timeout            time.Duration
	id, idempotencyKey string
}

func (e *env) runDeployment(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	args, err := arguments(c, "DEPLOYMENT")
	if err != nil {
		return err
	}
	f, err := format(c)
	if err != nil {
		return err
	}
	if c.IsSet("timeout") && c.Duration("timeout") <= 0 {
		return usagef("--timeout is %s; give a duration above 0", c.Duration("timeout"))
	}
	run, err := requestRun(ctx, conn, runConfig{
		deployment: args[0], pool: c.String("pool"), queue: c.String("work-queue"), params: c.StringSlice("param"), paramsJSON: c.StringSlice("param-json"),
		paramsObject: c.String("params"), jobVariables: c.StringSlice("job-variable"), tags: c.StringSlice("tag"), timeout: c.Duration("timeout"),
		id: c.String("id"), idempotencyKey: c.String("idempotency-key"),
	})
	if err != nil {
		return err
	}
	if c.Bool("watch") {
		if f == "table" || f == "wide" {
			fmt.Fprintf(e.stdout, "Run %s of %s on pool %s%s\n", run.Run, run.Deployment, run.Pool, duplicateNote(run))
		}
		return e.watchAlone(ctx, conn, run, f)
	}
	return e.print(c, run, func(bool) error {
		if run.state != "" {
			fmt.Fprintf(e.stdout, "Run %s of %s was requested before and is %s: nothing new is started.\nLook at it: %s flow-run inspect %s\n",
				run.Run, run.Deployment, run.state, e.again(), run.Run)
			return nil
		}
		fmt.Fprintf(e.stdout, "Run %s of %s waits in queue %s of pool %s%s.\nWatch it: %s flow-run watch %s\n",
			run.Run, run.Deployment, run.Queue, run.Pool, duplicateNote(run), e.again(), run.Run)
		if note, err := whyWaiting(ctx, conn, run); err == nil && note != "" {
			fmt.Fprintln(e.stderr, e.paint(e.stderrTTY, yellow, note))
		}
		return nil
	})
}

// requested is what deployment run prints.
type requested struct {
	Run        string `json:"run"`
	Deployment string `json:"deployment"`
	Pool       string `json:"pool"`
	Queue      string `json:"queue"`
	Sequence   uint64 `json:"sequence"`
	Duplicate  bool   `json:"duplicate"`

	state schemas.State // of a run of that ID that is recorded already
}

func duplicateNote(r requested) string {
	switch {
	case r.state != "":
		return " (requested before)"
	case r.Duplicate:
		return " (requested before with this idempotency key)"
	}
	return ""
}

// requestRun checks what a worker would check, then publishes the request.
func requestRun(ctx context.Context, conn *streams.Conn, cfg runConfig) (requested, error) {
	d, err := conn.Deployment(ctx, cfg.deployment)
	if err != nil {
		return requested{}, err
	}
	body, err := cfg.request(d)
	if err != nil {
		return requested{}, err
	}
	r := requested{Deployment: d.Name, Pool: dashOr(cfg.pool, d.Pool)}
	if cfg.id != "" {
		if err := streams.CheckRunID(r.Pool, cfg.id); err != nil {
			return r, usagef("--id: %v", err)
		}
		switch before, err := conn.LastEventIn(ctx, r.Pool, cfg.id); {
		case err == nil && before.Deployment != d.Name:
			return r, refusef("run ID %s belongs to a run of deployment %s; choose another --id", cfg.id, before.Deployment)
		case err == nil: // published again it would start nothing
			return requested{Run: cfg.id, Deployment: d.Name, Pool: before.Pool, Queue: before.Queue, Sequence: before.RunEvent.Sequence, Duplicate: true, state: before.State}, nil
		case !errors.Is(err, streams.ErrNotFound):
			return r, err
		}
	}
	if r.Queue, err = checkPlace(ctx, conn, d, r.Pool, cfg.queue, body.JobVariables); err != nil {
		return r, err
	}
	var raw []byte
	if !cfg.plain() {
		if raw, err = json.Marshal(body); err != nil {
			return r, fmt.Errorf("write the run request: %w", err)
		}
		if len(raw) > schemas.MaxRequest {
			return r, usagef("the request has %d bytes, the limit is %d; put large data into a file and its name into a parameter", len(raw), schemas.MaxRequest)
		}
	}
	answer, err := conn.Submit(ctx, streams.Request{
		Pool: r.Pool, Queue: r.Queue, Deployment: d.Name, Body: raw, RunID: cfg.id, DedupeID: cfg.idempotencyKey,
	})
	if err != nil {
		return r, err
	}
	r.Run, r.Sequence, r.Duplicate = answer.Run, answer.Sequence, answer.Duplicate
	return r, nil
}

// checkPlace refuses what the worker of a pool would refuse: a queue that is not there, job variables that do not fit. It
// returns the queue; an empty one means the deployment's own, or, on another pool that lacks it, the default.
func checkPlace(ctx context.Context, conn *streams.Conn, d schemas.Deployment, pool, queue string, variables map[string]json.RawMessage) (string, error) {
	p, err := conn.Pool(ctx, pool)
	if err != nil {
		return "", err
	}
	var queues []string
	for _, q := range p.Queues() {
		queues = append(queues, q.Name)
	}
	if queue == "" {
		if queue = d.Queue; pool != d.Pool && !slices.Contains(queues, queue) {
			queue = schemas.DefaultQueue
		}
	}
	if !slices.Contains(queues, queue) {
		return "", noQueue(p.Name, queue, queues)
	}
	_, err = renderJob(p, d, variables)
	return queue, err
}

// plain tells whether the request says nothing beyond the deployment itself.
func (cfg runConfig) plain() bool {
	return len(cfg.params)+len(cfg.paramsJSON)+len(cfg.paramsObject)+len(cfg.jobVariables)+len(cfg.tags) == 0 && cfg.timeout == 0
}

// request makes the body, with parameters checked against the deployment's schema.
func (cfg runConfig) request(d schemas.Deployment) (schemas.RunRequest, error) {
	r := schemas.RunRequest{Tags: cfg.tags, Timeout: schemas.Duration(cfg.timeout)}
	if cfg.paramsObject != "" {
		if err := json.Unmarshal([]byte(cfg.paramsObject), &r.Parameters); err != nil {
			if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
				return r, usagef(`--params is a JSON %s, want an object such as {"name": "Ada"}`, wrong.Value)
			}
			return r, usagef("--params is not a JSON object: %v", err)
		}
	}
	strict, err := readPairs("--param-json", cfg.paramsJSON, strictValue)
	if err != nil {
		return r, err
	}
	typed, err := readPairs("--param", cfg.params, typedValue(d.ParameterSchema))
	if err != nil {
		return r, err
	}
	for _, layer := range []map[string]json.RawMessage{strict, typed} {
		if r.Parameters == nil {
			r.Parameters = layer
			continue
		}
		maps.Copy(r.Parameters, layer)
	}
	if r.JobVariables, err = readPairs("--job-variable", cfg.jobVariables, looseValue); err != nil {
		return r, err
	}
	return r, checkParameters(d, r.Parameters)
}

// whyWaiting says in a sentence why nobody takes the run, or nothing where somebody should.
func whyWaiting(ctx context.Context, conn *streams.Conn, r requested) (string, error) {
	pool, err := conn.Pool(ctx, r.Pool)
	if err != nil {
		return "", err
	}
	if pool.Paused {
		return fmt.Sprintf("Work pool %s is paused; resume it with: weir work-pool resume %s", pool.Name, pool.Name), nil
	}
	workers, err := conn.Workers(ctx, r.Pool)
	if err != nil {
		return "", err
	}
	serving, free := 0, 0
	for _, w := range workers {
		if w.Status == schemas.WorkerOnline && slices.Contains(w.Queues, r.Queue) {
			serving++
			free += w.Slots - w.Used
		}
	}
	switch {
	case serving == 0 && pushes(pool.Type):
		return fmt.Sprintf("No server executes the runs of pool %s: the run waits. The log of a server that runs says why it does not; "+
			"where none runs, start one with: weir server start, or weir up", r.Pool), nil
	case serving == 0:
		return fmt.Sprintf("No worker of pool %s that takes from queue %s is online: the run waits. Start one with: weir worker start --pool %s", r.Pool, r.Queue, r.Pool), nil
	case free <= 0:
		return fmt.Sprintf("Every slot of pool %s is taken (%s): the run waits for one", r.Pool, plural(serving, "worker")), nil
	}
	return "", nil
}
