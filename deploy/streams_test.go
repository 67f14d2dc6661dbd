package deploy

import "github.com/weir-run/weir/streams"

// What streams keeps is what a plan is made from and applied to.
var (
	_ State  = (*streams.Conn)(nil)
	_ Target = (*streams.Conn)(nil)
)
