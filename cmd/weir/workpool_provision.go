package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

const provisionText = `Looks for the least that a pool of that type needs around it (on AWS: a cluster, two roles, a log group) and prints what is there,
what is missing and the job variables that name it. Nothing is made without --apply, which can be repeated: what is there stays.
With the NAME of a pool, what its base job template says is used, and with --apply the job variables become its defaults.`

func provisionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "provision", Usage: "look for what a pool needs on its infrastructure, and make what is missing", ArgsUsage: "[NAME]",
		Description: provisionText,
		Flags: append(outputFlags(
			&cli.StringFlag{Name: "type", Aliases: []string{"t"}, Usage: "pool `TYPE`, where no pool is named"},
			&cli.BoolFlag{Name: "apply", Usage: "make what is missing"},
			&cli.StringFlag{Name: "rights", Usage: "print only the policy that `WHO` needs, as JSON: runner (the worker or server), provision (this command)"},
			&cli.StringSliceFlag{Name: "job-variable", Aliases: []string{"jv"}, Usage: "use what `KEY=VALUE` names, such as cluster=jobs; may be given again"},
		), forceFlag()),
		Action: e.action(e.provision),
	}
}

// provisioning is what the command prints: what was found or made, and what became of the pool.
type provisioning struct {
	runners.Infrastructure
	Pool    string `json:"pool,omitempty"`
	Changed bool   `json:"pool_changed"` // the job variables are defaults of its base job template now
}

func (e *env) provision(ctx context.Context, c *cli.Context) error {
	request := runners.ProvisionRequest{Type: c.String("type")}
	switch args := c.Args().Slice(); len(args) {
	case 0:
	case 1:
		request.Pool = args[0]
	default:
		return usagef("%s: unexpected argument %q: %s", c.Command.HelpName, args[1], usageLine(c.Command))
	}
	if request.Type != "" {
		if _, err := poolType(request.Type); err != nil {
			return err
		}
	}
	given, err := readPairs("--job-variable", c.StringSlice("job-variable"), looseValue)
	if err != nil {
		return err
	}
	var pool schemas.Pool
	var conn *streams.Conn
	if request.Pool != "" {
		if conn, err = e.connect(ctx); err != nil {
			return err
		}
		defer conn.Close()
		if pool, err = conn.Pool(ctx, request.Pool); err != nil {
			if missing, ok := errors.AsType[*streams.NotFoundError](err); ok && missing.Create != "" && request.Type != "" {
				missing.Create = fmt.Sprintf("%s work-pool create %s --type %s", e.again(), request.Pool, request.Type)
			}
			return err
		}
		if request.Type != "" && request.Type != pool.Type {
			return usagef("work pool %s is of type %s, not %s", pool.Name, pool.Type, request.Type)
		}
		request.Type = pool.Type
	}
	t, err := poolType(request.Type)
	if err != nil {
		return err
	}
	if t.Provision == nil {
		return usagef("a pool of type %s needs nothing around it", t.Name)
	}
	r, err := runners.NewRenderer(t, pool.BaseJobTemplate)
	if err != nil {
		return err
	}
	request.Variables = r.Template().Variables.Defaults()
	maps.Copy(request.Variables, given)
	request.Command = e.provisionAgain(request, c.StringSlice("job-variable"))

	look, err := t.Provision(ctx, request)
	if err != nil {
		return err
	}
	if err := checkProvisioned(t, given, look); err != nil {
		return err
	}
	if who := c.String("rights"); who != "" {
		if err := e.printRights(look, who); err != nil {
			return err
		}
		return unseen(look)
	}
	p := provisioning{Infrastructure: look, Pool: pool.Name}
	if c.Bool("apply") {
		if p, err = e.applyProvision(ctx, c, conn, t, pool, request, look); err != nil {
			return err
		}
	}
	if err := e.print(c, p, func(bool) error { return e.showProvisioning(p) }); err != nil {
		return err
	}
	switch {
	case c.Bool("apply") && p.Refused():
		return refusef("not everything is there that a pool of type %s needs", t.Name)
	case p.RefusedAll():
		return refusef("nothing that a pool of type %s needs could be looked at", t.Name)
	}
	return unseen(look)
}

// unseen is an error where nothing could be looked at: what was printed is no more than names.
func unseen(look runners.Infrastructure) error {
	if look.Unseen == "" {
		return nil
	}
	stand := "stand"
	if len(look.Unknown) == 1 {
		stand = "stands"
	}
	return &unreachableError{fmt.Sprintf("%s %s for what could not be found out: %s", strings.Join(look.Unknown, " and "), stand, look.Unseen)}
}

// checkProvisioned refuses job variables that say nothing of what was looked for: most likely another was meant.
func checkProvisioned(t runners.Type, given map[string]json.RawMessage, look runners.Infrastructure) error {
	known := slices.Sorted(maps.Keys(look.Variables))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if slices.Contains(known, name) {
			continue
		}
		if near := schemas.Nearest(name, known); near != "" {
			return usagef("job variable %q names nothing that a pool of type %s needs around it; did you mean %q?", name, t.Name, near)
		}
		return usagef("job variable %q names nothing that a pool of type %s needs around it; these do: %s", name, t.Name, strings.Join(known, ", "))
	}
	return nil
}

// provisionAgain is how to ask for the same again: the start of a command to suggest.
func (e *env) provisionAgain(request runners.ProvisionRequest, variables []string) string {
	words := []string{e.again(), "work-pool provision"}
	if request.Pool != "" {
		words = append(words, request.Pool)
	}
	words = append(words, "--type", request.Type)
	for _, v := range variables {
		words = append(words, "--job-variable", runners.ShellQuote(v))
	}
	return strings.Join(words, " ")
}

// applyProvision makes what is missing, after asking, and tells the pool of it.
func (e *env) applyProvision(
	ctx context.Context, c *cli.Context, conn *streams.Conn, t runners.Type, pool schemas.Pool, request runners.ProvisionRequest, look runners.Infrastructure,
) (provisioning, error) {
	p := provisioning{Infrastructure: look, Pool: pool.Name}
	if look.Unseen != "" {
		return p, &unreachableError{"nothing was made: " + look.Unseen}
	}
	template, undeclared, err := withDefaults(t, pool, look.Variables)
	if err != nil {
		return p, err
	}
	var todo []string
	for _, part := range look.Parts {
		switch part.State {
		case runners.PartMissing:
			todo = append(todo, "make "+part.Kind+" "+part.Name)
		case runners.PartDiffers:
			todo = append(todo, "change "+part.Kind+" "+part.Name)
		}
	}
	change := pool.Name != "" && !look.Refused() && !sameJSON(template, pool.BaseJobTemplate)
	if change {
		todo = append(todo, "set the defaults of pool "+pool.Name)
	}
	if len(todo) == 0 {
		return p, nil
	}
	if err := e.confirm(c, fmt.Sprintf("In %s: %s", look.Where, strings.Join(todo, ", "))); err != nil {
		return p, err
	}
	request.Apply = true
	if p.Infrastructure, err = t.Provision(ctx, request); err != nil {
		return p, err
	}
	if !change || p.Refused() { // a pool is not told of what is not there
		return p, nil
	}
	pool.BaseJobTemplate = template
	if _, err := conn.UpdatePool(ctx, pool); err != nil {
		return p, err
	}
	p.Changed = true
	for _, name := range undeclared {
		p.Next = append(p.Next, fmt.Sprintf("the pool's base job template does not declare %s: give it in deployments, or in the template", name))
	}
	return p, nil
}

// withDefaults is the pool's base job template with variables as its defaults, those that it declares.
func withDefaults(t runners.Type, pool schemas.Pool, variables map[string]json.RawMessage) (json.RawMessage, []string, error) {
	template := pool.BaseJobTemplate
	if len(template) == 0 {
		template = t.Template
	}
	return runners.SetDefaults(template, variables)
}

// sameJSON tells whether two texts are the same JSON.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, err1 := json.Marshal(x)
	q, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && string(p) == string(q)
}

func (e *env) printRights(i runners.Infrastructure, who string) error {
	policy, ok := i.Rights[who]
	if !ok {
		return usagef("--rights is %q; it can be %s", who, strings.Join(slices.Sorted(maps.Keys(i.Rights)), ", "))
	}
	b, err := marshal(policy, "  ")
	if err != nil {
		return err
	}
	_, err = e.stdout.Write(b)
	return err
}

func (e *env) showProvisioning(p provisioning) error {
	if p.Unseen != "" {
		fmt.Fprint(e.stdout, "Nothing could be looked at. These are the names:\n\n")
	} else {
		fmt.Fprintf(e.stdout, "In %s:\n\n", p.Where)
	}
	t := &table{columns: []column{{title: "What"}, {title: "Name"}, {title: "State", color: partColor}, {title: "Note", flex: true}}}
	for _, part := range p.Parts {
		t.add(part.Kind, part.Name, string(part.State), part.Message)
	}
	if err := e.printTable(t, false); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "\nJob variables%s:\n", where(p))
	for _, name := range slices.Sorted(maps.Keys(p.Variables)) {
		fmt.Fprintf(e.stdout, "  %s: %s\n", name, p.Variables[name])
	}
	var next []string
	for _, part := range p.Parts {
		if part.Next != "" {
			next = append(next, part.Kind+" "+part.Name+": "+part.Next)
		}
	}
	fmt.Fprintln(e.stdout, "\nNext:")
	for _, line := range append(next, p.Next...) {
		fmt.Fprintf(e.stdout, "- %s\n", line)
	}
	return nil
}

// where says whose defaults the job variables are, or may become.
func where(p provisioning) string {
	switch {
	case p.Changed:
		return ", now the defaults of pool " + p.Pool
	case p.Pool != "":
		return ", for the base job template of pool " + p.Pool
	}
	return ", for a pool's base job template or for deployments"
}

func partColor(state string) string {
	switch runners.PartState(state) {
	case runners.PartExists, runners.PartCreated, runners.PartUpdated:
		return green
	case runners.PartRefused:
		return red
	case runners.PartMissing, runners.PartDiffers:
		return yellow
	}
	return grey
}
