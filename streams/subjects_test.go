package streams

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/weir-run/weir/schemas"
)

func TestSubjects_areThoseOfTheAsyncAPIDocument(t *testing.T) {
	b, err := os.ReadFile("../schemas/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Channels map[string]struct {
			Address string `yaml:"address"`
		} `yaml:"channels"`
	}
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, c := range doc.Channels {
		documented = append(documented, c.Address)
	}
	state := runEventSubject(schemas.RunEvent{Pool: "{pool}", Deployment: "{deployment}", Run: "{run}", State: "{state}"})
	ours := []string{
		RunSubject("{pool}", "{queue}", "{deployment}"), state, logSubject("{pool}", "{deployment}", "{run}"),
		deadPrefix + "{pool}.{queue}.{deployment}", DrainSubject("{pool}", "{worker}"),
		HasSubject("{pool}", "{worker}"), cancelSubject("{pool}", "{run}"), "$KV." + ConfigBucket + "." + schemaKey,
		keySubject(LocksBucket, "{hash}"), peerSubject("{kind}"), "$KV." + RunsBucket + "." + runKey("{pool}", "{deployment}", "{run}"),
	}
	for _, s := range ours {
		if !slices.Contains(documented, s) {
			t.Errorf("subject %s is not in asyncapi.yaml, which has %q", s, documented)
		}
	}
}

func TestParseNaturalRun_takesBackWhatNaturalRunMade(t *testing.T) {
	for _, tc := range []struct {
		run, pool string
		sequence  uint64
		ok        bool
	}{
		{"dev-1", "dev", 1, true},
		{"my-pool-18446744073709551615", "my-pool", 18446744073709551615, true},
		{"invoice-007", "", 0, false},
		{"dev-0", "", 0, false},
		{"dev-+1", "", 0, false},
		{"dev-", "", 0, false},
		{"-1", "", 0, false},
		{"dev", "", 0, false},
		{"", "", 0, false},
	} {
		pool, sequence, ok := parseNaturalRun(tc.run)
		if pool != tc.pool || sequence != tc.sequence || ok != tc.ok {
			t.Errorf("parseNaturalRun(%q): got %q, %d, %v, want %q, %d, %v", tc.run, pool, sequence, ok, tc.pool, tc.sequence, tc.ok)
		}
		if ok && naturalRun(pool, sequence) != tc.run {
			t.Errorf("naturalRun(%q, %d): got %q, want %q", pool, sequence, naturalRun(pool, sequence), tc.run)
		}
	}
}

func TestFiringRun_isTheSameForAFiringThatIsStoredTwice(t *testing.T) {
	firing := func(schedule, next string) string {
		return firingRun("dev", nats.Header{"Nats-Scheduler": {schedule}, "Nats-Schedule-Next": {next}})
	}
	a := firing("weir.schedule.dev.default.report.nightly", "2026-11-25T02:00:00Z")
	if want := "dev-nightly-c70531-20261125T020000Z"; a != want {
		t.Errorf("firing: got %q, want %q", a, want)
	}
	if b := firing("weir.schedule.dev.default.other.nightly", "2026-11-25T02:00:00Z"); a == b {
		t.Errorf("firings of two deployments have the same run ID %q", a)
	}
	if long := firing("weir.schedule.dev.default.report."+strings.Repeat("x", 64), "2026-11-25T02:00:00Z"); !schemas.ValidName(long) {
		t.Errorf("firing of a schedule with a long name: got run ID %q, which is no name", long)
	}
	if b := firing("weir.schedule.dev.default.report.nightly", "2026-11-26T02:00:00Z"); a == b {
		t.Errorf("two firings have the same run ID %q", a)
	}
	for _, next := range []string{"purge", "", "soon"} {
		if got := firing("weir.schedule.dev.default.report.nightly", next); got != "" {
			t.Errorf("firing with next %q: got run %q, want none", next, got)
		}
	}
}

func TestOlder_comparesVersionsByTheirNumbers(t *testing.T) {
	for _, tc := range []struct {
		v, than string
		want    bool
	}{
		{"2.9.20", "2.14.0", true},
		{"2.14.0", "2.14.0", false},
		{"2.15.0-dev", "2.14.0", false},
		{"3.0.0", "2.14.0", false},
		{"", "2.14.0", true},
	} {
		if got := older(tc.v, tc.than); got != tc.want {
			t.Errorf("older(%q, %q): got %v, want %v", tc.v, tc.than, got, tc.want)
		}
	}
}

func TestRedact_leavesNoPassword(t *testing.T) {
	got := redact("nats://me:secret@a:4222,tls://tok:en@b:4222,c:4222,x:y@d")
	if diff := cmp.Diff("nats://a:4222,tls://b:4222,c:4222,d", got); diff != "" {
		t.Errorf("redact (-want +got):\n%s", diff)
	}
}

func FuzzParseRunSubject(f *testing.F) {
	for _, s := range []string{"weir.run.dev.default.hello", "weir.run.a.b", "weir.run.a.b.c.d", "weir.run....", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		pool, queue, deployment, err := parseRunSubject(subject)
		if err == nil && RunSubject(pool, queue, deployment) != subject {
			t.Errorf("parseRunSubject(%q): got %q %q %q, which make %q", subject, pool, queue, deployment, RunSubject(pool, queue, deployment))
		}
	})
}
