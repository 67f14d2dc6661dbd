package main

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// node is one nats-server of a cluster.
type node struct {
	*program
	url    string
	health string // URL where it says whether all that it keeps is there
	args   []string
}

// cluster starts three nats-servers and waits until they agree on a leader.
func cluster(t *testing.T) (nodes []*node, urls string) {
	t.Helper()
	binary, err := natsServer()
	if err != nil {
		t.Fatal(err)
	}
	var routes, all []string
	for range 3 {
		routes = append(routes, "nats://"+freeAddress(t))
	}
	for i, route := range routes {
		host, port, _ := net.SplitHostPort(freeAddress(t))
		_, monitor, _ := net.SplitHostPort(freeAddress(t))
		n := &node{url: "nats://" + host + ":" + port, health: "http://" + host + ":" + monitor + "/healthz", args: []string{
			"--name", fmt.Sprintf("n%d", i+1), "--addr", host, "--port", port, "--http_port", monitor, "--jetstream", "--store_dir", t.TempDir(),
			"--cluster_name", "c", "--cluster", route, "--routes", strings.Join(routes, ","), "--no_advertise",
		}}
		n.program = startProgram(t, t.TempDir(), binary, n.args...)
		nodes, all = append(nodes, n), append(all, n.url)
	}
	for _, n := range nodes {
		n.await(t, "metadata leader")
	}
	return nodes, strings.Join(all, ",")
}

// restart kills a node, starts it again, and waits until it says that it is whole.
func (n *node) restart(t *testing.T) {
	t.Helper()
	n.signal(t, syscall.SIGKILL)
	<-n.ended
	n.program = startProgram(t, n.cmd.Dir, n.cmd.Path, n.args...)
	n.await(t, "metadata leader")
	for limit := time.Now().Add(patience); !n.healthy(t); time.Sleep(50 * time.Millisecond) { // it tells nobody
		if time.Now().After(limit) {
			t.Fatalf("%s has not caught up with the others:\n%s", n.cmd, n.output())
		}
	}
}

func (n *node) healthy(t *testing.T) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.health, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// insist asks for a run until NATS has acknowledged it. It has a name, so that asking again starts nothing twice.
func insist(t *testing.T, conn *streams.Conn, run string) {
	for ctx := t.Context(); ; {
		_, err := conn.Submit(ctx, streams.Request{Pool: "dev", Deployment: "job", RunID: run})
		if err == nil || ctx.Err() != nil {
			return
		}
	}
}

func TestFault_everyNodeOfAClusterIsKilledOnceAndNoRunIsLostNorAnAttemptMadeTwice(t *testing.T) {
	t.Parallel()
	nodes, urls := cluster(t)
	dir := scripted(t, 10, `echo "$WEIR_RUN_ID $WEIR_ATTEMPT" >> ledger; sleep 0.05`)
	server := start(t, dir, "--server", urls, "server", "start", "--replicas", "3", "--http-listen", "off")
	server.await(t, "server is ready")
	mustRun(t, dir, "--server", urls, "work-pool", "create", "dev", "--type", "process", "--replicas", "3", "--ack-wait", "10s")
	mustRun(t, dir, "--server", urls, "deploy")
	conn := connectTo(t, urls)
	for _, stream := range []string{streams.EventStream, "WEIR_POOL_dev", "KV_weir_runs", "KV_weir_config", "KV_weir_workers", streams.LogStream} {
		s, err := conn.JS.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().Config.Replicas; got != len(nodes) {
			t.Fatalf("stream %s: got %d replicas, want %d", stream, got, len(nodes))
		}
	}
	for _, name := range []string{"a", "b"} {
		workerIn(t, dir, urls, name, "--limit", "2")
	}

	asked := make(chan string, 10_000)
	enough := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() { // all the time
		defer close(asked)
		for i := 1; ; i++ {
			run := fmt.Sprintf("run_%d", i)
			insist(t, conn, run)
			asked <- run
			select {
			case <-enough:
				return
			case <-time.After(100 * time.Millisecond): // slower than four slots take them
			}
		}
	})
	ended := func(e schemas.RunEvent) bool { return e.State.Final() }
	for i, n := range nodes {
		n.restart(t)
		run := fmt.Sprintf("after_%d", i+1)
		insist(t, conn, run)
		reached(t, conn, run, ended) // runs go on, and the next node may go
		asked <- run
	}
	close(enough)
	asking.Wait()

	n := 0
	for run := range asked {
		n++
		last, err := conn.LastEventIn(t.Context(), "dev", run)
		e := last.RunEvent
		if err != nil || !ended(e) {
			e = reached(t, conn, run, ended)
		}
		if e.State != schemas.Completed { // an election may take longer than a lease: then the attempt is lost, and another is made
			t.Errorf("run %s: got %s in attempt %d, %s, want completed", run, e.State, e.Attempt, e.Message)
		}
	}
	lines := entries(t, filepath.Join(dir, "ledger"))
	if len(lines) < n {
		t.Errorf("%d runs were asked for, and %d attempts were made", n, len(lines))
	}
	for line, times := range lines {
		if times != 1 {
			t.Errorf("%s was made %d times", line, times)
		}
	}
	t.Logf("%d runs", n)
}
