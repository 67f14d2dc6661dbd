//go:build race

package model

// raced: the search is one goroutine, so the race detector has nothing to find and takes ten times as long.
const raced = true
