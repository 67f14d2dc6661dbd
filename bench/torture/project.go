//go:build linux

package main

import (
	"fmt"
	"strings"
)

// A deployment is one kind of job.
type deployment struct {
	name   string
	weight int      // how often it is asked for
	keys   []string // further keys of the project file
	job    string   // flags of the job
}

var deployments = []deployment{
	{"quick", 30, nil, "-from 50ms -to 500ms"},
	{"steady", 25, nil, "-from 1s -to 6s -lines 1"},
	{"long", 20, nil, "-from 10s -to 25s"},
	{"stubborn", 6, []string{"grace: 2s"}, "-from 4s -to 12s -stubborn"},
	{"family", 10, nil, "-from 1s -to 8s -children 2"},
	{"chatty", 6, nil, "-from 1s -to 3s -lines 50"},
	{"failing", 6, nil, "-from 100ms -to 1s -fail 7 -failures 99"},
	{"flaky", 8, []string{"retries: {max: 3, backoff: 1s, factor: 2, jitter: 0.2}"}, "-from 100ms -to 2s -fail 75 -failures 2"},
	{"crashing", 4, nil, "-from 100ms -to 2s -crash"},
	{"endless", 4, []string{"timeout: 4s", "grace: 1s"}, "-from 1m -to 1m"},
	{"hurried", 4, []string{"expires_after: 5s"}, "-from 100ms -to 1s"},
}

// project is the project file.
func (s *system) project() string {
	var b strings.Builder
	fmt.Fprintln(&b, "deployments:")
	for _, d := range deployments {
		fmt.Fprintf(&b, "  - name: %s\n    work_pool: {name: %s}\n", d.name, pool)
		for _, k := range d.keys {
			fmt.Fprintf(&b, "    %s\n", k)
		}
		command := append([]string{s.self, "job", "-dir", s.jobs}, strings.Fields(d.job)...)
		fmt.Fprintf(&b, "    command: [%s]\n", `"`+strings.Join(command, `", "`)+`"`)
	}
	return b.String()
}
