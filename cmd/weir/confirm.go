package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func forceFlag() cli.Flag {
	return &cli.BoolFlag{Name: "force", Aliases: []string{"f", "yes"}, Usage: "don't ask"}
}

// confirm asks before something that cannot be undone. Without a terminal, or --force, it refuses.
func (e *env) confirm(c *cli.Context, what string) error {
	if c.Bool("force") {
		return nil
	}
	if !e.stdinTTY {
		return refusef("%s? Nobody is there to ask: say so with --force", what)
	}
	fmt.Fprintf(e.stderr, "%s? [y/N] ", what)
	answer, _ := bufio.NewReader(e.stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return refusef("nothing was done")
}
