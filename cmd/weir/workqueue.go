package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

func workQueueCommand(e *env) *cli.Command {
	pool := func() cli.Flag {
		return &cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "the work `POOL` it is in"}
	}
	return &cli.Command{
		Name: "work-queue", Aliases: []string{"queue"}, Usage: "create, look at and delete work queues, the lanes of a work pool",
		Subcommands: []*cli.Command{
			{
				Name: "create", Aliases: []string{"add"}, Usage: "add a work queue to a work pool", ArgsUsage: "NAME",
				Flags:  outputFlags(pool(), &cli.IntFlag{Name: "priority", Usage: "1 goes first; 0: after all that have one"}),
				Action: e.connected(e.createQueue),
			},
			{
				Name: "ls", Aliases: []string{"list"}, Usage: "list work queues, of all work pools or of one", Flags: outputFlags(pool()),
				Action: e.connected(e.listQueues),
			},
			{
				Name: "inspect", Aliases: []string{"info"}, Usage: "show a work queue", ArgsUsage: "NAME", Flags: outputFlags(pool()),
				Action: e.connected(e.inspectQueue),
			},
			{
				Name: "delete", Aliases: []string{"rm"}, Usage: "delete a work queue with the runs that wait in it", ArgsUsage: "NAME",
				Flags: outputFlags(pool(), forceFlag()), Action: e.connected(e.deleteQueue),
			},
		},
	}
}

// queueRow is a work queue with its pool's name.
type queueRow struct {
	Pool string `json:"pool"`
	streams.QueueStatus
}

// poolOf returns the pool that --pool names.
func poolOf(ctx context.Context, c *cli.Context, conn *streams.Conn) (schemas.Pool, error) {
	name := c.String("pool")
	if name == "" {
		return schemas.Pool{}, usagef("%s needs --pool: %s", c.Command.HelpName, usageLine(c.Command))
	}
	return conn.Pool(ctx, name)
}

func (e *env) createQueue(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	pool, err := poolOf(ctx, c, conn)
	if err != nil {
		return err
	}
	q := schemas.WorkQueue{Name: args[0], Priority: c.Int("priority")}
	if q.Priority < 0 {
		return usagef("--priority is %d; give a whole number from 1, which goes first", q.Priority)
	}
	if slices.ContainsFunc(pool.Queues(), func(have schemas.WorkQueue) bool { return have.Name == q.Name }) {
		return fmt.Errorf("work queue %q of work pool %q: %w", q.Name, pool.Name, streams.ErrExists)
	}
	pool.WorkQueues = append(pool.WorkQueues, q)
	if _, err := conn.UpdatePool(ctx, pool); err != nil {
		return err
	}
	return e.print(c, q, func(bool) error {
		fmt.Fprintf(e.stdout, "Created work queue %s in work pool %s.\n", q.Name, pool.Name)
		return nil
	})
}

func (e *env) listQueues(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	var pools []schemas.Pool
	if c.IsSet("pool") {
		pool, err := poolOf(ctx, c, conn)
		if err != nil {
			return err
		}
		pools = append(pools, pool)
	} else {
		var err error
		if pools, err = conn.Pools(ctx); err != nil {
			return err
		}
	}
	rows := []queueRow{}
	for _, p := range pools {
		queues, err := conn.QueueStatuses(ctx, p)
		if err != nil {
			return err
		}
		for _, q := range queues {
			rows = append(rows, queueRow{Pool: p.Name, QueueStatus: q})
		}
	}
	return e.printQueues(ctx, c, conn, rows, rows)
}

// namedQueue is the name of the queue that c means, with its pool and all the queues of that.
func namedQueue(ctx context.Context, c *cli.Context, conn *streams.Conn) (name string, pool schemas.Pool, queues []streams.QueueStatus, err error) {
	args, err := arguments(c, "NAME")
	if err != nil {
		return "", pool, nil, err
	}
	if pool, err = poolOf(ctx, c, conn); err != nil {
		return "", pool, nil, err
	}
	queues, err = conn.QueueStatuses(ctx, pool)
	return args[0], pool, queues, err
}

func (e *env) inspectQueue(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	name, pool, queues, err := namedQueue(ctx, c, conn)
	if err != nil {
		return err
	}
	var names []string
	for _, q := range queues {
		if q.Name == name {
			row := queueRow{Pool: pool.Name, QueueStatus: q}
			return e.printQueues(ctx, c, conn, row, []queueRow{row})
		}
		names = append(names, q.Name)
	}
	return noQueue(pool.Name, name, names)
}

func (e *env) deleteQueue(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	if _, err := format(c); err != nil {
		return err
	}
	name, pool, queues, err := namedQueue(ctx, c, conn)
	if err != nil {
		return err
	}
	row := queueRow{Pool: pool.Name}
	row.Name = name // of one whose deletion was cut short nothing more is known
	for _, q := range queues {
		if q.Name == name {
			row.QueueStatus = q
		}
	}
	deployments, err := conn.Deployments(ctx)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("Delete work queue %s of work pool %s and the %s that wait in it", name, pool.Name, plural(int(row.Depth), "run"))
	var users []string
	for _, d := range deployments {
		if d.Pool == pool.Name && d.Queue == name {
			users = append(users, d.Name)
		}
	}
	if len(users) > 0 {
		what += fmt.Sprintf(", although deployments run there (%s)", strings.Join(users, ", "))
	}
	if err := e.confirm(c, what); err != nil {
		return err
	}
	if err := conn.DeleteQueue(ctx, pool.Name, name); err != nil {
		return err
	}
	return e.print(c, row, func(bool) error {
		fmt.Fprintf(e.stdout, "Deleted work queue %s of work pool %s.\n", name, pool.Name)
		return nil
	})
}

func noQueue(pool, name string, known []string) error {
	return &streams.NotFoundError{
		Kind: "work queue", Name: name, Nearest: schemas.Nearest(name, known), Known: known,
		Create: fmt.Sprintf("weir work-queue create %s --pool %s", name, pool),
	}
}

func (e *env) printQueues(ctx context.Context, c *cli.Context, conn *streams.Conn, value any, rows []queueRow) error {
	return e.print(c, value, func(wide bool) error {
		now, err := conn.ServerTime(ctx)
		if err != nil {
			return err
		}
		t := &table{
			columns: []column{
				{title: "POOL"},
				{title: "QUEUE"},
				{title: "PRIORITY", right: true},
				{title: "LIMIT", right: true},
				{title: "WAITING", right: true},
				{title: "OLDEST", right: true},
				{title: "RUNNING", right: true},
				{title: "REDELIVERED", right: true, wide: true},
			},
			empty: "There are no work queues. Create a work pool with: weir work-pool create NAME --type process",
		}
		for _, q := range rows {
			oldest := "-"
			if q.Oldest != nil {
				oldest = since(now, *q.Oldest)
			}
			t.add(q.Pool, q.Name, priorityText(q.Priority), limit(q.ConcurrencyLimit), strconv.FormatUint(q.Depth, 10), oldest, strconv.Itoa(q.Running),
				strconv.Itoa(q.Redelivered))
		}
		return e.printTable(t, wide)
	})
}

// priorityText is a queue's priority for people: one without comes after all that have one.
func priorityText(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}
