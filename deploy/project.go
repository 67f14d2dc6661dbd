// Package deploy reads project files (weir.yaml, or Prefect's prefect.yaml) and brings pools and deployments into the state
// that a file describes: it loads with positions, plans the difference, shows it, and applies it.
package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-run/weir/schemas"
)

// fileNames are the project files that Find looks for, in this order.
var fileNames = []string{"weir.yaml", "prefect.yaml"}

// A Project is what a project file describes.
type Project struct {
	Path        string // the file, as it was named to Load
	Dir         string // absolute folder of the file: entry points and commands are relative to it
	Pools       []schemas.Pool
	Deployments []schemas.Deployment
	Warnings    []string // file:line:column: what is in the file and has no effect

	src         *source
	pools       map[string]*poolPlaces       // by name
	deployments map[string]*deploymentPlaces // by name
	absent      map[string]error             // deployments whose entry point's file is not here
}

// Find returns the project file of dir.
func Find(dir string) (string, error) {
	for _, name := range fileNames {
		path := filepath.Join(dir, name)
		switch _, err := os.Stat(path); {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("find a project file: %w", err)
		}
	}
	return "", fmt.Errorf("neither weir.yaml nor prefect.yaml is in %s: write one, or name another with --file: %w", dir, fs.ErrNotExist)
}

// Load reads a project file. Everything that is wrong with it is told at once, as [FileErrors].
func Load(path string) (*Project, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read project file: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read project file %s: %w", path, err)
	}
	return parse(path, filepath.Dir(abs), data)
}

func parse(path, dir string, data []byte) (*Project, error) {
	p := &Project{
		Path: path, Dir: dir, src: newSource(path, data),
		pools: map[string]*poolPlaces{}, deployments: map[string]*deploymentPlaces{},
	}
	r := &reader{source: p.src, project: p}
	root := parseYAML(p.src, data)
	if err := p.src.err(); err != nil {
		return nil, err // no sense in reading on: what is broken would be told again as something else
	}
	if root.kind == null {
		p.src.fail(position{}, "the file is empty: it takes deployments, and pools if you like")
	} else {
		readMapping(r, root, "the file", rootKeys, p)
	}
	if err := p.src.err(); err != nil {
		return nil, err
	}
	if len(p.Pools)+len(p.Deployments) == 0 {
		p.src.fail(position{}, "it has no deployments and no pools, so there is nothing to deploy: add deployments")
		return nil, p.src.err()
	}
	p.Warnings = r.warnings()
	return p, nil
}

// deploymentPlaces returns where the parts of a deployment are; the file as a whole, if it is not from a file.
func (p *Project) deploymentPlaces(name string) *deploymentPlaces {
	if d := p.deployments[name]; d != nil {
		return d
	}
	return &deploymentPlaces{}
}

// poolPlaces returns where the parts of a pool are; the file as a whole, if it is not from a file.
func (p *Project) poolPlaces(name string) *poolPlaces {
	if pool := p.pools[name]; pool != nil {
		return pool
	}
	return &poolPlaces{}
}

// errors returns a collector for what is found wrong after loading.
func (p *Project) errors() *source {
	if p.src == nil {
		return &source{file: p.Path}
	}
	return &source{file: p.src.file, lines: p.src.lines}
}
