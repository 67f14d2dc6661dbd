package consumers_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// A run that is requested once a deployment is recorded is of that deployment, and not of the one before it, however far behind the
// worker's watch is.
func TestDeployment_isTheOneThatWasRecordedBeforeTheRequest(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, ends(runners.Result{}))
	b.worker(t, "w1", 1)
	for n := range 20 {
		for range 20 { // which keep the watch busy
			b.deploy(t, schemas.Deployment{Name: "other", Command: schemas.Command{"true"}})
		}
		b.deploy(t, schemas.Deployment{Name: "hello", Command: schemas.Command{"true"}, Parameters: map[string]json.RawMessage{"n": json.RawMessage(fmt.Sprint(n))}})
		b.request(t, "")
		if got, want := string((<-b.infra.began).spec.Parameters), fmt.Sprintf(`{"n":%d}`, n); got != want {
			t.Fatalf("got a run with %s, want %s", got, want)
		}
	}
	if err := b.DeleteDeployment(t.Context(), "hello"); err != nil {
		t.Fatal(err)
	}
	if got, want := states(b.events(t, b.request(t, ""))), []string{"failed 0 rejected"}; !cmp.Equal(got, want) {
		t.Errorf("after its deletion: got %v, want %v", got, want)
	}
}

// What it costs to know that does not grow with what waits.
func TestDeployment_isAskedForOnceForAllThatWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, ends(runners.Result{}))
	asked, err := b.NC.SubscribeSync("$JS.API.STREAM.MSG.GET.KV_" + streams.ConfigBucket)
	if err != nil {
		t.Fatal(err)
	}
	var runs []string
	for range 50 {
		runs = append(runs, b.request(t, ""))
	}
	before, _, err := asked.Pending()
	if err != nil {
		t.Fatal(err)
	}
	b.worker(t, "w1", 1)
	for _, run := range runs {
		b.events(t, run)
	}
	after, _, err := asked.Pending()
	if err != nil {
		t.Fatal(err)
	}
	if n := after - before; n < 2 || n > 4 {
		t.Errorf("got %d lookups, want one for the pool, one for the deployment, and no more for the other runs", n)
	}
}
