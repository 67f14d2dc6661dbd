package server_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

// limitFiles lets a process write no file beyond size bytes: what a full disk does, without one.
func limitFiles(t *testing.T, pid int, size uint64) {
	t.Helper()
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestServer_storesAgainWhenThereIsRoomAgain(t *testing.T) {
	data := t.TempDir()
	url, _ := startChild(t, data)
	text, err := os.ReadFile(filepath.Join(data, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	js := connect(t, url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	store(t, js, "before")
	put := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "kept", make([]byte, 16<<10))
		return err
	}
	limitFiles(t, pid, 64<<10)
	for n := 0; put() == nil; n++ {
		if n > 100 {
			t.Fatal("the limit does not hold: nothing is tested")
		}
	}
	limitFiles(t, pid, unix.RLIM_INFINITY)
	for limit := time.Now().Add(30 * time.Second); put() != nil; {
		if time.Now().After(limit) {
			t.Fatal("nothing is stored 30 s after there was room again")
		}
	}
	s, err := js.Stream(t.Context(), "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetMsg(t.Context(), 1); err != nil || string(m.Data) != "before" {
		t.Errorf("what was stored before: got %v, %v", m, err)
	}
}
