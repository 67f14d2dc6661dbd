package docker

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners/runnertest"
)

// cutFollowed ends the answer to a followed log after its first entry, as some engines may at the job's end.
func cutFollowed(r *http.Response) {
	if r.Request.URL.Query().Get("follow") != "1" {
		return
	}
	whole := r.Body
	cut, w := io.Pipe()
	r.Body = cut
	go func() {
		defer whole.Close()
		b := bufio.NewReader(whole)
		first, err := readEntry(b)
		if err == nil {
			_, err = w.Write(first.raw)
		}
		_, rest := io.Copy(io.Discard, b) // it ends when the job does
		w.CloseWithError(errors.Join(err, rest))
	}()
}

func TestReader_hasWhatAnEngineLeavesOutOfAFollowedLog(t *testing.T) {
	shared.Up(t)
	p := &proxy{answer: cutFollowed}
	p.serve(t, shared.Host())
	r := openOn(t, t.TempDir(), p.host)
	defer r.Close()
	out := runnertest.NewRecorder()
	e, err := r.Start(patient(t), spec("run.1", shell(t, "echo 1; sleep 1; echo 2; echo 3", nil), out))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := waitFor(t, e); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1", "2", "3"}, out.Lines("")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// A log that is broken, as by a full disk, is no reason for a run never to end: what can be read of it is stored, and once that something
// is missing, and why.
func TestOutput_engineCannotReadTheLog(t *testing.T) {
	shared.Up(t)
	for _, tt := range []struct{ name, broken, why string }{
		{"and says so", "\x03\x00\x00\x00\x00\x00\x00\x2dError grabbing logs: log message is too large", "log message is too large"},
		{"and gives no entry", "\x01\x00\x00\x00\x00\x00\x00\x04abcd", "has no time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &proxy{answer: func(a *http.Response) {
				if strings.HasSuffix(a.Request.URL.Path, "/logs") {
					a.Body = struct {
						io.Reader
						io.Closer
					}{io.MultiReader(a.Body, strings.NewReader(tt.broken)), a.Body}
				}
			}}
			p.serve(t, shared.Host())
			dir, out := t.TempDir(), runnertest.NewRecorder()
			for range 2 { // the second worker finds what the first has not recorded
				r := openOn(t, dir, p.host)
				e, err := r.Start(patient(t), spec("run.1", shell(t, "echo a; exit 4", nil), out))
				if err != nil {
					t.Fatal(err)
				}
				if res, err := waitFor(t, e); err != nil || res.ExitCode != 4 {
					t.Errorf("got exit code %d, %v, want 4", res.ExitCode, err)
				}
				_ = r.abandon()
			}
			got := out.Lines("")
			if len(got) != 2 || got[0] != "a" || !strings.HasPrefix(got[1], "weir: output may be missing") || !strings.Contains(got[1], tt.why) {
				t.Errorf("got output %q, want what could be read, and a line that says why it is not all", got)
			}
		})
	}
}
