package consumers_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// wide is a cloud of many places, of which a worker knows that starts only what it is told.
type wide struct {
	*cloud
	told []string
	all  []string // when List is called
}

func (w *wide) Place(job json.RawMessage) string {
	var j struct {
		CPU json.RawMessage `json:"cpu"`
	}
	_ = json.Unmarshal(job, &j)
	return "region/" + string(j.CPU)
}

func (w *wide) Survey(places []string) { w.told = places }

func (w *wide) List(context.Context) ([]string, error) {
	w.all = w.told
	return nil, nil
}

// A worker that starts with nothing tells its runner where it has to look for what others left.
func TestReclaim_surveysWhatIsDeployed(t *testing.T) {
	t.Parallel()
	b := newBench(t, time.Minute, nil)
	w := &wide{cloud: b.newCloud(t, nil)}
	b.kind.New = func(context.Context, runners.Config) (runners.Runner, error) { return w, nil }
	for name, cpu := range map[string]string{"one": "1", "two": "2", "again": "2"} {
		b.deploy(t, schemas.Deployment{Name: name, Command: schemas.Command{"true"}, JobVariables: map[string]json.RawMessage{"cpu": json.RawMessage(cpu)}})
	}
	b.start(t, consumers.Config{Name: "w1", Slots: 1})
	if diff := cmp.Diff([]string{"region/", "region/1", "region/2"}, w.all); diff != "" {
		t.Errorf("places at the time of the list (-want +got):\n%s", diff)
	}
}
