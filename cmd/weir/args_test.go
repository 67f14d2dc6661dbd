package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArrange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want, err string }{
		{in: "", want: ""},
		{in: "work-pool ls", want: "work-pool ls"},
		{in: "pool list -o json", want: "work-pool ls -o=json"},
		{in: "-o json pool ls", want: "work-pool ls -o=json"},
		{in: "pool -o json ls", want: "work-pool ls -o=json"},
		{in: "pool ls --server nats://x", want: "--server=nats://x work-pool ls"},
		{in: "-s=nats://x pool ls -j", want: "-s=nats://x work-pool ls -j"},
		{in: "deployment run etl -p a=1 --watch -p b=2", want: "deployment run -p=a=1 --watch -p=b=2 -- etl"},
		{in: "deployment run etl -p a=-1", want: "deployment run -p=a=-1 -- etl"},
		{in: "deployment run --param --watch etl", want: "deployment run --param=--watch -- etl"},
		{in: "deployment run etl --timeout 5m", want: "deployment run --timeout=5m -- etl"},
		{in: "--timeout 2s deployment run etl", want: "--timeout=2s deployment run -- etl"},
		{in: "deployment run -- --watch", want: "deployment run -- --watch"},
		{in: "deployment run help", want: "deployment run -- help"},
		{in: "deployment run etl --watch=false", want: "deployment run --watch=false -- etl"},
		{in: "deployment run etl -h", want: "deployment run --help"},
		{in: "help deployment run", want: "deployment run --help"},
		{in: "help", want: "--help"},
		{in: "help subjects -o json", want: "help-subjects -o=json"},
		{in: "help work-pool ls", want: "work-pool ls --help"},
		{in: "deploy one two --dry-run", want: "deploy --dry-run -- one two"},
		{in: "__complete deployment run --wa", want: "__complete deployment run --wa"},
		{in: "-", err: `weir has no command "-"`},
		{in: "wrk-pool ls", err: "did you mean: weir work-pool"},
		{in: "pool", err: "weir work-pool needs a command: create, ls"},
		{in: "pool lss", err: "did you mean: weir work-pool ls"},
		{in: "pool ls --sever x", err: "did you mean --server?"},
		{in: "pool ls --pool", err: "weir work-pool ls has no flag --pool"},
		{in: "deployment run etl -p", err: "flag -p needs a value"},
		{in: "-f x deploy", err: "put it after the command's name"},
		{in: "--watch pool ls", err: "weir work-pool ls has no flag --watch"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := arrange(newApp(&env{}), strings.Fields(tt.in))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || exitCode(err) != exitUsage {
					t.Fatalf("got %v, %v, want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("arranged (-want +got):\n%s", diff)
			}
		})
	}
}

// What is arranged stays as it is when it is arranged again, and no argument behind -- is lost or changed.
func FuzzArrange(f *testing.F) {
	for _, seed := range []string{"deployment\x00run\x00etl\x00-p\x00a=1", "-s\x00x\x00pool\x00ls", "run\x00logs\x00-f\x00x", "--\x00-x", "deploy\x00a\x00--\x00--b"} {
		f.Add(seed)
	}
	app := newApp(&env{})
	f.Fuzz(func(t *testing.T, in string) {
		args := strings.Split(in, "\x00")
		once, err := arrange(app, args)
		if err != nil {
			return
		}
		twice, err := arrange(app, once)
		if err != nil || !slices.Equal(once, twice) {
			t.Errorf("%q: arranged %q, arranged again %q, %v", args, once, twice, err)
		}
		if i := slices.Index(args, "--"); i >= 0 && (i == 0 || !strings.HasPrefix(args[i-1], "-")) && !slices.Contains(once, "--help") && !slices.Contains(args[:i], "__complete") {
			if tail := args[i+1:]; len(once) < len(tail) || !slices.Equal(tail, once[len(once)-len(tail):]) {
				t.Errorf("%q: arranged %q lost the arguments behind --", args, once)
			}
		}
	})
}
