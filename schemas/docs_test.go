package schemas

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readPage(t testing.TB, name string) string {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestReasonsPage_explainsEachReason(t *testing.T) {
	sections := strings.Split("\n"+readPage(t, "reasons.md"), "\n## ")
	var got []string
	for _, section := range sections[1:] {
		name, body, _ := strings.Cut(section, "\n")
		got = append(got, name)
		if !strings.Contains(body, "**Means:**") || !strings.Contains(body, "**Do:**") {
			t.Errorf("%s: says not both what it means and what to do", name)
		}
		if !strings.Contains(sections[0], "`"+name+"`") {
			t.Errorf("%s: is not in the table", name)
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(texts(Reasons))), slices.Sorted(slices.Values(got))); diff != "" {
		t.Errorf("headings (-Go +page):\n%s", diff)
	}
}

func TestRunLifePage_drawsEveryStep(t *testing.T) {
	var want []string
	for from, list := range follows {
		for _, to := range list {
			want = append(want, string(from)+" --> "+string(to))
		}
	}
	for _, s := range States {
		if s.Final() {
			want = append(want, string(s)+" --> [*]")
		}
	}
	want = append(want, "[*] --> "+string(Scheduled))
	got := edgesOf(t, readPage(t, "run-life.md"))
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-Go +page):\n%s", diff)
	}
}

// edgesOf returns the arrows of a page's state diagram, without their labels.
func edgesOf(t testing.TB, page string) []string {
	t.Helper()
	_, diagram, ok := strings.Cut(page, "```mermaid\nstateDiagram-v2\n")
	diagram, _, closed := strings.Cut(diagram, "\n```")
	if !ok || !closed {
		t.Fatal("the page has no state diagram")
	}
	edge := regexp.MustCompile(`^\s*(\S+ --> \S+?)(?:\s*:.*)?$`)
	var edges []string
	for line := range strings.SplitSeq(diagram, "\n") {
		m := edge.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("%q is no arrow", line)
		}
		edges = append(edges, m[1])
	}
	return edges
}

func TestRunLifePage_explainsEachState(t *testing.T) {
	page := readPage(t, "run-life.md")
	for _, s := range append([]State{Scheduled}, States...) {
		if !strings.Contains(page, "\n| `"+string(s)+"` | ") {
			t.Errorf("%s has no row in the table of states", s)
		}
	}
}

// The wire page is for people who never see a schema: each field has to be there too.
func TestWirePage_explainsEachFieldAndHeader(t *testing.T) {
	page := readPage(t, "wire.md")
	_, requests, _ := strings.Cut(page, "\n## Asking for a run\n")
	requests, events, found := strings.Cut(requests, "\n## State events\n")
	if !found {
		t.Fatal("the page has no part on requests, or none on events")
	}
	for name := range readSchema(t, RunRequestSchema).Properties {
		if !strings.Contains(requests, "\n| `"+name+"` | ") {
			t.Errorf("field %s of a request has no row", name)
		}
	}
	rows := regexp.MustCompile("(?m)^\\| (`.*?`) \\|").FindAllStringSubmatch(events, -1)
	explained := map[string]bool{}
	for _, row := range rows {
		for name := range strings.SplitSeq(row[1], ", ") {
			explained[strings.Trim(name, "`")] = true
		}
	}
	for name := range readSchema(t, RunEventSchema).Properties {
		if !explained[name] {
			t.Errorf("field %s of an event has no row", name)
		}
	}
	schemas := at[map[string]any](t, readAsyncAPI(t), "components", "schemas")
	for part, schema := range schemas {
		if !strings.HasSuffix(part, "Headers") {
			continue
		}
		for header := range at[map[string]any](t, schema, "properties") {
			if !strings.Contains(page, "`"+header+"`") && !strings.Contains(page, "`"+header+":") {
				t.Errorf("header %s of %s is not explained", header, part)
			}
		}
	}
}

func TestWirePage_namesEverySubject(t *testing.T) {
	page := readPage(t, "wire.md")
	for name, channel := range at[map[string]any](t, readAsyncAPI(t), "channels") {
		address := strings.NewReplacer("{", "<", "}", ">").Replace(at[string](t, channel, "address"))
		if key, ok := strings.CutPrefix(address, "$KV."); ok {
			bucket, key, _ := strings.Cut(key, ".")
			address = bucket + "` | `" + key
		}
		if !strings.Contains(page, "| `"+address+"` |") {
			t.Errorf("%s: %s has no row", name, address)
		}
	}
}

// The event that the page shows is the one that is written.
func TestWirePage_showsARealEvent(t *testing.T) {
	_, example, _ := strings.Cut(readPage(t, "wire.md"), "\n```json\n")
	example, _, found := strings.Cut(example, "\n```\n")
	if !found {
		t.Fatal("the page shows no event")
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "event-completed.golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(golden)), example); diff != "" {
		t.Errorf("(-golden +page):\n%s", diff)
	}
}
