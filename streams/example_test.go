package streams_test

import (
	"context"
	"fmt"

	"github.com/weir-run/weir/streams"
)

// A program that requests a run and waits for its end.
func ExampleConn_Submit() {
	ctx := context.Background()
	conn, err := streams.Connect(ctx, streams.Config{Name: "billing"}) // NATS_URL and contexts are the caller's to read
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	run, err := conn.Submit(ctx, streams.Request{
		Pool: "development", Deployment: "my-flow", Body: []byte(`{"parameters": {"name": "Ada"}}`), DedupeID: "invoice-17",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = conn.WatchRun(ctx, run.Run, func(e streams.Recorded) error {
		fmt.Println(e.State, e.Message)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
}
