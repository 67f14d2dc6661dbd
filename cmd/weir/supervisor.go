package main

import (
	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/runners/process"
)

// supervisorCommand is started by a worker of a process pool, never by people.
func supervisorCommand() *cli.Command {
	return &cli.Command{
		Name: "supervisor", Usage: "keep a worker's processes", Hidden: true,
		Flags: []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "the worker's state `DIR`"}},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			if c.String("dir") == "" {
				return usagef("weir supervisor needs --dir; a worker starts it by itself")
			}
			return process.Supervise(c.Context, c.String("dir"))
		},
	}
}
