package schemas

import (
	"bytes"
	"embed"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed *.schema.json
var files embed.FS

// A Schema is one of the published JSON Schemas (2020-12). It is compiled when it is first used.
type Schema struct {
	name    string // file name without .schema.json
	what    string // what errors call a message of this schema
	compile func() *jsonschema.Schema
}

// The schemas, each in the file of its name. A request is closed, so that a typo in it is an error; what Weir itself writes
// is open, so that a reader goes on when a newer minor version adds a field.
var (
	RunRequestSchema = embedded("run-request", "the run request")
	RunEventSchema   = embedded("run-event", "the run event")
	PoolSchema       = embedded("pool", "the pool")
	DeploymentSchema = embedded("deployment", "the deployment")
	WorkerSchema     = embedded("worker", "the worker")
	DeadLetterSchema = embedded("dead-letter", "the dead letter")
)

func embedded(name, what string) *Schema {
	s := &Schema{name: name, what: what}
	s.compile = sync.OnceValue(func() *jsonschema.Schema {
		c := newCompiler()
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(s.JSON()))
		if err != nil {
			panic(fmt.Sprintf("schema %s: %v", name, err)) // it is in the binary, and a test compiles each
		}
		if err := c.AddResource(s.ID(), doc); err != nil {
			panic(fmt.Sprintf("schema %s: %v", name, err))
		}
		return c.MustCompile(s.ID())
	})
	return s
}

// ID is the schema's $id, which events carry in dataschema.
func (s *Schema) ID() string { return schemaBase + s.file() }

// JSON is the schema as published.
func (s *Schema) JSON() []byte {
	b, err := files.ReadFile(s.file())
	if err != nil {
		panic(err) // embedded above
	}
	return b
}

func (s *Schema) file() string { return s.name + ".schema.json" }

// newCompiler returns a compiler that takes nothing from files or the network: a schema is whole, or it is refused.
func newCompiler() *jsonschema.Compiler {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(noLoader{})
	return c
}

type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema may only refer to its own parts, not to %s", clip(url))
}
