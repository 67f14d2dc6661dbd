package history

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// A Writer appends lines to a file, each with one system call, so that a line that was written is there whatever is killed
// next, and lines of several writers never mix.
type Writer struct {
	mu   sync.Mutex
	file *os.File
}

// Append opens file for appending, and makes it if there is none.
func Append(file string) (*Writer, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write history: %w", err)
	}
	return &Writer{file: f}, nil
}

// Write appends v as one line of JSON.
func (w *Writer) Write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.file.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

// Close closes the file.
func (w *Writer) Close() error { return w.file.Close() }
