// Command weir is Weir's server, worker and command line: flags, tables and exit codes, and no logic.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	e := &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, signals: signals,
		stdinTTY:  term.IsTerminal(int(os.Stdin.Fd())),
		stdoutTTY: term.IsTerminal(int(os.Stdout.Fd())),
		stderrTTY: term.IsTerminal(int(os.Stderr.Fd())),
	}
	if e.stdoutTTY {
		if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
			e.width = width
		}
	}
	os.Exit(run(context.Background(), e, os.Args[1:]))
}

// env is the world outside as one value. A test makes its own.
type env struct {
	stdin                          io.Reader
	stdout, stderr                 io.Writer
	stdinTTY, stdoutTTY, stderrTTY bool
	width                          int // of the terminal, in columns; 0: unlimited
	getenv                         func(string) string
	signals                        <-chan os.Signal // INT and TERM

	args   []string // the arguments as arrange orders them; set once, before the command's action
	global globals  // what stands before the command; set once, before the command's action
}

// run is the whole program: it returns the exit code.
func run(ctx context.Context, e *env, args []string) int {
	app := newApp(e)
	ordered, err := arrange(app, args)
	if err == nil {
		e.args = ordered
		err = app.RunContext(ctx, append([]string{app.Name}, ordered...))
	}
	if err != nil {
		e.printError(err)
	}
	return exitCode(err)
}

func newApp(e *env) *cli.App {
	app := &cli.App{
		Name:                      "weir",
		Usage:                     "work pools on NATS JetStream: one binary is the server, the worker and the command line",
		UsageText:                 "weir [global options] COMMAND [options] [arguments]",
		Description:               "Start with: weir up\nWhat is published where: weir help subjects\n\n" + exitCodesText,
		HideVersion:               true,
		HideHelp:                  true, // its own flag and command are shared by all apps of a process
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true, // a parameter's value may have commas
		Writer:                    e.stdout,
		ErrWriter:                 e.stderr,
		Flags:                     append(globalFlags(), helpFlag()),
		Before: func(c *cli.Context) (err error) {
			e.global, err = readGlobals(c)
			return err
		},
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return printVersion(e, "table")
			}
			return cli.ShowAppHelp(c)
		},
		ExitErrHandler: func(*cli.Context, error) {}, // run does it
		OnUsageError:   usageProblem,
		Commands: []*cli.Command{
			upCommand(e),
			serverCommand(e),
			supervisorCommand(),
			workerCommand(e),
			workPoolCommand(e),
			workQueueCommand(e),
			deployCommand(e),
			deploymentCommand(e),
			flowRunCommand(e),
			deadLetterCommand(e),
			completionCommand(e),
			completeCommand(e),
			versionCommand(e),
			subjectsCommand(e),
		},
	}
	tidyFlags(app.Flags)
	finish(app.Commands)
	return app
}

// finish gives every command what all have.
func finish(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelp, c.HideHelpCommand = true, true // a deployment may be called help
		if !c.SkipFlagParsing {
			c.Flags = append(c.Flags, helpFlag())
		}
		c.OnUsageError = usageProblem
		tidyFlags(c.Flags)
		finish(c.Subcommands)
	}
}

// tidyFlags keeps out of the help what says nothing: that a switch is off unless it is given.
func tidyFlags(flags []cli.Flag) {
	shortenHelp()
	for _, f := range flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true
		}
	}
}

// shortenHelp makes help texts write flags once that can be given more than once.
var shortenHelp = sync.OnceFunc(func() {
	twice := regexp.MustCompile(` \[ --.* \]\t`)
	usual := cli.FlagStringer
	cli.FlagStringer = func(f cli.Flag) string { return twice.ReplaceAllString(usual(f), "\t") }
})

func helpFlag() cli.Flag {
	return &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show this help"}
}

// misparsed is what package flag says of a value that is none for its flag.
var misparsed = regexp.MustCompile(`^invalid value (".*") for flag -(\S+): `)

func usageProblem(c *cli.Context, err error, _ bool) error {
	m := misparsed.FindStringSubmatch(err.Error())
	if m == nil {
		return &usageError{message: err.Error()}
	}
	want := "of its kind: see --help"
	for _, f := range append(append([]cli.Flag(nil), c.Command.Flags...), c.App.Flags...) {
		if !slices.Contains(f.Names(), m[2]) {
			continue
		}
		switch f.(type) {
		case *cli.DurationFlag:
			want = "a time such as 90s, 10m or 1h30m"
		case *cli.IntFlag, *cli.Int64Flag, *cli.UintFlag, *cli.Uint64Flag:
			want = "a whole number"
		}
	}
	return usagef("%s is %s, want %s", dashed(m[2]), m[1], want)
}

// errInterrupted ends a command that was waiting when the user pressed Ctrl-C.
var errInterrupted = errors.New("interrupted")

// action makes an Action of a command that ends at the first signal.
func (e *env) action(do func(context.Context, *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		ctx, cancel := context.WithCancelCause(c.Context)
		done := make(chan struct{})
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-e.signals:
				cancel(errInterrupted)
			case <-done:
			}
		}()
		err := do(ctx, c)
		close(done)
		<-watched
		if errors.Is(context.Cause(ctx), errInterrupted) {
			err = errInterrupted
		}
		cancel(nil)
		return err
	}
}

// stopping makes the two contexts of a command that stays: drain ends at the first signal, stop at the second. release
// gives them back; it must be called.
func (e *env) stopping(ctx context.Context) (drain, stop context.Context, release func()) {
	stop, cancelStop := context.WithCancelCause(ctx)
	drain, cancelDrain := context.WithCancelCause(stop)
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for _, cancel := range []context.CancelCauseFunc{cancelDrain, cancelStop} {
			select {
			case <-e.signals:
				cancel(errInterrupted)
			case <-done:
				return
			}
		}
	}()
	return drain, stop, func() {
		close(done)
		<-watched
		cancelStop(nil)
	}
}

// arguments returns what stands where names does, such as DEPLOYMENT; more or fewer are a usage error.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	args := c.Args().Slice()
	switch {
	case len(args) < len(names):
		return nil, usagef("%s needs a %s: %s", c.Command.HelpName, names[len(args)], usageLine(c.Command))
	case len(args) > len(names):
		return nil, usagef("%s: unexpected argument %q: %s", c.Command.HelpName, args[len(names)], usageLine(c.Command))
	}
	return args, nil
}

func usageLine(c *cli.Command) string {
	line := c.HelpName
	if c.ArgsUsage != "" {
		line += " " + c.ArgsUsage
	}
	return fmt.Sprintf("%s (see %s --help)", line, c.HelpName)
}
