package streams_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy passes bytes on to a server until it is told to cut the connections, each at a byte of its own.
type proxy struct {
	listener net.Listener
	target   string
	rate     atomic.Int64 // bytes a second that come from the server; 0: as they come
	wg       sync.WaitGroup

	mu     sync.Mutex
	random *rand.Rand
	conns  map[net.Conn]bool
}

func newProxy(t *testing.T, target string, seed uint64) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, random: rand.New(rand.NewPCG(seed, 99)), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.drop()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = true, true
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(in, slow{out, &p.rate}) })
		p.wg.Go(func() { p.pass(out, in) })
	}
}

// slow is a connection that is read at a rate.
type slow struct {
	net.Conn
	rate *atomic.Int64
}

func (s slow) Read(b []byte) (int, error) {
	rate := s.rate.Load()
	if rate == 0 {
		return s.Conn.Read(b)
	}
	n, err := s.Conn.Read(b[:min(len(b), int(rate/100)+1)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
	return n, err
}

func (p *proxy) pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		if s, ok := c.(slow); ok {
			c = s.Conn
		}
		delete(p.conns, c)
	}
	to.Close()
	from.Close()
}

// cut ends every connection, with what is on its way lost: one side of each goes first.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok && p.random.IntN(2) == 0 {
			_ = tcp.SetLinger(0) // a reset: what the kernel holds is dropped
		}
		c.Close()
	}
}

func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}
