package runners_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-run/weir/runners"
)

func TestSetDefaults_changesTheDefaultsAndNothingElse(t *testing.T) {
	t.Parallel()
	template := json.RawMessage(`{"variables": {"type": "object", "required": ["image"], "properties": {
		"image": {"type": "string"}, "cluster": {"type": "string", "title": "Cluster", "default": null}, "any": true}},
		"job_configuration": {"image": "{{ image }}", "cluster": "{{ cluster }}"}}`)
	got, undeclared, err := runners.SetDefaults(template, map[string]json.RawMessage{
		"cluster": json.RawMessage(`"jobs"`), "any": json.RawMessage(`1`), "vpc_id": json.RawMessage(`"vpc-1"`),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"job_configuration":{"image":"{{ image }}","cluster":"{{ cluster }}"},"variables":{"properties":{"any":true,` +
		`"cluster":{"default":"jobs","title":"Cluster","type":"string"},"image":{"type":"string"}},"required":["image"],"type":"object"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("template (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"any", "vpc_id"}, undeclared); diff != "" {
		t.Errorf("not declared (-want +got):\n%s", diff)
	}
	if _, err := runners.ParseTemplate(got); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"variables": {}}`, `{"variables": {"properties": 1}}`} {
		if got, _, err := runners.SetDefaults(json.RawMessage(bad), nil); err == nil {
			t.Errorf("%s: got %s, want an error", bad, got)
		}
	}
}
