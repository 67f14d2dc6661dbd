package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

// sayUp is what up prints when it is ready.
func (e *env) sayUp(srv *server.Server, cfg upConfig, project *deploy.Project, created []string, workers []consumers.Ready) error {
	f, err := serverFacts(srv, serveConfig{server: cfg.server})
	if err != nil {
		return err
	}
	if project != nil {
		f.add("  Project", project.Path+": "+deploymentNames(project))
	}
	slices.SortFunc(workers, func(a, b consumers.Ready) int { return strings.Compare(a.Pool, b.Pool) })
	for _, w := range workers {
		note := ""
		if slices.Contains(created, w.Pool) {
			note = " (pool created)"
		}
		f.add("  Worker", fmt.Sprintf("%s takes runs from pool %s, %s%s", w.Name, w.Pool, plural(w.Slots, "slot"), note))
	}
	fmt.Fprintln(e.stdout, e.paint(e.stdoutTTY, green, "Weir is up."))
	return e.printFacts(f)
}

// sayNext is what to type now, with both command lines.
func (e *env) sayNext(srv *server.Server, conn *streams.Conn, project *deploy.Project) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	known, err := conn.Deployments(ctx) // what was deployed before counts too
	if err != nil || len(known) == 0 {
		e.sayFirst(srv)
		return
	}
	d := known[0]
	if project != nil && len(project.Deployments) > 0 {
		for _, k := range known {
			if k.Name == project.Deployments[0].Name {
				d = k
			}
		}
	}
	fmt.Fprintf(e.stdout, "\nNext, in another terminal:\n%s", exportURL(srv))
	commands := [][2]string{
		{"weir deployment run " + d.Name + " --watch", "run it, with states and output"},
		{"weir flow-run ls", "what ran"},
		{"nats req " + streams.RunSubject(d.Pool, d.Queue, d.Name) + " ''", "the same without weir; the answer's seq is the run's number"},
		{"nats sub '" + streams.RunEvents + "'", "states as they come"},
		{"nats kv watch " + streams.RunsBucket, "every run's current state"},
	}
	if p, err := conn.Pool(ctx, d.Pool); err == nil && p.Type != "process" && !pushes(p.Type) {
		commands = slices.Insert(commands, 0, [2]string{"weir worker start --pool " + d.Pool, "pools of type " + p.Type + " have their workers beside this"})
	}
	e.sayCommands(commands)
	fmt.Fprintln(e.stdout, "\nCtrl-C stops it.")
}

// sayFirst is for those who have no deployment yet.
func (e *env) sayFirst(srv *server.Server) {
	fmt.Fprint(e.stdout, `
There is nothing to run yet. Write a weir.yaml in this folder, such as:

  deployments:
    - name: hello
      command: echo Hello
      work_pool:
        name: development

then start weir up again, or, in another terminal:
`, exportURL(srv))
	e.sayCommands([][2]string{
		{"weir work-pool create development --type process", ""},
		{"weir deploy", ""},
	})
	fmt.Fprintln(e.stdout, "\nCtrl-C stops it.")
}

func (e *env) sayCommands(commands [][2]string) {
	width := 0
	for _, c := range commands {
		width = max(width, len(c[0]))
	}
	for _, c := range commands {
		if c[1] == "" {
			fmt.Fprintf(e.stdout, "  %s\n", c[0])
			continue
		}
		fmt.Fprintf(e.stdout, "  %-*s  %s\n", width, c[0], e.paint(e.stdoutTTY, grey, "# "+c[1]))
	}
}
