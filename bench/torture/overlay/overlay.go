// Package overlay builds a program with a few lines of its sources changed, without touching the sources: go build -overlay.
package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// An Edit replaces Old by New in File. Old must be there exactly once: an edit that no longer fits fails, and a program that
// was meant to be changed is never built unchanged. With Old empty, File is a new one.
type Edit struct {
	File     string
	Old, New string
}

// Build builds pkg into the program file out with the edits applied. dir holds the changed copies and has to stay until it
// returns.
func Build(ctx context.Context, dir, out, pkg string, edits ...Edit) error {
	replace := map[string]string{}
	for i, e := range edits {
		file, err := filepath.Abs(e.File)
		if err != nil {
			return fmt.Errorf("edit %s: %w", e.File, err)
		}
		text, err := e.apply(file, replace[file])
		if err != nil {
			return err
		}
		changed := filepath.Join(dir, fmt.Sprintf("%d-%s", i, filepath.Base(file)))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return fmt.Errorf("edit %s: %w", e.File, err)
		}
		replace[file] = changed
	}
	args := []string{"build", "-trimpath", "-o", out}
	if len(replace) > 0 {
		list, err := json.Marshal(map[string]any{"Replace": replace})
		if err != nil {
			return fmt.Errorf("write the overlay: %w", err)
		}
		file := filepath.Join(dir, "overlay.json")
		if err := os.WriteFile(file, list, 0o600); err != nil {
			return fmt.Errorf("write the overlay: %w", err)
		}
		args = append(args, "-overlay", file)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, said)
	}
	return nil
}

// apply returns the file's text with the edit made. changed is the copy that an earlier edit of the same file made, or empty.
func (e Edit) apply(file, changed string) (string, error) {
	if e.Old == "" {
		return e.New, nil
	}
	if changed != "" {
		file = changed
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("edit %s: %w", e.File, err)
	}
	if n := strings.Count(string(b), e.Old); n != 1 {
		return "", fmt.Errorf("edit %s: want exactly one place with %q, found %d: the code has changed, so change the edit too", e.File, e.Old, n)
	}
	return strings.Replace(string(b), e.Old, e.New, 1), nil
}
