package runners

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// DecodeJob reads a rendered job configuration into job, a pointer to the pool type's own struct. The error says which field is wrong and how.
func DecodeJob(b json.RawMessage, job any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(job)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("job configuration: %s is a %s, want %s", wrong.Field, wrong.Value, wrong.Type)
	} else if err != nil {
		return fmt.Errorf("job configuration: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
