package process

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/launcher"
)

//go:embed describe.py
var describer string

// pythons makes the command lines of entrypoints.
type pythons struct {
	mu     sync.Mutex
	script string // the launcher, once it is written
}

// command is what runs entrypoint.
func (p *pythons) command(config runners.Config, job *Job, entrypoint string) ([]string, error) {
	file, function, ok := launcher.Split(entrypoint)
	if entrypoint == "" {
		return nil, refused("the job has neither a command nor an entrypoint")
	}
	if !ok {
		return nil, refused("entrypoint %q is not file.py:function", clip(entrypoint))
	}
	path := under(config.Code, file)
	if !filepath.IsAbs(path) {
		return nil, refused("entrypoint %s is relative, and this worker has no code folder to take it from", clip(entrypoint))
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return nil, refused("entrypoint %s: there is no file %s", clip(entrypoint), path)
	}
	script, err := p.install(config.Dir)
	if err != nil {
		return nil, err
	}
	return []string{interpreter(config.Code, job.Python), script, file + ":" + function, config.Code}, nil
}

// interpreter is what is asked for, or the virtual environment beside the code, or python3 on the PATH.
func interpreter(code, asked string) string {
	if strings.Contains(asked, "/") {
		return under(code, asked)
	}
	if asked != "" {
		return asked
	}
	if venv := filepath.Join(code, ".venv", "bin", "python"); code != "" {
		if info, err := os.Stat(venv); err == nil && !info.IsDir() {
			return venv
		}
	}
	return "python3"
}

// install writes the launcher into dir, under its content's hash: an older worker's jobs keep theirs, and Python its cache.
func (p *pythons) install(dir string) (script string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.script != "" {
		if _, err := os.Stat(p.script); err == nil {
			return p.script, nil
		}
	}
	home := filepath.Join(dir, "launcher-"+launcher.Version)
	script = filepath.Join(home, launcher.Script)
	if _, err := os.Stat(script); err != nil {
		next, err := os.MkdirTemp(dir, "launcher-")
		if err != nil {
			return "", fmt.Errorf("write the launcher: %w", err)
		}
		if err := os.CopyFS(next, launcher.Files()); err != nil {
			return "", fmt.Errorf("write the launcher: %w", err)
		}
		if err := os.Rename(next, home); err != nil {
			os.RemoveAll(next)
			if _, err := os.Stat(script); err != nil {
				return "", fmt.Errorf("write the launcher: %w", err)
			}
		}
	}
	p.script = script
	return script, nil
}

// describeWithin bounds reading one file.
const describeWithin = 30 * time.Second

// Describe infers the JSON Schema of an entrypoint's parameters from the text of its function: nothing of it is imported or
// run. python is the interpreter ("" is found as for a run), dir the folder from which the entrypoint's file is taken. The
// error is a sentence that names the missing file, the nearest function or the line that does not parse. What cannot be read
// from the text (a function that is imported or computed) is described as taking anything.
func Describe(ctx context.Context, python, dir, entrypoint string) (json.RawMessage, error) {
	if _, _, ok := launcher.Split(entrypoint); !ok {
		return nil, fmt.Errorf("entrypoint %q is not file.py:function", clip(entrypoint))
	}
	ctx, cancel := context.WithTimeout(ctx, describeWithin)
	defer cancel()
	python = interpreter(dir, python)
	cmd := exec.CommandContext(ctx, python, "-I", "-c", describer, entrypoint, dir)
	cmd.Env = baseEnviron(os.Environ())
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("entrypoint %s: there is no Python interpreter %s: install Python 3.8 or later, or name one with the job variable python", entrypoint, python)
		}
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return nil, fmt.Errorf("describe entrypoint %s with %s: %w: %s", entrypoint, python, err, clip(lines[len(lines)-1]))
	}
	var answer struct {
		Schema json.RawMessage `json:"schema"`
		Error  string          `json:"error"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("describe entrypoint %s with %s: %w", entrypoint, python, err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("entrypoint %s: %s", entrypoint, answer.Error)
	}
	return answer.Schema, nil
}
