//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/bench/torture/history"
	"github.com/weir-run/weir/streams"
)

// onTheirWay are how many runs may be on their way before no more are asked for, one after another: with few of them workers have
// free slots and their requests for more wait in NATS, with many there is a backlog.
var onTheirWay = []int{4, 8, 12, 16, 40}

// phase is how long each of them holds.
const phase = 15 * time.Second

// requests publishes run requests and writes down which were acknowledged.
type requests struct {
	conn     *streams.Conn
	recorder *recorder
	file     *history.Writer
	cancels  *history.Writer
	random   *rand.Rand
	seed     uint64
	wg       sync.WaitGroup

	acknowledged atomic.Int64

	mu   sync.Mutex
	open map[string]bool // acknowledged runs of which no final state has come; under mu
}

func newRequests(s *system, r *recorder, seed uint64) (*requests, error) {
	w, err := history.Append(filepath.Join(s.dir, history.RequestsFile))
	if err != nil {
		return nil, err
	}
	c, err := history.Append(filepath.Join(s.dir, history.CancelsFile))
	return &requests{conn: s.conn, recorder: r, file: w, cancels: c, seed: seed, random: rand.New(rand.NewPCG(seed, 1)), open: map[string]bool{}}, err
}

// run publishes until ctx ends, and returns when it knows of every request what became of it.
func (q *requests) run(ctx context.Context) {
	defer q.wg.Wait()
	most, next := pick(q.random, onTheirWay), time.NewTicker(phase)
	defer next.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			most = pick(q.random, onTheirWay)
		case <-time.After(time.Duration(q.random.Int64N(int64(300 * time.Millisecond)))):
		}
		if q.unfinished() >= most {
			continue
		}
		d := q.choose()
		request := streams.Request{Pool: pool, Deployment: d.name}
		twice := false
		if q.random.IntN(3) == 0 { // a run that has a name, asked for by two at once now and then
			request.RunID, twice = fmt.Sprintf("named-%d-%d", q.seed, n), q.random.IntN(2) == 0
		}
		q.wg.Go(func() { q.publish(request) })
		if twice {
			q.wg.Go(func() { q.publish(request) })
		}
	}
}

func (q *requests) choose() deployment {
	sum := 0
	for _, d := range deployments {
		sum += d.weight
	}
	at := q.random.IntN(sum)
	for _, d := range deployments {
		if at -= d.weight; at < 0 {
			return d
		}
	}
	return deployments[0]
}

// publish asks for a run. One that has a name is asked for again until it is acknowledged; of others it is not known whether
// an unacknowledged request was stored.
func (q *requests) publish(request streams.Request) {
	for try := 0; ; try++ {
		got, err := q.conn.Submit(context.Background(), request)
		line := history.Request{Run: request.RunID, Deployment: request.Deployment, Acknowledged: err == nil, At: history.Clock()}
		if err == nil {
			line.Run = got.Run
			q.mu.Lock()
			q.open[got.Run] = true
			q.mu.Unlock()
			q.acknowledged.Add(1)
		}
		if writeErr := q.file.Write(line); writeErr != nil {
			panic(writeErr) // without it the history is worth nothing
		}
		if err == nil || request.RunID == "" || try == 30 {
			return
		}
		<-time.After(200 * time.Millisecond)
	}
}

// unfinished counts the acknowledged runs of which no final state has come.
func (q *requests) unfinished() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	for run := range q.open {
		if q.recorder.state(run).Final() {
			delete(q.open, run)
		}
	}
	return len(q.open)
}

// any is one of the acknowledged runs of which no final state had come when it was last looked, or empty: there is none.
func (q *requests) any(r *rand.Rand) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := slices.Sorted(maps.Keys(q.open))
	if len(all) == 0 {
		return ""
	}
	return pick(r, all)
}

// cancel asks for the cancel of a run, once.
func (q *requests) cancel(run string) error {
	line := history.Cancel{Run: run, At: history.Clock()}
	line.Acknowledged = q.conn.RequestCancel(context.Background(), pool, run, "torture") == nil
	return q.cancels.Write(line)
}
