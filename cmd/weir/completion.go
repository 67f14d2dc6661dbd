package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// completeTimeout bounds what a press of the tab key may take.
const completeTimeout = 700 * time.Millisecond

// maxCompletedRuns is how many of the latest runs are offered.
const maxCompletedRuns = 50

// The scripts hand the words over; everything else is decided by the hidden command.
var completionScripts = map[string]string{
	"bash": `_weir() {
  local line=${COMP_LINE:0:COMP_POINT} words
  read -ra words <<< "$line" # COMP_WORDS is split at the colons of a URL too
  [[ $line == *" " ]] && words+=("")
  local IFS=$'\n'
  COMPREPLY=($(weir __complete "${words[@]:1}" 2>/dev/null))
  if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == ":files" ]]; then
    COMPREPLY=()
    compopt -o default
  fi
}
complete -F _weir weir
`,
	"zsh": `#compdef weir
_weir() {
  local -a words_offered
  words_offered=(${(f)"$(weir __complete "${(@)words[2,$CURRENT]}" 2>/dev/null)"})
  if [[ "${words_offered[*]}" == ":files" ]]; then
    _files
  else
    compadd -- $words_offered
  fi
}
if [[ $funcstack[1] == _weir ]]; then # a file called _weir in fpath, loaded by the first press of the tab key
  _weir
else
  compdef _weir weir
fi
`,
	"fish": `function __weir_complete
  set -l given (commandline -opc) (commandline -ct)
  set -l offered (weir __complete $given[2..-1] 2>/dev/null)
  if test "$offered" = ":files"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\n' $offered
  end
end
complete -c weir -f -a '(__weir_complete)'
`,
}

var shells = []string{"bash", "zsh", "fish"}

func completionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a shell's completion script, with live names of pools, deployments, runs and workers", ArgsUsage: strings.Join(shells, "|"),
		Description: "bash: source <(weir completion bash)\nzsh:  source <(weir completion zsh)\nfish: weir completion fish | source",
		Action: e.action(func(_ context.Context, c *cli.Context) error {
			args, err := arguments(c, "SHELL")
			if err != nil {
				return err
			}
			script, ok := completionScripts[args[0]]
			if !ok {
				return usagef("there is no completion for %q; there is for %s", args[0], strings.Join(shells, ", "))
			}
			_, err = fmt.Fprint(e.stdout, script)
			return err
		}),
	}
}

// completeCommand prints what the last of its arguments can be completed to, one a line; :files stands for file names.
func completeCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "__complete", Hidden: true, SkipFlagParsing: true, Usage: "complete a command line",
		Action: func(c *cli.Context) error {
			ctx, cancel := context.WithTimeout(c.Context, completeTimeout)
			defer cancel()
			words := c.Args().Slice()
			settings := connectionIn(e.global.conn, c.App, words)
			names := func(kind string) []string { return liveNames(ctx, settings, kind) }
			for _, w := range complete(c.App, words, names) {
				fmt.Fprintln(e.stdout, w)
			}
			return nil
		},
	}
}

// connectionIn is settings with what the words to complete say about the server.
func connectionIn(settings streams.Config, app *cli.App, words []string) streams.Config {
	for i, w := range words {
		name, value, has := strings.Cut(strings.TrimLeft(w, "-"), "=")
		f := findFlag(app.Flags, name)
		if !strings.HasPrefix(w, "-") || f == nil || !has && i+1 == len(words) {
			continue
		}
		if !has {
			value = words[i+1]
		}
		switch f.Names()[0] {
		case "server":
			settings.Server = value
		case "context":
			settings.Context = value
		case "creds":
			settings.Creds = value
		}
	}
	return settings
}

// complete returns what can stand where the last word is. names gives the live names of a kind.
func complete(app *cli.App, words []string, names func(kind string) []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	at := level{path: []string{app.Name}, flags: app.Flags, commands: app.Commands}
	last := words[len(words)-1]
	value := "" // the flag whose value is due
	arguments := 0
	for _, w := range words[:len(words)-1] {
		switch {
		case value != "":
			value = ""
		case strings.HasPrefix(w, "-"):
			name, _, has := strings.Cut(strings.TrimLeft(w, "-"), "=")
			f := findFlag(at.flags, name)
			if f == nil {
				f = findFlag(app.Flags, name)
			}
			if f != nil && !has && valued(f) {
				value = f.Names()[0]
			}
		case at.command(w) != nil:
			c := at.command(w)
			at = level{path: append(at.path, c.Name), flags: c.Flags, commands: c.Subcommands}
		default:
			arguments++
		}
	}
	var offered []string
	switch {
	case value != "":
		offered = flagValues(value, names)
	case strings.HasPrefix(last, "-"):
		for _, f := range append(at.flags, app.Flags...) {
			if v, ok := f.(cli.VisibleFlag); !ok || v.IsVisible() {
				offered = append(offered, "--"+f.Names()[0])
			}
		}
	case len(at.commands) > 0:
		for _, c := range at.commands {
			if !c.Hidden {
				offered = append(offered, c.Name)
			}
		}
	case arguments == 0 || takesMany(at.path[1:]):
		offered = names(argumentKind(at.path[1:]))
	}
	var fitting []string
	for _, o := range offered {
		if strings.HasPrefix(o, last) || o == ":files" {
			fitting = append(fitting, o)
		}
	}
	return fitting
}

// takesMany tells whether a command takes several names of a kind.
func takesMany(path []string) bool {
	switch strings.Join(path, " ") {
	case "deploy", "flow-run cancel", "flow-run retry", "dead-letter retry", "dead-letter delete":
		return true
	}
	return false
}

// flagValues are the values a flag can take.
func flagValues(flag string, names func(string) []string) []string {
	switch flag {
	case "pool", "deployment":
		return names(flag)
	case "run": // weir up --run
		return names("deployment")
	case "work-queue":
		return names("queue")
	case "output":
		return formats
	case "color":
		return []string{"auto", "always", "never"}
	case "type":
		return typeNames()
	case "state":
		return allStates()
	case "reason":
		return reasonNames()
	case "file", "body", "creds", "nkey", "tlscert", "tlskey", "tlsca", "base-job-template", "data", "state-dir", "code":
		return []string{":files"}
	}
	return nil
}

// argumentKind is what a command's argument names.
func argumentKind(path []string) string {
	switch path[0] {
	case "work-pool":
		return "pool"
	case "work-queue":
		return "queue"
	case "deployment", "deploy":
		return "deployment"
	case "flow-run":
		return "run"
	case "worker":
		if slices.Contains(path, "drain") {
			return "worker"
		}
	case "dead-letter":
		return "dead letter"
	case "completion":
		return "shell"
	}
	return ""
}

// liveNames asks NATS. What it does not answer in time is not offered.
func liveNames(ctx context.Context, settings streams.Config, kind string) []string {
	if kind == "shell" {
		return shells
	}
	if kind == "" {
		return nil
	}
	settings.Timeout = completeTimeout / 2
	conn, err := streams.Connect(ctx, settings)
	if err != nil {
		return nil
	}
	defer conn.Close()
	var names []string
	switch kind {
	case "pool", "queue":
		pools, _ := conn.Pools(ctx)
		for _, p := range pools {
			if kind == "pool" {
				names = append(names, p.Name)
				continue
			}
			for _, q := range p.Queues() {
				names = append(names, q.Name)
			}
		}
	case "deployment":
		deployments, _ := conn.Deployments(ctx)
		for _, d := range deployments {
			names = append(names, d.Name)
		}
	case "run":
		runs, _ := findRuns(ctx, conn, streams.Filter{Limit: maxCompletedRuns})
		for _, r := range runs {
			names = append(names, r.Run)
		}
	case "worker":
		workers, _ := conn.Workers(ctx, "")
		for _, w := range workers {
			if w.Status != schemas.WorkerOffline {
				names = append(names, w.Name)
			}
		}
	case "dead letter":
		letters, _ := conn.DeadLetters(ctx, "", maxCompletedRuns)
		for _, l := range letters {
			names = append(names, fmt.Sprint(l.ID))
		}
	}
	return names
}
