package streams_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-run/weir/streams"
	"github.com/weir-run/weir/streams/streamstest"
)

func writeVersion(t *testing.T, c *streams.Conn, record string) {
	t.Helper()
	kv, err := c.JS.KeyValue(t.Context(), streams.ConfigBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "schema", record); err != nil {
		t.Fatal(err)
	}
}

func TestSetup_recordsTheVersionOnce(t *testing.T) {
	c := streamstest.Connect(t)
	kv, err := c.JS.KeyValue(t.Context(), streams.ConfigBucket)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), "schema")
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Version   int    `json:"version"`
		WrittenBy string `json:"written_by"`
	}
	if err := json.Unmarshal(e.Value(), &r); err != nil || r.Version != 1 || !strings.HasPrefix(r.WrittenBy, "weir ") {
		t.Errorf("got %s, %v, want version 1 and who wrote it", e.Value(), err)
	}
	if err := c.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if again, err := kv.Get(t.Context(), "schema"); err != nil || again.Revision() != e.Revision() {
		t.Errorf("set up again: got revision %d, %v, want %d still", again.Revision(), err, e.Revision())
	}
}

func TestCheck_refusesASystemOfAnotherMajorVersion(t *testing.T) {
	for _, tt := range []struct {
		record string
		says   []string // none: it passes
	}{
		{`{"version": 1, "written_by": "weir v0.1.0", "later": true}`, nil},
		{`{"version": 2, "written_by": "weir v2.0.0"}`, []string{"this weir reads schema v1", "is at v2 (set up by weir v2.0.0)", "upgrade this weir"}},
		{`{"version": 0, "written_by": "weir v0.0.1"}`, []string{"this weir reads schema v1", "still at v0 (set up by weir v0.0.1)", "use a weir of that version"}},
		{`"2"`, []string{"no version record"}},
	} {
		c := streamstest.Connect(t)
		writeVersion(t, c, tt.record)
		for what, err := range map[string]error{"Check": c.Check(t.Context()), "Setup": c.Setup(t.Context(), 1)} {
			if len(tt.says) == 0 {
				if err != nil {
					t.Errorf("%s of %s: %v", what, tt.record, err)
				}
				continue
			}
			if !errors.Is(err, streams.ErrUnavailable) {
				t.Errorf("%s of %s: got %v, want ErrUnavailable", what, tt.record, err)
			}
			for _, s := range tt.says {
				if !strings.Contains(fmt.Sprint(err), s) {
					t.Errorf("%s of %s: got %v, want %q in it", what, tt.record, err, s)
				}
			}
		}
	}
}

func TestCheck_passesWhereNobodyHasSetUp(t *testing.T) {
	if err := streamstest.Dial(t, streamstest.Server(t)).Check(t.Context()); err != nil {
		t.Error(err)
	}
}
