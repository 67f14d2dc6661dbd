package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// chosenFlags are those that choose dead letters without naming each.
func chosenFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: "every dead letter there is now"},
		&cli.StringFlag{Name: "pool", Usage: "every one of this work `POOL`"},
		&cli.StringFlag{Name: "reason", Usage: "every one with this `REASON`"},
	}, more...)
}

// chosenLetters are the dead letters that c names: by ID, or by --all, --pool and --reason.
func chosenLetters(ctx context.Context, c *cli.Context, conn *streams.Conn) ([]uint64, error) {
	many := c.Bool("all") || c.String("pool") != "" || c.String("reason") != ""
	switch {
	case many && c.Args().Present():
		return nil, usagef("%s takes IDs, or --all, --pool and --reason, not both", c.Command.HelpName)
	case !many && !c.Args().Present():
		return nil, usagef("%s needs an ID, or --all, --pool or --reason: see them with: weir dead-letter ls", c.Command.HelpName)
	case !many:
		var ids []uint64
		for _, text := range c.Args().Slice() {
			id, err := letterID(text)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
		return ids, nil
	}
	reason := schemas.Reason(c.String("reason"))
	if reason != "" && !slices.Contains(schemas.Reasons, reason) {
		return nil, usagef("--reason %q is no reason; did you mean %q?", reason, schemas.Nearest(string(reason), reasonNames()))
	}
	ids, err := conn.DeadLetterIDs(ctx, c.String("pool"), reason)
	if err == nil && len(ids) == 0 {
		err = known(ctx, conn, c.String("pool"), "")
	}
	return ids, err
}

func reasonNames() []string {
	var names []string
	for _, r := range schemas.Reasons {
		names = append(names, string(r))
	}
	return names
}

// retried is what became of a dead letter.
type retried struct {
	ID    uint64 `json:"id"`
	Run   string `json:"run,omitempty"`   // the new run
	Error string `json:"error,omitempty"` // why there is none; the letter is still there
}

func (e *env) retryDeadLetters(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	ids, err := chosenLetters(ctx, c, conn)
	if err != nil {
		return err
	}
	mended := mending{params: c.StringSlice("param")}
	if (c.IsSet("body") || len(mended.params) > 0) && len(ids) != 1 {
		return usagef("--body and --param mend one dead letter, not %d: name its ID", len(ids))
	}
	if c.IsSet("body") {
		if mended.body, err = e.readBody(c.String("body")); err != nil {
			return err
		}
	}
	rows, failed := []retried{}, []error{}
	for _, id := range ids {
		row := retried{ID: id}
		answer, err := retryLetter(ctx, conn, id, mended)
		switch {
		case ctx.Err() != nil || errors.Is(err, streams.ErrUnavailable):
			return err
		case err != nil:
			row.Error = err.Error()
			failed = append(failed, err)
		default:
			row.Run = answer.Run
		}
		rows = append(rows, row)
		if err == nil && (f == "table" || f == "wide") {
			fmt.Fprintf(e.stdout, "Dead letter %d is requested again: run %s.\n", id, row.Run)
		}
	}
	if f != "table" && f != "wide" {
		if err := writeValue(e.stdout, f, rows); err != nil {
			return err
		}
	} else if len(ids) == 0 {
		fmt.Fprintln(e.stderr, "There are no such dead letters.")
	}
	if len(failed) < 2 {
		return errors.Join(failed...)
	}
	return fmt.Errorf("%d of %d dead letters are not retried, the first because: %w", len(failed), len(ids), failed[0])
}

// mending says what is to change in a request before it is sent again. Its zero value is nothing.
type mending struct {
	body   []byte   // instead of the request's own; nil: that
	params []string // KEY=VALUE, over what the body says
}

// readBody reads a request's body from a file, or from standard input.
func (e *env) readBody(file string) ([]byte, error) {
	in := e.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("--body: %v", err)
		}
		defer f.Close()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, schemas.MaxRequest+1))
	if err != nil {
		return nil, usagef("--body: %v", err)
	}
	if body == nil {
		body = []byte{}
	}
	return body, nil
}

// retryLetter checks what a worker would check, so that a letter is not traded for another, and requests its run again.
func retryLetter(ctx context.Context, conn *streams.Conn, id uint64, m mending) (streams.Requested, error) {
	l, err := conn.DeadLetter(ctx, id)
	if err != nil {
		return streams.Requested{}, err
	}
	if l.Deployment == "" {
		return streams.Requested{}, refusef("dead letter %d asks for no run, it came on %s; remove it with: weir dead-letter delete %d", id, l.Subject, id)
	}
	if l.Size > 0 && m.body == nil {
		return streams.Requested{}, refusef("dead letter %d has only the first %d of its request's %d bytes: send the whole body with --body FILE", id, len(l.Body), l.Size)
	}
	body, err := m.apply(ctx, conn, l)
	if err != nil {
		return streams.Requested{}, err
	}
	return conn.RetryDeadLetter(ctx, id, body)
}

// apply returns the body to send, nil for the letter's own, once it is sure that a worker would accept it.
func (m mending) apply(ctx context.Context, conn *streams.Conn, l streams.DeadLetter) ([]byte, error) {
	again := func(err error) error {
		if errors.Is(err, streams.ErrUnavailable) {
			return err
		}
		return refusef("dead letter %d would be rejected again: %v; mend that, or the request with --body or --param", l.ID, err)
	}
	d, err := conn.Deployment(ctx, l.Deployment)
	if err != nil {
		return nil, again(err)
	}
	body := m.body
	if body == nil {
		body = []byte(l.Body)
	}
	r, err := schemas.ParseRunRequest(body)
	if err != nil {
		return nil, again(err)
	}
	if len(m.params) > 0 {
		params, err := readPairs("--param", m.params, typedValue(d.ParameterSchema))
		if err != nil {
			return nil, err
		}
		if r.Parameters == nil {
			r.Parameters = params
		} else {
			maps.Copy(r.Parameters, params)
		}
		if body, err = json.Marshal(r); err != nil {
			return nil, fmt.Errorf("write the run request: %w", err)
		}
		m.body = body
	}
	if err := checkParameters(d, r.Parameters); err != nil {
		return nil, again(err)
	}
	if _, err := checkPlace(ctx, conn, d, l.Pool, l.Queue, r.JobVariables); err != nil {
		return nil, again(err)
	}
	return m.body, nil
}

// deleted is what dead-letter delete prints.
type deleted struct {
	IDs []uint64 `json:"ids"`
}

func (e *env) deleteDeadLetters(ctx context.Context, c *cli.Context, conn *streams.Conn) error {
	ids, err := chosenLetters(ctx, c, conn)
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		if err := e.confirm(c, "Delete "+plural(len(ids), "dead letter")+", with the requests in them"); err != nil {
			return err
		}
	}
	d := deleted{IDs: []uint64{}}
	for _, id := range ids {
		if err := conn.DeleteDeadLetter(ctx, id); err != nil {
			return err
		}
		d.IDs = append(d.IDs, id)
	}
	return e.print(c, d, func(bool) error {
		fmt.Fprintf(e.stdout, "Deleted %s.\n", plural(len(ids), "dead letter"))
		return nil
	})
}
