package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Read reads the history in dir.
func Read(dir string) (History, error) {
	var h History
	requests, err := lines[Request](filepath.Join(dir, RequestsFile))
	if err != nil {
		return h, err
	}
	cancels, err := lines[Cancel](filepath.Join(dir, CancelsFile))
	if err != nil {
		return h, err
	}
	seen, err := lines[Seen](filepath.Join(dir, SeenFile))
	if err != nil {
		return h, err
	}
	events, err := lines[Event](filepath.Join(dir, EventsFile))
	if err != nil {
		return h, err
	}
	output, err := lines[Output](filepath.Join(dir, OutputFile))
	if err != nil {
		return h, err
	}
	end, err := os.ReadFile(filepath.Join(dir, EndFile))
	if err != nil {
		return h, fmt.Errorf("read what was left in the end: %w", err)
	}
	h = History{Requests: requests, Cancels: cancels, Seen: seen, Events: events, Output: output}
	if err := json.Unmarshal(end, &h.End); err != nil {
		return h, fmt.Errorf("read what was left in the end: %w", err)
	}
	h.Processes, err = processes(filepath.Join(dir, JobsDir))
	return h, err
}

// processes reads the jobs' files. One without a whole first line is of a process that was killed before it could write it.
func processes(dir string) ([]Process, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the jobs' files: %w", err)
	}
	var all []Process
	for _, e := range entries {
		found, err := lines[Line](filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			continue
		}
		first, last := found[0], found[len(found)-1]
		if first.What != Start || first.Identity == nil {
			return nil, fmt.Errorf("job's file %s does not begin with a start", e.Name())
		}
		p := Process{Identity: *first.Identity, File: e.Name(), From: first.At, To: last.At, Code: last.Code, Said: last.Lines, Done: last.What == Exit}
		for _, l := range found {
			p.Term = p.Term || l.What == Term
		}
		all = append(all, p)
	}
	return all, nil
}

// lines reads a file of JSON lines. A last line without its end is that of a writer that was killed, and is left out.
func lines[T any](file string) ([]T, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	defer f.Close()
	var all []T
	for r, n := bufio.NewReader(f), 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
		var v T
		if err := json.Unmarshal(bytes.TrimSpace(line), &v); err != nil {
			return nil, fmt.Errorf("read history: %s line %d: %w", file, n, err)
		}
		all = append(all, v)
	}
}
