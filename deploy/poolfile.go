package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// maxReplicas is the most that JetStream keeps of a stream.
const maxReplicas = 5

// poolPlaces says where a pool's parts are in the file.
type poolPlaces struct{ name, kind, template position }

type poolEntry struct {
	schemas.Pool
	poolPlaces
}

var rootKeys = []key[Project]{
	{name: "pools", read: readPools},
	{name: "deployments", read: readDeployments},
	{name: "definitions", read: func(*reader, *Project, field) {}}, // where Prefect's users keep their anchors
	{name: "name", note: "has no meaning here: a project is its folder"},
	{name: "prefect-version", note: "has no meaning here"},
	{name: "build", note: "has no meaning here: build images before you deploy"},
	{name: "push", note: "has no meaning here: push images and code before you deploy"},
	{name: "pull", note: "has no meaning here: jobs run in the folder of this file"},
}

var poolKeys = []key[poolEntry]{
	{name: "name", read: func(r *reader, p *poolEntry, f field) { p.Name, p.poolPlaces.name = r.name(f, "pool"), f.value.at }},
	{name: "type", read: func(r *reader, p *poolEntry, f field) { p.Type, p.kind = r.plainText(f), f.value.at }},
	{name: "description", read: func(r *reader, p *poolEntry, f field) { p.Description = r.text(f) }},
	{name: "concurrency_limit", read: func(r *reader, p *poolEntry, f field) { p.ConcurrencyLimit = r.integer(f, 1, noLimit) }},
	{name: "ack_wait", read: func(r *reader, p *poolEntry, f field) {
		if p.AckWait = r.duration(f); p.AckWait > 0 && time.Duration(p.AckWait) < time.Second {
			r.fail(f.value.at, "ack_wait: %s is too short for a lease: write at least 1s", time.Duration(p.AckWait))
		}
	}},
	{name: "replicas", read: func(r *reader, p *poolEntry, f field) { p.Replicas = r.integer(f, 1, maxReplicas) }},
	{name: "base_job_template", read: readTemplate},
	{name: "work_queues", read: readQueues},
}

var queueKeys = []key[schemas.WorkQueue]{
	{name: "name", read: func(r *reader, q *schemas.WorkQueue, f field) { q.Name = r.name(f, "queue") }},
	{name: "priority", read: func(r *reader, q *schemas.WorkQueue, f field) { q.Priority = r.integer(f, 1, noLimit) }},
	{name: "concurrency_limit", read: func(r *reader, q *schemas.WorkQueue, f field) { q.ConcurrencyLimit = r.integer(f, 1, noLimit) }},
}

func readPools(r *reader, p *Project, f field) {
	if f.value.kind != list {
		r.fail(f.value.at, "pools: got %s, want a list: - name: development", f.value.kind)
		return
	}
	for _, item := range f.value.items {
		var e poolEntry
		readMapping(r, item, "a pool", poolKeys, &e)
		if item.kind != mapping {
			continue
		}
		if item.field("name") == nil || item.field("name").kind == null {
			r.fail(item.at, "a pool needs a name")
		}
		if e.kind.line == 0 {
			r.fail(item.at, "%s needs a type, such as type: process", called("pool", e.Name))
		}
		if e.Name == "" {
			continue
		}
		if first, twice := p.pools[e.Name]; twice {
			r.fail(e.poolPlaces.name, "pool %s is there twice, first in line %d", e.Name, first.name.line)
			continue
		}
		p.pools[e.Name] = &e.poolPlaces
		p.Pools = append(p.Pools, e.Pool)
	}
}

// called names a pool or deployment as far as it has a name.
func called(kind, name string) string {
	if name == "" {
		return "a " + kind
	}
	return kind + " " + name
}

// readTemplate reads a base job template in place, or the name of a JSON file that holds it.
func readTemplate(r *reader, p *poolEntry, f field) {
	p.template = f.value.at
	switch f.value.kind {
	case mapping:
		p.BaseJobTemplate = f.value.JSON()
	case text:
		path := f.value.text
		if !filepath.IsAbs(path) {
			path = filepath.Join(r.project.Dir, path)
		}
		raw, err := readRegular(path)
		if err != nil {
			if cause, ok := errors.AsType[*fs.PathError](err); ok {
				err = cause.Err // the path is said as it is written
			}
			r.fail(f.value.at, "base_job_template: %s: %s", f.value.text, err)
			return
		}
		if !json.Valid(raw) {
			r.fail(f.value.at, "base_job_template: %s is not JSON", f.value.text)
			return
		}
		p.BaseJobTemplate = raw
	default:
		r.fail(f.value.at, "base_job_template: got %s, want the template or the name of a JSON file with it", f.value.kind)
		return
	}
	if _, err := runners.ParseTemplate(p.BaseJobTemplate); err != nil {
		r.fail(f.value.at, "%s", err)
	}
}

// readRegular reads a file, but nothing that might have no end.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

func readQueues(r *reader, p *poolEntry, f field) {
	if f.value.kind != list {
		r.fail(f.value.at, "work_queues: got %s, want a list: - name: default", f.value.kind)
		return
	}
	for _, item := range f.value.items {
		var q schemas.WorkQueue
		readMapping(r, item, "a work queue", queueKeys, &q)
		switch {
		case item.kind != mapping:
		case item.field("name") == nil || item.field("name").kind == null:
			r.fail(item.at, "a work queue needs a name")
		case slices.ContainsFunc(p.WorkQueues, func(other schemas.WorkQueue) bool { return q.Name != "" && other.Name == q.Name }):
			r.fail(item.field("name").at, "work queue %s is there twice", q.Name)
		default:
			p.WorkQueues = append(p.WorkQueues, q)
		}
	}
}
