package main

import (
	"strings"
	"testing"

	"github.com/weir-run/weir/schemas"
)

func TestWorkerName_isValidWhateverTheHost(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 80)
	for _, tt := range []struct {
		host, pool string
		n          int
		want       string
	}{
		{"box", "dev", 1, "box-dev"},
		{"box.example.org", "dev", 3, "box-dev-3"},
		{"my box!", "dev", 1, "my-box-dev"},
		{"", "dev", 1, "worker-dev"},
		{"ü", "dev", 1, "worker-dev"},
		{long, "dev", 1, strings.Repeat("x", 60) + "-dev"},
		{"box", strings.Repeat("p", 64), 2, "b" + strings.Repeat("p", 61) + "-2"},
	} {
		got := workerName(tt.host, tt.pool, tt.n)
		if got != tt.want || !schemas.ValidName(got) {
			t.Errorf("workerName(%q, %q, %d): got %q, want %q, a valid name", tt.host, tt.pool, tt.n, got, tt.want)
		}
	}
}

func TestClaimState_noTwoWorkersShareAName(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	claim := func(name string) workerState {
		t.Helper()
		s, err := claimState(base, "dev", name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first, second := claim(""), claim("")
	if first.name == second.name || first.dir == second.dir {
		t.Errorf("two workers got the name %s and the folder %s", first.name, first.dir)
	}
	if _, err := claimState(base, "dev", first.name); exitCode(err) != exitRefused {
		t.Errorf("a taken name: got %v, want it refused", err)
	}
	name := first.name
	first.close()
	again := claim("")
	if again.name != name {
		t.Errorf("restarted: got the name %s, want %s again", again.name, name)
	}
	again.close()
	second.close()
}
