// Package examples tests that the examples do what they say, without Weir: the flows are plain Python.
package examples

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type sum struct {
	Orders int   `json:"orders"`
	Amount int64 `json:"amount_cents"`
}

type totals struct {
	sum
	Regions map[string]sum `json:"regions"`
}

// The totals are computed twice: by SQLite in the flow, and here from the CSV.
func TestHeavyETL_totalsAreThoseOfTheFile(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "orders.csv")
	var got totals
	call(t, "heavy_etl", "heavy_etl_flow", map[string]any{"source": source}, &got)

	f, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := totals{Regions: map[string]sum{}}
	for _, row := range rows[1:] {
		amount := number(t, row[3]) * number(t, row[4])
		region := want.Regions[row[1]]
		region.Orders, region.Amount = region.Orders+1, region.Amount+amount
		want.Regions[row[1]] = region
		want.Orders, want.Amount = want.Orders+1, want.Amount+amount
	}
	if want.Orders != 100_000 || len(want.Regions) != 5 {
		t.Errorf("got %d orders in %d regions, want 100000 in 5", want.Orders, len(want.Regions))
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(totals{})); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
}

// The README and other tests may count on the file: a fixed seed gives these bytes on every machine.
func TestGenerateOrders_writesTheSameBytesEverywhere(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "orders.csv")
	if out, err := exec.CommandContext(t.Context(), "python3", "quickstart/generate_orders.py", file).CombinedOutput(); err != nil {
		t.Fatalf("generate_orders.py: %v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(b)
	const want = "171d68ad011c774a4e35e276c02c10b2de0fb9f2d9fecf5acd33764876425311"
	if got := hex.EncodeToString(digest[:]); got != want {
		t.Errorf("SHA-256 of orders.csv: got %s, want %s", got, want)
	}
}

func TestMyFlow_greetsByName(t *testing.T) {
	t.Parallel()
	var got string
	out := call(t, "my_flow", "my_flow", map[string]any{"name": "weir"}, &got)
	if want := "Hello, weir!"; got != want {
		t.Errorf("my_flow: got %q, want %q", got, want)
	}
	if want := "Hello, weir! This line is in the run's log."; !strings.Contains(out, want) {
		t.Errorf("my_flow printed %q, want a line %q", out, want)
	}
}

// The container's function does the same without a container.
func TestPrimes_areCounted(t *testing.T) {
	t.Parallel()
	type answer struct {
		Below, Primes int
		Largest       *int
	}
	two, last := 2, 99991
	for _, want := range []answer{{0, 0, nil}, {2, 0, nil}, {3, 1, &two}, {100_000, 9592, &last}} {
		var got answer
		callIn(t, "docker", "primes", "primes", map[string]any{"below": want.Below}, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("primes below %d (-want +got):\n%s", want.Below, diff)
		}
	}
}

// call runs a function of the quickstart's flows.
func call(t *testing.T, module, function string, arguments map[string]any, result any) (printed string) {
	t.Helper()
	return callIn(t, "quickstart", module, function, arguments, result)
}

// callIn runs a function of an example's flows in Python, with nothing installed, and reads what it returns into result.
func callIn(t *testing.T, example, module, function string, arguments map[string]any, result any) (printed string) {
	t.Helper()
	const launch = `
import importlib, json, sys
sys.path.insert(0, "flows")
value = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])(**json.loads(sys.argv[3]))
with open(sys.argv[4], "w") as f:
    json.dump(value, f)
`
	args, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "result.json")
	cmd := exec.CommandContext(t.Context(), "python3", "-I", "-c", launch, module, function, string(args), file)
	cmd.Dir = example
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s.%s: %v\n%s", module, function, err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, result); err != nil {
		t.Fatalf("%s.%s returned %s: %v", module, function, b, err)
	}
	return string(out)
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
