//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// bulkRequests measures how fast requests are stored in a pool, against the same bodies published asynchronously into a plain file
// stream on the same server over the same kind of connection. Pool and stream are new at every turn.
func bulkRequests(ctx context.Context, b *bench) ([]row, error) {
	nats, addr, _, conn, err := b.startNATS(ctx, filepath.Join(b.dir, "bulk"))
	if err != nil {
		return nil, err
	}
	defer nats.stop()
	defer conn.Close()
	if err := conn.Setup(ctx, 1); err != nil {
		return nil, err
	}
	body := []byte(`{"parameters": {"day": "2026-11-24", "rows": 100000}, "tags": ["nightly"]}`)

	ceiling := func() (float64, error) {
		return withConn(ctx, addr, func(conn *streams.Conn) (float64, error) {
			const name = "BARE"
			if _, err := conn.JS.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{"bare.>"}, Storage: jetstream.FileStorage}); err != nil {
				return 0, err
			}
			began := time.Now()
			for range b.bulk {
				if _, err := conn.JS.PublishAsync("bare.run.bulk.default.noop", body); err != nil {
					return 0, err
				}
			}
			<-conn.JS.PublishAsyncComplete()
			took := time.Since(began)
			return float64(b.bulk) / took.Seconds(), conn.JS.DeleteStream(ctx, name)
		})
	}
	system := func() (float64, error) {
		return withConn(ctx, addr, func(conn *streams.Conn) (float64, error) {
			p, err := conn.CreatePool(ctx, schemas.Pool{Name: "bulk", Type: "process"})
			if err != nil {
				return 0, err
			}
			began := time.Now()
			if err := submit(ctx, conn, p.Name, noop, body, b.bulk); err != nil {
				return 0, err
			}
			took := time.Since(began)
			return float64(b.bulk) / took.Seconds(), conn.DeletePool(ctx, p.Name)
		})
	}
	c, s, ratio, err := turns(b, ceiling, system)
	return []row{{"bulk requests", fmt.Sprintf("%.0f/s", s), fmt.Sprintf("async publish %.0f/s", c), fmt.Sprintf("%.2f", ratio), "≥ 0.8"}}, err
}

func withConn(ctx context.Context, addr string, do func(*streams.Conn) (float64, error)) (float64, error) {
	conn, err := streams.Connect(ctx, streams.Config{Name: "bench", Server: "nats://" + addr})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return do(conn)
}
