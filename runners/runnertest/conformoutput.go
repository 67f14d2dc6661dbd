package runnertest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
)

func outputOrder(t *testing.T, b *bench) {
	_, out := b.run(t, "i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; printf 'no newline'")
	if b.OneStream {
		if got := len(out.Lines("")); got != 1001 {
			t.Errorf("got %d lines, want 1001", got)
		}
		return
	}
	var wantOut, wantErr []string
	for i := range 500 {
		wantOut = append(wantOut, fmt.Sprintf("out %d", i))
		wantErr = append(wantErr, fmt.Sprintf("err %d", i))
	}
	if diff := cmp.Diff(append(wantOut, "no newline"), out.Lines(runners.Stdout)); diff != "" {
		t.Errorf("stdout (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantErr, out.Lines(runners.Stderr)); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
}

func outputAtOnce(t *testing.T, b *bench) {
	for i := range 20 {
		b.each(t, strconv.Itoa(i), func(t *testing.T, b *bench) {
			_, out := b.run(t, "echo last words; kill -KILL $$")
			if diff := cmp.Diff([]string{"last words"}, out.Lines("")); diff != "" {
				t.Errorf("output of a job that died at once (-want +got):\n%s", diff)
			}
		})
	}
}

func longLines(t *testing.T, b *bench) {
	const length = 200_000
	_, out := b.run(t, fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; echo; echo short", length))
	lines := out.Records()
	if len(lines) < 5 || lines[len(lines)-1].Text != "short" {
		t.Fatalf("got %d lines, want a long line in at least 4 parts and a short one", len(lines))
	}
	total := 0
	for i, part := range lines[:len(lines)-1] {
		if len(part.Text) > runners.MaxLine {
			t.Errorf("part %d has %d bytes, want at most %d", i, len(part.Text), runners.MaxLine)
		}
		if last := i == len(lines)-2; part.Continued == last {
			t.Errorf("part %d of %d: goes on is %v", i+1, len(lines)-1, part.Continued)
		}
		total += len(part.Text)
	}
	if total != length {
		t.Errorf("the parts hold %d bytes, want %d", total, length)
	}
}

func rawBytes(t *testing.T, b *bench) {
	_, out := b.run(t, `printf '\377\376 caf\351\r\n\n\001\n'`)
	want := []string{"\xff\xfe caf\xe9\r", "", "\x01"}
	if b.Text {
		want = []string{"\uFFFD\uFFFD caf\uFFFD\r", "\x01"}
	}
	if diff := cmp.Diff(want, out.Lines(b.stdout())); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
}

// stuck is an output that stores nothing until it is freed.
type stuck struct {
	*Recorder
	once  sync.Once
	freed chan struct{}
}

func (s *stuck) Flush(context.Context) error {
	<-s.freed
	return nil
}

func (s *stuck) free() { s.once.Do(func() { close(s.freed) }) }

func slowReceiver(t *testing.T, b *bench) {
	out := &stuck{Recorder: NewRecorder(), freed: make(chan struct{})}
	t.Cleanup(out.free) // also when the test fails: the runner waits for its receivers
	fifo := b.fifo(t)
	e := b.start(t, "i=0; while [ $i -lt 200 ]; do head -c 20000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done; echo end > "+fifo, out)
	b.drain(t) // 4 MB later the job comes here, though none of its lines was stored
	if got := len(strings.Join(out.Lines(b.stdout()), "")); got > 2*runners.MaxUnstored {
		t.Errorf("the worker holds %d bytes that are not stored, want about %d at most", got, runners.MaxUnstored)
	}
	out.free()
	wait(t, e)
	if got := len(out.Lines(b.stdout())); got != 200 {
		t.Errorf("got %d lines, want 200", got)
	}
}

func resultFile(t *testing.T, b *bench) {
	if !b.ResultFile {
		t.Skip("this runner has no result file")
	}
	name := b.name
	for i, c := range []struct{ script, value, reason string }{
		{`printf '{"rows": 3}' > "$WEIR_RESULT_FILE"`, `{"rows": 3}`, ""},
		{`:`, "", ""},
		{`printf '{"rows"' > "$WEIR_RESULT_FILE"`, "", "result_invalid"},
		{`printf '{"rows"' > "$WEIR_RESULT_FILE"; exit 1`, "", ""},
		{`(printf '"'; head -c 70000 /dev/zero | tr '\0' x; printf '"') > "$WEIR_RESULT_FILE"`, "", "result_too_large"},
	} {
		b.name = fmt.Sprintf("%s-%d", name, i)
		res, _ := b.run(t, c.script)
		if string(res.Value) != c.value || string(res.Reason) != c.reason {
			t.Errorf("%s: got value %q, reason %q, want %q, %q", c.script, res.Value, res.Reason, c.value, c.reason)
		}
	}
}
