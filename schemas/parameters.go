package schemas

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
)

// CheckParameters validates params, a JSON object, against a deployment's parameter schema. An empty schema lets anything
// pass; empty params are an empty object. What is wrong with params is an [*InvalidError]; any other error is the schema's.
func CheckParameters(schema, params json.RawMessage) error {
	if len(bytes.TrimSpace(schema)) == 0 {
		schema = json.RawMessage(`true`)
	}
	if len(bytes.TrimSpace(params)) == 0 {
		params = json.RawMessage(`{}`)
	}
	compiled, err := parameterSchemas.get(schema)
	if err != nil {
		return fmt.Errorf("parameter schema: %w", err)
	}
	return compiled.Check(params)
}

// parameterSchemas is shared by all workers of a process: a deployment's schema is compiled once, not once a run.
var parameterSchemas = schemaCache{byContent: map[[sha256.Size]byte]cached{}}

// maxCached is more parameter schemas than one process is likely to meet. Past it the cache starts again.
const maxCached = 512

type schemaCache struct {
	mu        sync.Mutex
	byContent map[[sha256.Size]byte]cached // under mu
}

// cached is what came of compiling a schema; one that is wrong is not compiled again either.
type cached struct {
	schema *ObjectSchema
	err    error
}

func (c *schemaCache) get(schema json.RawMessage) (*ObjectSchema, error) {
	key := sha256.Sum256(schema)
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.byContent[key]
	if !ok {
		if len(c.byContent) >= maxCached {
			clear(c.byContent)
		}
		found.schema, found.err = CompileObject("the parameters", "parameters", schema)
		c.byContent[key] = found
	}
	return found.schema, found.err
}
