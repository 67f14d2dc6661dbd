package streams

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// System identifies this system: workers of several, which know nothing of each other, may share an infrastructure, and each
// must tell what is its own. It is made from the moment at which the event log was created, which a backup keeps, so it is
// there in every system and nobody has to write it: eight hexadecimal digits.
func (c *Conn) System(ctx context.Context) (string, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	stream, err := c.JS.Stream(ctx, EventStream)
	if err != nil {
		return "", fmt.Errorf("ask for the system's identity: %w", unavailable(c.url, err))
	}
	hash := sha256.Sum256(strconv.AppendInt(nil, stream.CachedInfo().Created.UnixNano(), 10))
	return hex.EncodeToString(hash[:4]), nil
}
