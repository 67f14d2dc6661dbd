package streamstest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster starts three NATS servers on loopback that form a cluster, and returns them once it has a leader.
func Cluster(t testing.TB) []*server.Server {
	t.Helper()
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, l.Addr().String())
		l.Close()
	}
	var servers []*server.Server
	for i, route := range routes {
		_, port, _ := net.SplitHostPort(route)
		number, _ := strconv.Atoi(port)
		servers = append(servers, start(t, &server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: number}, Routes: server.RoutesFromStr("nats://" + strings.Join(routes, ",nats://")),
		}))
	}
	led := func() bool {
		return slices.ContainsFunc(servers, func(s *server.Server) bool {
			return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers)
		})
	}
	for limit := time.Now().Add(20 * time.Second); !led(); <-time.After(10 * time.Millisecond) { // it tells nobody
		if time.Now().After(limit) {
			t.Fatal("the cluster has no leader after 20 s")
		}
	}
	return servers
}
