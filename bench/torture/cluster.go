//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// A node is one nats-server of the cluster. It reaches each of the others through a link of its own.
type node struct {
	*program
	client  string           // host:port for clients
	cluster string           // host:port for the other nodes
	routes  map[string]*link // to the other nodes, by their names
	disk    *disk            // nil: its store is on an ordinary one
}

// diskMegabytes is the size of a disk that gets filled: room enough for what a torture stores, and for JetStream's own needs.
const diskMegabytes = 512

// nodeConfig is a node's configuration. Nodes tell each other and their clients of further addresses, which would lead past
// the links: no_advertise keeps the clients' back, and the one for routes leads nowhere.
var nodeConfig = template.Must(template.New("node").Parse(`server_name: {{.Name}}
listen: "{{.Client}}"
ping_interval: "5s"
jetstream { store_dir: "{{.Store}}", max_file_store: 4GB, max_memory_store: 256MB }
{{if .Routes}}cluster {
  name: torture
  listen: "{{.Cluster}}"
  advertise: "127.0.0.1:1"
  no_advertise: true
  routes: [{{range .Routes}}"nats://{{.}}", {{end}}]
}
{{end}}`))

// newCluster makes n nodes with links between them. Nothing runs yet. The last node keeps its store on a disk that can be
// filled, where this user may mount one.
func newCluster(dir, natsServer string, n int, withDisk bool) (nodes []*node, err error) {
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		p, err := newProgram(dir, name, natsServer, "-c", filepath.Join(dir, name, "nats.conf"))
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, &node{program: p, client: freeAddress(), cluster: freeAddress(), routes: map[string]*link{}})
	}
	for i, n := range nodes {
		store := filepath.Join(n.dir, "store")
		if withDisk && i == len(nodes)-1 {
			if n.disk, err = mountDisk(store, diskMegabytes); err != nil && !errors.Is(err, os.ErrPermission) {
				return nil, err
			}
		}
		var routes []string
		for _, other := range nodes {
			if other == n {
				continue
			}
			k, err := openLink(other.cluster)
			if err != nil {
				return nil, err
			}
			n.routes[other.name] = k
			routes = append(routes, k.address())
		}
		var text strings.Builder
		err := nodeConfig.Execute(&text, map[string]any{"Name": n.name, "Client": n.client, "Cluster": n.cluster, "Store": store, "Routes": routes})
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(n.dir, "nats.conf"), []byte(text.String()), 0o600); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// urls is where clients that nothing is done to reach the cluster.
func urls(nodes []*node) string {
	var all []string
	for _, n := range nodes {
		all = append(all, "nats://"+n.client)
	}
	return strings.Join(all, ",")
}

// A line is a client's network: a link to each node.
type line []*link

// openLine makes a client's links.
func openLine(nodes []*node) (line, error) {
	var all line
	for _, n := range nodes {
		k, err := openLink(n.client)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

func (l line) urls() string {
	var all []string
	for _, k := range l {
		all = append(all, "nats://"+k.address())
	}
	return strings.Join(all, ",")
}

// freeAddress is a loopback address that was free a moment ago. It lies below the ports that the kernel gives to connections,
// so that it is still free when a killed program comes back for it.
func freeAddress() string {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12_000+rand.N(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	return "127.0.0.1:0"
}
