package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
)

// schemaKey is where a system says in the config bucket which schema its messages and records have.
const schemaKey = "schema"

// schemaRecord is the value of schemaKey. Within a major version, old and new programs work together: unknown fields are
// ignored, new ones optional.
type schemaRecord struct {
	Version   int    `json:"version"`    // major; schemas.Version without its v
	WrittenBy string `json:"written_by"` // the program that set the system up, for people
}

// schemaVersion is the one that this program reads and writes.
func schemaVersion() (major int) {
	_, _ = fmt.Sscanf(schemas.Version, "v%d", &major)
	return major
}

// checkSchema refuses a system of another major version. One that nobody has set up yet, or that has no record, passes.
func (c *Conn) checkSchema(ctx context.Context) error {
	kv, err := c.JS.KeyValue(ctx, ConfigBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil
	} else if err != nil {
		return fmt.Errorf("open bucket %s: %w", ConfigBucket, unavailable(c.url, err))
	}
	c.buckets.Store(ConfigBucket, kv)
	e, err := kv.Get(ctx, schemaKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	} else if err != nil {
		return fmt.Errorf("read %s of bucket %s: %w", schemaKey, ConfigBucket, unavailable(c.url, err))
	}
	var r schemaRecord
	if err := json.Unmarshal(e.Value(), &r); err != nil {
		return fmt.Errorf("%w: %s of bucket %s is no version record: %w", ErrUnavailable, schemaKey, ConfigBucket, err)
	}
	if problem := r.problem(schemaVersion(), c.url); problem != "" {
		return fmt.Errorf("%w: %s", ErrUnavailable, problem)
	}
	return nil
}

// problem says why a program that reads version ours cannot work with the system at url; empty: it can.
func (r schemaRecord) problem(ours int, url string) string {
	switch {
	case r.Version > ours:
		return fmt.Sprintf("this weir reads schema v%d, the system at %s is at v%d (set up by %s): upgrade this weir", ours, url, r.Version, r.WrittenBy)
	case r.Version < ours:
		return fmt.Sprintf("this weir reads schema v%d, the system at %s is still at v%d (set up by %s): use a weir of that version with it, or this one with a NATS that is set up anew",
			ours, url, r.Version, r.WrittenBy)
	}
	return ""
}

// recordSchema writes the version record where there is none.
func (c *Conn) recordSchema(ctx context.Context) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	kv, err := c.bucket(ctx, ConfigBucket)
	if err != nil {
		return err
	}
	b, err := json.Marshal(schemaRecord{Version: schemaVersion(), WrittenBy: "weir " + programVersion()})
	if err != nil {
		return fmt.Errorf("write %s: %w", schemaKey, err)
	}
	if _, err := kv.Create(ctx, schemaKey, b); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("write %s to bucket %s: %w", schemaKey, ConfigBucket, unavailable(c.url, err))
	}
	return nil
}

// programVersion is what Go recorded of the program's own module.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
