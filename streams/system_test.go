package streams_test

import (
	"testing"

	"github.com/weir-run/weir/streams/streamstest"
)

func TestSystem_isItsOwnAndStaysTheSame(t *testing.T) {
	c, other := streamstest.Connect(t), streamstest.Connect(t)
	first, err := c.System(t.Context())
	if err != nil || len(first) != 8 {
		t.Fatalf("system = %q, %v, want eight digits", first, err)
	}
	if again, err := c.System(t.Context()); err != nil || again != first {
		t.Errorf("asked again: got %q, %v, want %q", again, err, first)
	}
	if theirs, err := other.System(t.Context()); err != nil || theirs == first {
		t.Errorf("another system: got %q, %v, want one of its own", theirs, err)
	}
}
