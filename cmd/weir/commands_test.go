package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// connectTo opens a connection beside the command line's.
func connectTo(t testing.TB, url string) *streams.Conn {
	t.Helper()
	conn, err := streams.Connect(t.Context(), streams.Config{Server: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func decodeJSON[T any](t testing.TB, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// newProject is a NATS with pool dev, queues default and urgent, and deployment etl, without a worker.
func newProject(t testing.TB) (url string, conn *streams.Conn) {
	t.Helper()
	url = newNATS(t)
	weir(t, "-s", url, "work-pool", "create", "dev", "--type", "process", "--work-queue", "urgent:1", "--description", "for tests").ok(t)
	conn = connectTo(t, url)
	if _, err := conn.PutDeployment(t.Context(), schemas.Deployment{
		Name: "etl", Pool: "dev", Queue: schemas.DefaultQueue, Command: schemas.Command{"true"}, ParameterSchema: json.RawMessage(parameterSchema),
	}); err != nil {
		t.Fatal(err)
	}
	return url, conn
}

func TestLists_areJSONWhenAsked(t *testing.T) {
	t.Parallel()
	url, _ := newProject(t)
	run := decodeJSON[requested](t, weir(t, "-s", url, "deployment", "run", "etl", "-j").ok(t)).Run
	for _, args := range []string{
		"work-pool ls", "work-pool inspect dev", "work-queue ls", "work-queue inspect urgent --pool dev", "worker ls", "worker ls --pool dev", "deployment ls",
		"deployment inspect etl", "deployment render etl", "flow-run ls", "flow-run inspect " + run, "flow-run logs " + run, "dead-letter ls", "version",
	} {
		for _, flags := range []string{"-o json", "-j", "-o jsonl", "-o yaml", "-o wide", "-o table"} {
			got := weir(t, strings.Fields("-s "+url+" "+args+" "+flags)...)
			if got.code != exitOK {
				t.Errorf("weir %s %s: exit code %d: %s", args, flags, got.code, got.stderr)
			}
			for line := range strings.Lines(got.stdout) {
				if flags == "-o jsonl" && !json.Valid([]byte(line)) || args == "deployment render etl" && flags == "-o jsonl" && line[0] != '{' {
					t.Errorf("weir %s %s: a line is no JSON object: %s", args, flags, line)
				}
			}
			if (flags == "-o json" || flags == "-j") && !json.Valid([]byte(got.stdout)) {
				t.Errorf("weir %s %s: not JSON: %s", args, flags, got.stdout)
			}
		}
		if got := weir(t, strings.Fields("-s "+url+" "+args+" -o xml")...); got.code != exitUsage {
			t.Errorf("weir %s -o xml: exit code %d, want %d", args, got.code, exitUsage)
		}
	}
}

func TestWorkPool_life(t *testing.T) {
	t.Parallel()
	url, conn := newProject(t)
	do := func(args string) result { return weir(t, strings.Fields("-s "+url+" work-pool "+args)...) }

	if got := do("create dev --type process"); got.code != exitRefused {
		t.Errorf("a second pool dev: exit code %d, want %d: %s", got.code, exitRefused, got.stderr)
	}
	if got := do("update dev --replicas 3"); got.code != exitRefused || !strings.Contains(got.stderr, "--replicas 1") {
		t.Errorf("three copies on one server: exit code %d, want %d and what to do: %s", got.code, exitRefused, got.stderr)
	}
	do("update dev --concurrency-limit 5 --ack-wait 45s --work-queue slow:9").ok(t)
	do("pause dev").ok(t)
	for range 3 {
		weir(t, "-s", url, "deployment", "run", "etl").ok(t)
	}
	weir(t, "-s", url, "deployment", "run", "etl", "-q", "urgent").ok(t)

	type queue struct {
		Name     string `json:"name"`
		Depth    int    `json:"depth"`
		Priority int    `json:"priority"`
	}
	type details struct {
		Type     string          `json:"type"`
		Paused   bool            `json:"paused"`
		Limit    int             `json:"concurrency_limit"`
		AckWait  float64         `json:"ack_wait"`
		Template json.RawMessage `json:"base_job_template"`
		Depth    int             `json:"depth"`
		Queues   []queue         `json:"queues"`
		Workers  []any           `json:"workers"`
	}
	got := decodeJSON[details](t, do("inspect dev -o json").ok(t))
	if len(got.Template) == 0 {
		t.Error("the base job template is missing")
	}
	got.Template = nil
	want := details{
		Type: "process", Paused: true, Limit: 5, AckWait: 45, Depth: 4, Workers: []any{},
		Queues: []queue{{"default", 3, 0}, {"urgent", 1, 1}, {"slow", 0, 9}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("work-pool inspect (-want +got):\n%s", diff)
	}
	if out := do("inspect dev").ok(t); !strings.Contains(out, "paused") || !strings.Contains(out, "weir --server "+url+" worker start --pool dev") {
		t.Errorf("work-pool inspect says neither that it is paused nor how to start a worker:\n%s", out)
	}
	do("resume dev").ok(t)

	if got := do("delete dev"); got.code != exitRefused || !strings.Contains(got.stderr, "4 runs") || !strings.Contains(got.stderr, "--force") {
		t.Errorf("delete without a terminal: exit code %d, %s", got.code, got.stderr)
	}
	e := &env{stdinTTY: true, stdin: strings.NewReader("n\n")}
	if got := weirIn(t, e, "-s", url, "pool", "rm", "dev"); got.code != exitRefused {
		t.Errorf("delete, answered no: exit code %d, want %d", got.code, exitRefused)
	}
	e = &env{stdinTTY: true, stdin: strings.NewReader("y\n")}
	weirIn(t, e, "-s", url, "pool", "rm", "dev").ok(t)
	if _, err := conn.Pool(t.Context(), "dev"); err == nil {
		t.Error("the pool is still there")
	}
}

func TestDefaultTemplate_canBeGivenBack(t *testing.T) {
	t.Parallel()
	url := newNATS(t)
	template := weir(t, "work-pool", "get-default-base-job-template", "--type", "process").ok(t)
	e := &env{stdin: strings.NewReader(template)}
	weirIn(t, e, "-s", url, "work-pool", "create", "own", "-t", "process", "--base-job-template", "-").ok(t)
	e = &env{stdin: strings.NewReader(`{"variables": {}, "job_konfiguration": {}}`)}
	if got := weirIn(t, e, "-s", url, "work-pool", "create", "bad", "-t", "process", "--base-job-template", "-"); got.code != exitUsage {
		t.Errorf("a bad template: exit code %d, want %d: %s", got.code, exitUsage, got.stderr)
	}
}

func TestDeploymentRun_refusesBeforePublishing(t *testing.T) {
	t.Parallel()
	url, conn := newProject(t)
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"etl -p nmae=x", exitUsage, `"name"`},
		{"etl -p rows=many", exitUsage, "parameters.rows"},
		{"etl --job-variable memry=5", exitUsage, "memory"},
		{"etk", exitNotFound, `did you mean "etl"?`},
		{"etl --pool prod", exitNotFound, "weir work-pool create prod"},
		{"etl --work-queue urgnt", exitNotFound, `did you mean "urgent"?`},
		{"etl --id my.run", exitUsage, `"my-run"`},
		{"etl --id dev-17", exitUsage, "dev-17"},
		{"etl --params [1]", exitUsage, "--params is a JSON array"},
		{"etl --params {", exitUsage, "--params is not a JSON object"},
		{"etl --timeout 0s", exitUsage, "--timeout is 0s"},
		{"", exitUsage, "DEPLOYMENT"},
		{"etl two", exitUsage, `unexpected argument "two"`},
	} {
		got := weir(t, append([]string{"-s", url, "deployment", "run"}, strings.Fields(tt.args)...)...)
		if got.code != tt.code || !strings.Contains(got.stderr, tt.says) {
			t.Errorf("weir deployment run %s: exit code %d, want %d; want %q in %s", tt.args, got.code, tt.code, tt.says, got.stderr)
		}
	}
	pool, err := conn.Pool(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	if waiting, err := conn.Waiting(t.Context(), pool, 10); err != nil || len(waiting) != 0 {
		t.Errorf("got %d requests, %v, want none", len(waiting), err)
	}
}

func TestDeploymentRun_saysThatNoWorkerIsThere(t *testing.T) {
	t.Parallel()
	url, conn := newProject(t)
	got := weir(t, "-s", url, "deployment", "run", "etl", "--id", "nightly", "--tag", "x")
	got.ok(t)
	if !strings.Contains(got.stdout, "flow-run watch nightly") || !strings.Contains(got.stderr, "worker start --pool dev") {
		t.Errorf("got %s%s", got.stdout, got.stderr)
	}
	first := decodeJSON[requested](t, weir(t, "-s", url, "deployment", "run", "etl", "--idempotency-key", "k", "-j").ok(t))
	second := decodeJSON[requested](t, weir(t, "-s", url, "deployment", "run", "etl", "--idempotency-key", "k", "-j").ok(t))
	if first.Run != second.Run || first.Duplicate || !second.Duplicate {
		t.Errorf("the same key twice: got %+v and %+v, want one run", first, second)
	}
	weir(t, "-s", url, "deployment", "run", "etl", "--id", "ended").ok(t)
	if _, err := consumers.Cancel(t.Context(), conn, "dev", "ended", ""); err != nil {
		t.Fatal(err)
	}
	if again := weir(t, "-s", url, "deployment", "run", "etl", "--id", "ended").ok(t); !strings.Contains(again, "requested before and is cancelled") {
		t.Errorf("an ID that is taken: got %s", again)
	}
	rows := decodeJSON[[]schemas.RunEvent](t, weir(t, "-s", url, "flow-run", "ls", "--state", "scheduled", "-j").ok(t))
	var runs []string
	for _, r := range rows {
		runs = append(runs, r.Run)
	}
	if diff := cmp.Diff([]string{first.Run, "nightly"}, runs); diff != "" {
		t.Errorf("waiting runs, newest first (-want +got):\n%s", diff)
	}
	if out := weir(t, "-s", url, "run", "inspect", "nightly").ok(t); !strings.Contains(out, "Scheduled") {
		t.Errorf("a run that was named by hand and waits: got %s", out)
	}
}

func TestNotFound_namesWhatThereIs(t *testing.T) {
	t.Parallel()
	url, _ := newProject(t)
	for args, says := range map[string]string{
		"worker ls --pool dve":              `"dev"`,
		"work-pool inspect dve":             `"dev"`,
		"work-queue inspect urgnt -p dev":   `"urgent"`,
		"deployment inspect elt":            `"etl"`,
		"flow-run inspect dev-99":           "weir flow-run ls",
		"flow-run logs dev-99":              "weir flow-run ls",
		"flow-run watch dev-99":             "weir flow-run ls",
		"dead-letter inspect 7":             "weir dead-letter ls",
		"worker drain w9 --pool dev":        "not online; see them with: weir worker ls --pool dev",
		"flow-run ls --pool dve":            `"dev"`,
		"flow-run ls --deployment elt":      `"etl"`,
		"flow-run cancel --pool dve -f":     `"dev"`,
		"flow-run retry --pool dve -f":      `"dev"`,
		"deployment ls --pool dve":          `"dev"? If not, create it with`,
		"dead-letter ls --pool dve":         `"dev"`,
		"dead-letter retry --pool dve":      `"dev"`,
		"work-pool inspect no.such.pool":    "no.such.pool",
		"deployment render etl --pool prod": "weir work-pool create prod",
	} {
		got := weir(t, append([]string{"-s", url}, strings.Fields(args)...)...)
		if got.code != exitNotFound || !strings.Contains(got.stderr, says) {
			t.Errorf("weir %s: exit code %d, want %d; want %q in %s", args, got.code, exitNotFound, says, got.stderr)
		}
	}
}

func TestNoConnection_saysHowToStartOne(t *testing.T) {
	t.Parallel()
	got := weir(t, "-s", "nats://127.0.0.1:1", "--timeout", "1s", "work-pool", "ls")
	if got.code != exitNoConnection || !strings.Contains(got.stderr, "weir up") {
		t.Errorf("exit code %d, want %d: %s", got.code, exitNoConnection, got.stderr)
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	names := func(kind string) []string { return []string{"live-" + kind} }
	for line, want := range map[string][]string{
		"work-":                       {"work-pool", "work-queue"},
		"deployment re":               {"render"},
		"deployment run ":             {"live-deployment"},
		"deployment run live-d":       {"live-deployment"},
		"deployment run x ":           nil,
		"deployment run x --wa":       {"--watch"},
		"deployment run x --pool ":    {"live-pool"},
		"worker start -p ":            {"live-pool"},
		"work-pool inspect ":          {"live-pool"},
		"pool rm l":                   {"live-pool"},
		"flow-run logs ":              {"live-run"},
		"run ls -o js":                {"json", "jsonl"},
		"work-pool create x --type p": {"process"},
		"deploy -f ":                  {":files"},
		"worker drain live-w":         {"live-worker"},
		"queue rm ":                   {"live-queue"},
		"dead-letter retry 1 ":        {"live-dead letter"},
		"dead rm --reason rej":        {"rejected"},
		"completion ":                 {"live-shell"},
		"-s nats://x work-q":          {"work-queue"},
	} {
		got := complete(newApp(&env{}), strings.Split(line, " "), names)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
}

func TestComplete_asksNATSForNames(t *testing.T) {
	t.Parallel()
	url, _ := newProject(t)
	if got := weir(t, "__complete", "-s", url, "work-pool", "inspect", "d").ok(t); got != "dev\n" {
		t.Errorf("got %q, want dev", got)
	}
	if got := weir(t, "__complete", "-s", "nats://127.0.0.1:1", "work-pool", "inspect", "").ok(t); got != "" {
		t.Errorf("without NATS: got %q, want nothing", got)
	}
	bash := exec.Command("bash", "-c", `source <(weir completion bash)
		COMP_LINE="weir --server $1 work-pool inspect d"; COMP_POINT=${#COMP_LINE}; _weir; echo "${COMPREPLY[@]}"`, "bash", url)
	bash.Env = append(os.Environ(), "PATH="+filepath.Dir(weirBinary)+":"+os.Getenv("PATH"))
	if out, err := bash.CombinedOutput(); err != nil || string(out) != "dev\n" {
		t.Errorf("in bash: got %q, %v, want dev", out, err)
	}
	for _, shell := range shells {
		if out := weir(t, "completion", shell).ok(t); !strings.Contains(out, "weir __complete") {
			t.Errorf("%s: got %s", shell, out)
		}
	}
}

func TestWorkQueueDelete_asksAndTakesWhatWaits(t *testing.T) {
	t.Parallel()
	url, conn := newProject(t)
	do := func(args string) result { return weir(t, strings.Fields("-s "+url+" "+args)...) }
	do("deployment run etl -q urgent").ok(t)
	d, err := conn.Deployment(t.Context(), "etl")
	if err != nil {
		t.Fatal(err)
	}
	d.Queue = "urgent"
	if _, err := conn.PutDeployment(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if got := do("work-queue delete urgent --pool dev"); got.code != exitRefused || !strings.Contains(got.stderr, "1 run") ||
		!strings.Contains(got.stderr, "etl") || !strings.Contains(got.stderr, "--force") {
		t.Errorf("without a terminal: exit code %d, want %d, and what is lost: %s", got.code, exitRefused, got.stderr)
	}
	for args, code := range map[string]int{
		"work-queue delete default --pool dev --force": exitRefused,
		"work-queue delete urgnt --pool dev --force":   exitNotFound,
		"work-queue delete urgent --pool dve --force":  exitNotFound,
		"work-queue delete urgent --force":             exitUsage,
	} {
		if got := do(args); got.code != code {
			t.Errorf("weir %s: exit code %d, want %d: %s", args, got.code, code, got.stderr)
		}
	}
	do("work-queue rm urgent --pool dev --force").ok(t)
	if got := do("deployment run etl"); got.code != exitNotFound || !strings.Contains(got.stderr, "urgent") {
		t.Errorf("a run in it: exit code %d, want %d: %s", got.code, exitNotFound, got.stderr)
	}
}

func TestWorkerDrain_ofOneThatIsNotThereNamesIt(t *testing.T) {
	t.Parallel()
	url, _ := newProject(t)
	for args, code := range map[string]int{"nobody --pool dev": exitNotFound, "nobody --pool dve": exitNotFound, "nobody": exitUsage, "--pool dev": exitUsage, "a.b --pool dev": exitUsage} {
		got := weir(t, strings.Fields("-s "+url+" worker drain "+args)...)
		if got.code != code || code == exitNotFound && !strings.Contains(got.stderr, "nobody") && !strings.Contains(got.stderr, "dve") {
			t.Errorf("weir worker drain %s: exit code %d, want %d: %s", args, got.code, code, got.stderr)
		}
	}
}

// What changes or deletes something prints it as JSON too: the record as it is now, or as it was.
func TestChanges_areJSONWhenAsked(t *testing.T) {
	t.Parallel()
	url, conn := newProject(t)
	weir(t, "-s", url, "deployment", "run", "etl", "-q", "urgent").ok(t)
	type record struct {
		Name   string `json:"name"`
		Pool   string `json:"pool"`
		Paused bool   `json:"paused"`
		Depth  int    `json:"depth"`
	}
	for _, tt := range []struct {
		args string
		want record
	}{
		{"work-pool pause dev", record{Name: "dev", Paused: true}},
		{"work-pool resume dev", record{Name: "dev"}},
		{"work-queue delete urgent --pool dev --force", record{Name: "urgent", Pool: "dev", Depth: 1}},
		{"deployment delete etl --force", record{Name: "etl", Pool: "dev"}},
		{"work-pool delete dev --force", record{Name: "dev"}},
	} {
		do := func(format string) result {
			return weir(t, append([]string{"-s", url}, strings.Fields(tt.args+" -o "+format)...)...)
		}
		if got := do("jsn"); got.code != exitUsage {
			t.Errorf("%s -o jsn: exit code %d, want %d before anything is done", tt.args, got.code, exitUsage)
		}
		if diff := cmp.Diff(tt.want, decodeJSON[record](t, do("json").ok(t))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.args, diff)
		}
	}
	if pools, err := conn.Pools(t.Context()); err != nil || len(pools) != 0 {
		t.Errorf("got pools %v, %v, want none", pools, err)
	}
}
