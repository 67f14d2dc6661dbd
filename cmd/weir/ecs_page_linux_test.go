package main

import (
	"testing"

	"github.com/weir-run/weir/runners/ecs"
)

// The page's table has the variables that there are, no more and no fewer.
func TestEcs_pageNamesEveryJobVariable(t *testing.T) {
	t.Parallel()
	namesEveryVariable(t, "ecs.md", ecs.Type.Template)
}
