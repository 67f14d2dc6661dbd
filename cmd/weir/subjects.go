package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/streams"
)

// subjectsCommand is weir help subjects: a deployment may be called help, so no command is.
func subjectsCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: helpSubjects, Usage: "list what is published where; as: weir help subjects", Hidden: true, Flags: outputFlags(),
		Action: e.action(func(_ context.Context, c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			return e.print(c, streams.Subjects, func(wide bool) error {
				t := &table{columns: []column{{title: "SUBJECT"}, {title: "IS", flex: true}, {title: "TRY", flex: true}}}
				for _, s := range streams.Subjects {
					t.add(s.Name, s.Means, s.Try)
				}
				return e.printTable(t, wide)
			})
		}),
	}
}

// helpSubjects is how arrange writes weir help subjects.
const helpSubjects = "help-subjects"
