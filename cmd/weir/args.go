package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
)

// arrange puts args into the order that package cli can read: global flags, the command, its flags, then the arguments. In
// that package a flag behind the first argument is an argument. What follows -- is an argument whatever it looks like.
func arrange(app *cli.App, args []string) ([]string, error) {
	a := arranger{root: level{path: []string{app.Name}, flags: app.Flags, commands: app.Commands}}
	a.at = a.root
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case a.at.raw:
			a.arguments = append(a.arguments, arg)
		case arg == "--":
			a.arguments, args = append(a.arguments, args...), nil
		case len(arg) > 1 && arg[0] == '-':
			args, err = a.flag(arg, args)
		default:
			err = a.word(arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return a.done()
}

type arranger struct {
	root, at  level
	global    []string // flags of the root
	early     []string // flags that stood before the command they are for
	own       []string // flags of the command
	arguments []string
	help      bool
}

// level is a command, or the whole program, as its arguments are read.
type level struct {
	path     []string
	flags    []cli.Flag
	commands []*cli.Command
	raw      bool // everything behind it is an argument, -- and flags too
}

func (l level) name() string { return strings.Join(l.path, " ") }

func (l level) command(name string) *cli.Command {
	for _, c := range l.commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// word reads a command's name, or an argument where no command can follow.
func (a *arranger) word(word string) error {
	if len(a.at.commands) == 0 {
		a.arguments = append(a.arguments, word)
		return nil
	}
	if c := a.at.command(word); c != nil {
		a.at = level{path: append(slices.Clone(a.at.path), c.Name), flags: c.Flags, commands: c.Subcommands, raw: c.SkipFlagParsing}
		return nil
	}
	if word == "help" {
		a.help = true
		return nil
	}
	if c := a.at.command(helpSubjects); a.help && word == "subjects" && c != nil {
		a.help = false
		a.at = level{path: append(slices.Clone(a.at.path), c.Name), flags: c.Flags}
		return nil
	}
	var names []string
	for _, c := range a.at.commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if near := schemas.Nearest(word, names); near != "" {
		return usagef("%s has no command %q; did you mean: %s %s", a.at.name(), word, a.at.name(), near)
	}
	return usagef("%s has no command %q; it has %s", a.at.name(), word, strings.Join(names, ", "))
}

// flag reads a flag, and its value from rest where it stands there.
func (a *arranger) flag(arg string, rest []string) ([]string, error) {
	name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if name == "help" || name == "h" {
		a.help = true
		return rest, nil
	}
	var (
		list       *[]string
		takesValue bool
	)
	switch {
	case len(a.at.path) > 1 && findFlag(a.at.flags, name) != nil:
		list, takesValue = &a.own, valued(findFlag(a.at.flags, name))
	case findFlag(a.root.flags, name) != nil:
		list, takesValue = &a.global, valued(findFlag(a.root.flags, name))
	case len(a.at.commands) > 0:
		kinds := kindsBelow(a.at.commands, name)
		if len(kinds) > 1 {
			return nil, usagef("flag %s means different things to different commands; put it after the command's name", arg)
		}
		if len(kinds) == 0 {
			return nil, a.unknown(name)
		}
		list, takesValue = &a.early, kinds[true]
	default:
		return nil, a.unknown(name)
	}
	if takesValue && !hasValue {
		if len(rest) == 0 {
			return nil, usagef("flag %s needs a value (see %s --help)", dashed(name), a.at.name())
		}
		arg, rest = arg+"="+rest[0], rest[1:]
	}
	*list = append(*list, arg)
	return rest, nil
}

func (a *arranger) done() ([]string, error) {
	for _, f := range a.early {
		name, _, _ := strings.Cut(strings.TrimLeft(f, "-"), "=")
		if findFlag(a.at.flags, name) == nil {
			return nil, a.unknown(name)
		}
	}
	out := slices.Concat(a.global, a.at.path[1:])
	if a.help {
		return append(out, "--help"), nil
	}
	if len(a.at.path) > 1 && len(a.at.commands) > 0 {
		var names []string
		for _, c := range a.at.commands {
			if !c.Hidden {
				names = append(names, c.Name)
			}
		}
		return nil, usagef("%s needs a command: %s (see %s --help)", a.at.name(), strings.Join(names, ", "), a.at.name())
	}
	out = slices.Concat(out, a.early, a.own)
	if len(a.arguments) > 0 && !a.at.raw {
		out = append(out, "--")
	}
	return append(out, a.arguments...), nil
}

func (a *arranger) unknown(name string) error {
	var names []string
	for _, f := range slices.Concat(a.at.flags, a.root.flags) {
		names = append(names, f.Names()[0])
	}
	if near := schemas.Nearest(name, names); near != "" && len(name) > 1 {
		return usagef("%s has no flag %s; did you mean --%s?", a.at.name(), dashed(name), near)
	}
	return usagef("%s has no flag %s (see %s --help)", a.at.name(), dashed(name), a.at.name())
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func findFlag(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func valued(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// kindsBelow tells whether flags called name, of any of the commands, take values (true), take none (false), or both.
func kindsBelow(commands []*cli.Command, name string) map[bool]bool {
	kinds := map[bool]bool{}
	for _, c := range commands {
		if f := findFlag(c.Flags, name); f != nil {
			kinds[valued(f)] = true
		}
		for k := range kindsBelow(c.Subcommands, name) {
			kinds[k] = true
		}
	}
	return kinds
}
