package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/weir-run/weir/runners"
)

var _ runners.Lister = (*runner)(nil)

// List implements [runners.Lister]. A folder in which nothing is left needs no supervisor to say so.
func (r *runner) List(ctx context.Context) ([]string, error) {
	if k := r.link.Load(); k == nil || !k.alive() {
		if empty, err := r.empty(); empty || err != nil {
			return nil, err
		}
	}
	k, err := r.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("list executions: %w", err)
	}
	return k.list(ctx)
}

// empty tells whether neither a supervisor nor an ending of an earlier job is in the folder.
func (r *runner) empty() (bool, error) {
	lock, err := lockFolder(r.config.Dir)
	if errors.Is(err, errSupervised) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("list executions: %w", err)
	}
	defer lock.Close()
	b, err := os.ReadFile(filepath.Join(r.config.Dir, journalFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("list executions: %w", err)
	}
	return len(readJournal(b)) == 0, nil
}

// listing is a request for names that waits for its answer.
type listing struct {
	names []string
	done  chan struct{} // closed when names has them all
}

func (k *link) list(ctx context.Context) ([]string, error) {
	l := &listing{done: make(chan struct{})}
	k.mu.Lock()
	k.tag++
	tag := k.tag
	k.lists[tag] = l
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.lists, tag)
		k.mu.Unlock()
	}()
	k.send(func(b []byte) []byte { return appendFrame(b, kindList, tag) })
	select {
	case <-l.done:
		return l.names, nil
	case <-k.closed:
		return nil, fmt.Errorf("list executions: %w", k.cause())
	case <-ctx.Done():
		return nil, fmt.Errorf("list executions: %w", context.Cause(ctx))
	}
}

// listed takes a part of the answer to [link.list].
func (k *link) listed(f frame) error {
	r := fieldsOf(f)
	names := r.texts()
	if err := r.end("names"); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch l := k.lists[f.tag]; {
	case l == nil: // given up meanwhile
	case len(names) > 0:
		l.names = append(l.names, names...)
	default:
		delete(k.lists, f.tag)
		close(l.done)
	}
	return nil
}

// namesPerFrame keeps a frame of names far below [maxFrame].
const namesPerFrame = 1000

// list tells a worker the names of all jobs that are not forgotten.
func (s *supervisor) list(p *peer, tag uint64) {
	names := make([]string, 0, len(s.jobs))
	for name, j := range s.jobs {
		if !j.forgot {
			names = append(names, name)
		}
	}
	for part := range slices.Chunk(names, namesPerFrame) {
		p.out = appendNames(p.out, tag, part)
	}
	p.out = appendNames(p.out, tag, nil)
}

func appendNames(b []byte, tag uint64, names []string) []byte {
	b, mark := openFrame(b, kindNames, tag)
	return closeFrame(appendTexts(b, names), mark)
}
