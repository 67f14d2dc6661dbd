//go:build !race

package consumers_test

// raced tells whether the race detector looks on, which takes its time.
const raced = false
