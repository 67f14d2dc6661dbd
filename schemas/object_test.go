package schemas

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestCompileObject_readsBothDraftsOfPrefect(t *testing.T) {
	for _, tt := range []struct{ name, schema string }{
		{"2020-12", `{"properties":{"a":{"prefixItems":[{"type":"string"}],"$ref":"#/$defs/l"}},"$defs":{"l":{"maxItems":1}}}`},
		{"draft 7", `{"properties":{"a":{"items":[{"type":"string"}],"allOf":[{"$ref":"#/definitions/l"}]}},"definitions":{"l":{"maxItems":1}}}`},
		{"draft 7, named", `{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"a":{"items":[{"type":"string"}],"maxItems":1}}}`},
	} {
		s, err := CompileObject("the thing", "root", json.RawMessage(tt.schema))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err := s.Check(json.RawMessage(`{"a":["x"]}`)); err != nil {
			t.Errorf("%s: got %v, want no error", tt.name, err)
		}
		for _, bad := range []string{`{"a":[1]}`, `{"a":["x","y"]}`, `{"a":`} {
			err := s.Check(json.RawMessage(bad))
			if _, ok := errors.AsType[*InvalidError](err); !ok || !strings.Contains(err.Error(), "root") {
				t.Errorf("%s: Check(%s) = %v, want an *InvalidError about root", tt.name, bad, err)
			}
		}
	}
}

func TestCompileObject_refusesWhatIsNoSchema(t *testing.T) {
	for _, bad := range []string{``, `{`, `{"type":"strin"}`, `{"$ref":"file:///etc/passwd"}`, `{"$ref":"#/$defs/none"}`} {
		if _, err := CompileObject("the thing", "root", json.RawMessage(bad)); err == nil {
			t.Errorf("CompileObject(%s): got no error", bad)
		}
	}
}
