package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/weir-run/weir/schemas"
)

// A Describer returns the JSON Schema of the parameters that the function of an entry point takes, or nothing where it
// cannot be told. dir is the folder to which the entry point is relative. A file or function that does not exist is an error.
type Describer func(ctx context.Context, dir, entrypoint string) (json.RawMessage, error)

// describers is how many entry points are looked at at once: each may be a Python process.
const describers = 4

// Describe fills in the deployments' parameter schemas and checks that their entry points exist and take the parameters
// that the file gives. A file that does not exist is left to [Plan]: in some pools it is another one's, such as an image's. names limits it to some deployments. What is wrong with the file is told at once, as [FileErrors].
func (p *Project) Describe(ctx context.Context, describe Describer, names ...string) error {
	errs := p.errors()
	var found sync.Map // of entrypoint: func() (json.RawMessage, error), which looks once
	var each sync.WaitGroup
	slots := make(chan struct{}, describers)
	results := make([]error, len(p.Deployments))
	for i := range p.Deployments {
		d := &p.Deployments[i]
		if d.Entrypoint == "" || len(names) > 0 && !slices.Contains(names, d.Name) {
			continue
		}
		each.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			look, _ := found.LoadOrStore(d.Entrypoint, sync.OnceValues(func() (json.RawMessage, error) {
				if err := checkFile(p.Dir, d.Entrypoint); err != nil {
					return nil, err
				}
				return describe(ctx, p.Dir, d.Entrypoint)
			}))
			d.ParameterSchema, results[i] = look.(func() (json.RawMessage, error))()
		})
	}
	each.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	p.absent = map[string]error{}
	for i, d := range p.Deployments {
		at := p.deploymentPlaces(d.Name)
		if absent, ok := errors.AsType[*absentError](results[i]); ok {
			p.absent[d.Name] = absent // whether that is wrong its pool tells
		} else if results[i] != nil {
			errs.fail(at.entrypoint, "%s", about(d.Entrypoint, results[i]))
		} else if err := checkParameters(errs, d, at.parameters); err != nil {
			errs.fail(at.entrypoint, "entrypoint %s: %s", d.Entrypoint, err)
		}
	}
	return errs.err()
}

// about says of an entry point what is wrong with it.
func about(entrypoint string, err error) string {
	prefix := "entrypoint " + entrypoint + ": "
	return prefix + strings.TrimPrefix(err.Error(), prefix)
}

// absentError says that an entry point's file is not beside the project file.
type absentError struct{ hint string }

func (e *absentError) Error() string { return "there is no such file beside the project file" + e.hint }

// checkFile looks for the entry point's file and, where it is not, for the one that was meant.
func checkFile(dir, entrypoint string) error {
	file, _, _ := strings.Cut(entrypoint, ":")
	path := file
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &absentError{didYouMean(filepath.Clean(file), pythonFiles(dir))}
	case err != nil:
		return err
	case info.IsDir():
		return errors.New(file + " is a folder, not a Python file")
	}
	return nil
}

// maxSearched is how many files are looked at for the one that was meant.
const maxSearched = 5000

func pythonFiles(dir string) []string {
	var files []string
	searched := 0
	// What cannot be read is no candidate.
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if searched++; searched > maxSearched {
			return fs.SkipAll
		}
		if err != nil {
			return fs.SkipDir
		}
		if entry.IsDir() && path != dir && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules" || entry.Name() == "__pycache__") {
			return fs.SkipDir
		}
		if rel, err := filepath.Rel(dir, path); err == nil && !entry.IsDir() && filepath.Ext(path) == ".py" {
			files = append(files, rel)
		}
		return nil
	})
	return files
}

// checkParameters checks the given parameters one by one, so that each error has its place. What is not given may come with
// the run. An error is about the schema itself.
func checkParameters(errs *source, d schemas.Deployment, given *value) error {
	if len(d.ParameterSchema) == 0 || len(d.Parameters) == 0 {
		return nil
	}
	schema, err := withoutRequired(d.ParameterSchema)
	if err != nil {
		return err
	}
	for _, name := range keys(d.Parameters) {
		one, err := json.Marshal(map[string]json.RawMessage{name: d.Parameters[name]})
		if err != nil {
			return err
		}
		err = schemas.CheckParameters(schema, one)
		if err == nil {
			continue
		}
		invalid, ok := errors.AsType[*schemas.InvalidError](err)
		if !ok {
			return err
		}
		for _, problem := range invalid.Problems {
			path := strings.TrimPrefix(problem.Field, "parameters")
			if path == "" {
				path = "." + name
			}
			errs.fail(given.find(path), "%s does not take this: %s", d.Entrypoint, problem)
		}
	}
	return nil
}

func withoutRequired(schema json.RawMessage) (json.RawMessage, error) {
	var root map[string]json.RawMessage
	if err := json.Unmarshal(schema, &root); err != nil {
		return nil, err
	}
	delete(root, "required")
	return json.Marshal(root)
}
