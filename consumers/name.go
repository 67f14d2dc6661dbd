package consumers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nuid"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// ErrNameTaken says that another worker has this one's name.
var ErrNameTaken = fmt.Errorf("%w: the worker's name is taken", streams.ErrRefused)

func takenError(by schemas.Worker) error {
	return fmt.Errorf("%w: a worker called %s serves pool %s on host %s (process %d); give this one another --name, or end that one with: weir worker drain --pool %s %s",
		ErrNameTaken, by.Name, by.Pool, by.Host, by.PID, by.Pool, by.Name)
}

// takeName makes this worker the only one of its name: what a worker of the name left is known to its own supervisor, so of two
// at once each would take the other's runs for lost. The record in weir_workers has one writer at a time, by compare-and-set, and
// no lease outlasts it. One of another state folder that does not answer may still have jobs: its leases are waited out.
func (w *Worker) takeName(ctx context.Context) error {
	var err error
	if w.home, err = openHome(w.Dir); err != nil {
		return err
	}
	for said := false; ctx.Err() == nil; {
		last, err := w.conn.WorkerRecord(ctx, w.Pool, w.Name)
		if err != nil {
			w.Logger.Warn("it is not known yet whether another worker has the name; that is asked again", "err", err)
			pause(ctx, longestWait)
			continue
		}
		w.lastRecord = last.Sequence
		if last.TakenBack || w.ownHome(last.Worker) {
			return nil
		}
		if w.conn.Answers(ctx, w.Pool, w.Name) {
			return takenError(last.Worker)
		}
		if last.Data == nil { // nobody had the name, or the record aged out by a clock that jumped
			w.alone = time.Now().Add(w.leaseTime())
			return nil
		}
		left := w.leftOf(w.Name, last)
		if left <= 0 {
			return nil
		}
		if !said {
			w.Logger.Info("a worker of this name was lost on another host or with another state folder; its leases are waited for", "host", last.Host,
				"wait", left.Round(time.Second))
			said = true
		}
		pause(ctx, left)
	}
	return nil
}

// ownHome tells whether the worker with that record had this one's state folder, which is locked: it has ended. One of a version
// that did not name the folder had it if it was on the same host.
func (w *Worker) ownHome(r schemas.Worker) bool {
	if r.Home == "" && r.Instance != "" {
		host, _ := os.Hostname()
		return r.Host == host
	}
	return r.Home == w.home
}

// openHome returns the name of a state folder, which it gets when it is first used. The folder on another machine, or after this
// one has started anew, is another one.
func openHome(dir string) (string, error) {
	path := filepath.Join(dir, "home")
	id, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(id) == 0 {
		id = []byte(nuid.Next() + "\n")
		fresh := path + ".new"
		if err = os.WriteFile(fresh, id, 0o600); err == nil {
			err = os.Rename(fresh, path)
		}
	}
	if err != nil {
		return "", fmt.Errorf("name the worker's state folder: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id") // a host's name may change, and copies of a machine share it
	if err != nil {
		host, _ := os.Hostname()
		boot = []byte(host)
	}
	return strings.TrimSpace(string(id)) + "@" + strings.TrimSpace(string(boot)), nil
}
