package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/streams"
)

func deadLetterCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "dead-letter", Aliases: []string{"dead"}, Usage: "look at requests that could not be accepted, and send them again",
		Subcommands: []*cli.Command{
			{
				Name: "ls", Aliases: []string{"list"}, Usage: "list dead letters, the newest first",
				Flags: outputFlags(
					&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "of this work `POOL` only"},
					&cli.IntFlag{Name: "limit", Aliases: []string{"l"}, Usage: "how many at most", Value: 50},
				),
				Action: e.connected(e.listDeadLetters),
			},
			{
				Name: "inspect", Aliases: []string{"info"}, Usage: "show a dead letter with the request as it came", ArgsUsage: "ID",
				Flags: outputFlags(), Action: e.connected(e.inspectDeadLetter),
			},
			{
				Name: "retry", Usage: "request the runs of dead letters again, as new runs that name the original, and remove the letters", ArgsUsage: "[ID…]",
				Description: "What would be rejected again is refused, and its letter stays: mend the deployment first, or the request with --body or --param.",
				Flags: outputFlags(chosenFlags(
					&cli.StringFlag{Name: "body", Usage: "send what `FILE` has instead of the request's own body; - is standard input"},
					&cli.StringSliceFlag{
						Name: "param", Aliases: []string{"p"},
						Usage: "set a parameter over the request's own, `KEY=VALUE`, read as by weir deployment run; may be given again",
					},
				)...),
				Action: e.connected(e.retryDeadLetters),
			},
			{
				Name: "delete", Aliases: []string{"rm"}, Usage: "remove dead letters for good", ArgsUsage: "[ID…]",
				Flags: outputFlags(chosenFlags(forceFlag())...), Action: e.connected(e.deleteDeadLetters),
			},
		},
	}
}

func (e *env) listDeadLetters(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	if c.Int("limit") < 1 {
		return usagef("--limit is %d; give 1 or more", c.Int("limit"))
	}
	letters, err := conn.DeadLetters(ctx, c.String("pool"), c.Int("limit"))
	if err == nil && len(letters) == 0 {
		err = known(ctx, conn, c.String("pool"), "")
	}
	if err != nil {
		return err
	}
	return e.print(c, letters, func(wide bool) error {
		now, err := conn.ServerTime(ctx)
		if err != nil {
			return err
		}
		t := &table{
			columns: []column{
				{title: "ID", right: true},
				{title: "AGE", right: true},
				{title: "SUBJECT", flex: true},
				{title: "RUN", wide: true},
				{title: "REASON"},
				{title: "MESSAGE", flex: true},
			},
			empty: "There are no dead letters.",
		}
		for _, l := range letters {
			t.add(strconv.FormatUint(l.ID, 10), since(now, l.Time), l.Subject, dash(l.Run), string(l.Reason), l.Message)
		}
		return e.printTable(t, wide)
	})
}

func (e *env) inspectDeadLetter(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	args, err := arguments(c, "ID")
	if err != nil {
		return err
	}
	id, err := letterID(args[0])
	if err != nil {
		return err
	}
	l, err := conn.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	return e.print(c, l, func(bool) error {
		var f facts
		f.add("ID", strconv.FormatUint(l.ID, 10))
		f.add("Time", stamp(l.Time))
		f.add("Subject", l.Subject)
		f.add("Run", l.Run)
		f.add("Reason", string(l.Reason))
		f.add("Message", l.Message)
		for _, k := range slices.Sorted(maps.Keys(l.Headers)) {
			f.add("Header "+k, l.Headers[k])
		}
		f.add("Body", l.Body)
		if l.Size > 0 {
			f.add("Kept", fmt.Sprintf("the first %d of the body's %d bytes", len(l.Body), l.Size))
		}
		return e.printFacts(f)
	})
}

func letterID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, usagef("dead letter %q: an ID is a number, as weir dead-letter ls shows it", text)
	}
	return id, nil
}
