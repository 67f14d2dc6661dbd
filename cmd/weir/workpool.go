package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func workPoolCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "work-pool", Aliases: []string{"pool"}, Usage: "create, look at and change work pools",
		Subcommands: []*cli.Command{
			{
				Name: "create", Aliases: []string{"add"}, Usage: "create a work pool: its stream and its work queues", ArgsUsage: "NAME",
				Flags: append(poolFlags(), outputFlags(
					&cli.StringFlag{Name: "type", Aliases: []string{"t"}, Usage: "pool `TYPE`: " + strings.Join(typeNames(), ", ")},
					&cli.IntFlag{Name: "replicas", Usage: "copies of the stream in the NATS cluster", Value: 1},
				)...),
				Action: e.connected(e.createPool),
			},
			{
				Name: "ls", Aliases: []string{"list"}, Usage: "list work pools", Flags: outputFlags(), Action: e.connected(e.listPools),
			},
			{
				Name: "inspect", Aliases: []string{"info"}, Usage: "show a work pool with its queues, depths and workers", ArgsUsage: "NAME",
				Flags: outputFlags(), Action: e.connected(e.inspectPool),
			},
			{
				Name: "update", Aliases: []string{"edit"}, Usage: "change a work pool", ArgsUsage: "NAME",
				Flags: unchanged(append(poolFlags(), outputFlags(
					&cli.IntFlag{Name: "replicas", Usage: "copies of the stream in the NATS cluster"},
				)...)),
				Action: e.connected(e.updatePool),
			},
			{
				Name: "pause", Usage: "start nothing new in a work pool; runs that are held go on", ArgsUsage: "NAME",
				Flags: outputFlags(),
				Action: e.connected(func(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
					return e.setPaused(ctx, c, conn, true)
				}),
			},
			{
				Name: "resume", Usage: "start runs again", ArgsUsage: "NAME",
				Flags: outputFlags(),
				Action: e.connected(func(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
					return e.setPaused(ctx, c, conn, false)
				}),
			},
			{
				Name: "delete", Aliases: []string{"rm"}, Usage: "delete a work pool and every run that waits in it", ArgsUsage: "NAME",
				Flags: outputFlags(forceFlag()), Action: e.connected(e.deletePool),
			},
			{
				Name: "get-default-base-job-template", Usage: "print the base job template of a pool type",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "type", Aliases: []string{"t"}, Usage: "pool `TYPE`: " + strings.Join(typeNames(), ", ")},
					&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "write it to `FILE`"},
				},
				Action: e.action(e.defaultTemplate),
			},
			provisionCommand(e),
		},
	}
}

// poolFlags are the settings that create and update share.
func poolFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "description", Usage: "`TEXT` for people"},
		&cli.IntFlag{Name: "concurrency-limit", Usage: "runs at once over all workers; 0: no limit"},
		&cli.DurationFlag{
			Name: "ack-wait", Usage: "how long a worker's lease lasts without renewal, such as `30s`", DefaultText: "30s",
		},
		&cli.StringFlag{Name: "base-job-template", Usage: "`FILE` with the base job template, as JSON; - reads the standard input"},
		&cli.StringSliceFlag{Name: "work-queue", Usage: "work queue `NAME[:PRIORITY]`, 1 goes first; may be given again"},
	}
}

// unchanged makes flags say that what they are not given for stays as it is.
func unchanged(flags []cli.Flag) []cli.Flag {
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.IntFlag:
			f.DefaultText = "as it is"
		case *cli.DurationFlag:
			f.DefaultText = "as it is"
		}
	}
	return flags
}

func (e *env) createPool(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	t, err := poolType(c.String("type"))
	if err != nil {
		return err
	}
	pool, err := e.changePool(c, schemas.Pool{Name: args[0], Type: t.Name, AckWait: schemas.Duration(t.AckWait)})
	if err != nil {
		return err
	}
	if err := schemas.CheckName("work pool", pool.Name); err != nil {
		return err
	}
	if err := conn.Setup(ctx, pool.Replicas); err != nil {
		return err
	}
	pool, err = conn.CreatePool(ctx, pool)
	if errors.Is(err, streams.ErrExists) {
		return fmt.Errorf("%w; change it with: weir work-pool update %s", err, pool.Name)
	} else if err != nil {
		return err
	}
	return e.print(c, pool, func(bool) error {
		fmt.Fprintf(e.stdout, "Created work pool %s of type %s.\n", pool.Name, pool.Type)
		if t.Push {
			fmt.Fprintln(e.stdout, "A server that runs executes its runs (weir server start, or weir up): it needs no worker.")
			return nil
		}
		fmt.Fprintf(e.stdout, "Start a worker for it: %s worker start --pool %s\n", e.again(), pool.Name)
		return nil
	})
}

// namedPool returns the work pool that the command's one argument names.
func namedPool(ctx context.Context, c *cli.Context, conn *streams.Conn) (schemas.Pool, error) {
	args, err := arguments(c, "NAME")
	if err != nil {
		return schemas.Pool{}, err
	}
	return conn.Pool(ctx, args[0])
}

func (e *env) updatePool(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	pool, err := namedPool(ctx, c, conn)
	if err != nil {
		return err
	}
	if pool, err = e.changePool(c, pool); err != nil {
		return err
	}
	if pool, err = conn.UpdatePool(ctx, pool); err != nil {
		return err
	}
	return e.print(c, pool, func(bool) error {
		fmt.Fprintf(e.stdout, "Updated work pool %s.\n", pool.Name)
		return nil
	})
}

// changePool sets in pool what the flags say.
func (e *env) changePool(c *cli.Context, pool schemas.Pool) (schemas.Pool, error) {
	if c.IsSet("description") {
		pool.Description = c.String("description")
	}
	if c.IsSet("concurrency-limit") {
		if pool.ConcurrencyLimit = c.Int("concurrency-limit"); pool.ConcurrencyLimit < 0 {
			return pool, usagef("--concurrency-limit is %d; give 0 (no limit) or more", pool.ConcurrencyLimit)
		}
	}
	if c.IsSet("ack-wait") {
		if pool.AckWait = schemas.Duration(c.Duration("ack-wait")); time.Duration(pool.AckWait) < time.Second {
			return pool, usagef("--ack-wait is %s; give 1s or more", c.Duration("ack-wait"))
		}
	}
	if c.IsSet("replicas") {
		if pool.Replicas = c.Int("replicas"); pool.Replicas < 1 || pool.Replicas > 5 {
			return pool, usagef("--replicas is %d; NATS keeps 1 to 5 copies of a stream", pool.Replicas)
		}
	}
	if file := c.String("base-job-template"); file != "" {
		b, err := e.readFile(file)
		if err != nil {
			return pool, usagef("base job template: %v", err)
		}
		t, err := poolType(pool.Type)
		if err != nil {
			return pool, err
		}
		if _, err := runners.NewRenderer(t, b); err != nil {
			return pool, usagef("%s: %v", file, err)
		}
		pool.BaseJobTemplate = b
	}
	for _, text := range c.StringSlice("work-queue") {
		q, err := parseQueue(text)
		if err != nil {
			return pool, err
		}
		if i := slices.IndexFunc(pool.WorkQueues, func(have schemas.WorkQueue) bool { return have.Name == q.Name }); i >= 0 {
			q.ConcurrencyLimit = pool.WorkQueues[i].ConcurrencyLimit
			pool.WorkQueues[i] = q
		} else {
			pool.WorkQueues = append(pool.WorkQueues, q)
		}
	}
	return pool, nil
}

// parseQueue reads NAME or NAME:PRIORITY.
func parseQueue(text string) (schemas.WorkQueue, error) {
	name, priority, has := strings.Cut(text, ":")
	q := schemas.WorkQueue{Name: name}
	if err := schemas.CheckName("work queue", name); err != nil {
		return q, err
	}
	if has {
		n, err := strconv.Atoi(priority)
		if err != nil || n < 1 {
			return q, usagef("--work-queue %s: the priority is %q; give a whole number from 1, which goes first", text, priority)
		}
		q.Priority = n
	}
	return q, nil
}

func (e *env) readFile(name string) ([]byte, error) {
	if name == "-" {
		r := bufio.NewReader(e.stdin)
		var b strings.Builder
		_, err := r.WriteTo(&b)
		return []byte(b.String()), err
	}
	return os.ReadFile(name)
}

func (e *env) setPaused(ctx context.Context, c *cli.Context, conn *streams.Conn, paused bool) error {
	if _, err := format(c); err != nil {
		return err
	}
	pool, err := namedPool(ctx, c, conn)
	if err != nil {
		return err
	}
	pool.Paused = paused
	if pool, err = conn.UpdatePool(ctx, pool); err != nil {
		return err
	}
	return e.print(c, pool, func(bool) error {
		if paused {
			fmt.Fprintf(e.stdout, "Work pool %s is paused: nothing new starts, what runs goes on. Resume it with: weir work-pool resume %s\n", pool.Name, pool.Name)
		} else {
			fmt.Fprintf(e.stdout, "Work pool %s takes runs again.\n", pool.Name)
		}
		return nil
	})
}

func (e *env) deletePool(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	if _, err := format(c); err != nil {
		return err
	}
	pool, err := namedPool(ctx, c, conn)
	if err != nil {
		return err
	}
	queues, err := conn.QueueStatuses(ctx, pool)
	if err != nil && !c.Bool("force") {
		return err
	}
	var waiting uint64
	for _, q := range queues {
		waiting += q.Depth
	}
	what := fmt.Sprintf("Delete work pool %s and the %s that wait in it", pool.Name, plural(int(waiting), "run"))
	if err := e.confirm(c, what); err != nil {
		return err
	}
	if err := conn.DeletePool(ctx, pool.Name); err != nil {
		return err
	}
	return e.print(c, pool, func(bool) error {
		fmt.Fprintf(e.stdout, "Deleted work pool %s.\n", pool.Name)
		return nil
	})
}

func (e *env) defaultTemplate(_ context.Context, c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	t, err := poolType(c.String("type"))
	if err != nil {
		return err
	}
	b, err := marshal(t.Template, "  ")
	if err != nil {
		return err
	}
	file := c.String("file")
	if file == "" {
		_, err = e.stdout.Write(b)
		return err
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return fmt.Errorf("write base job template: %w", err)
	}
	fmt.Fprintf(e.stdout, "Wrote %s.\n", file)
	return nil
}
