package streamstest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Proxy passes bytes on to a server until it is told to cut the connections, each at a byte of its own, or to block them.
type Proxy struct {
	Rate atomic.Int64 // bytes a second that come from the server; 0: as they come

	address, target string
	wg              sync.WaitGroup

	mu       sync.Mutex
	random   *rand.Rand
	conns    map[net.Conn]bool
	listener net.Listener  // nil: blocked; under mu
	until    int           // so many more messages with the mark are passed on before all is blocked; under mu
	mark     []byte        // nil: none is looked for; under mu
	reached  chan struct{} // closed when the mark blocks; under mu
}

// NewProxy starts one in front of the server at target, HOST:PORT.
func NewProxy(t testing.TB, target string, seed uint64) *Proxy {
	t.Helper()
	p := &Proxy{address: "127.0.0.1:0", target: target, random: rand.New(rand.NewPCG(seed, 99)), conns: map[net.Conn]bool{}}
	p.Unblock(t)
	t.Cleanup(func() {
		p.Block()
		p.wg.Wait()
	})
	return p
}

// URL is where NATS clients connect.
func (p *Proxy) URL() string { return "nats://" + p.address }

// Block closes every connection and takes none, until Unblock.
func (p *Proxy) Block() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.block()
}

// block needs mu.
func (p *Proxy) block() {
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	for c := range p.conns {
		c.Close()
	}
}

// Unblock takes connections again.
func (p *Proxy) Unblock(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return
	}
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	p.listener, p.address = l, l.Addr().String()
	p.wg.Go(func() { p.accept(l) })
}

// BlockAt blocks when a client sends a text for the nth time, which the server does not get. The channel is closed then.
func (p *Proxy) BlockAt(n int, text string) (reached <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until, p.mark, p.reached = n, []byte(text), make(chan struct{})
	return p.reached
}

// passes tells whether what a client sends is passed on.
func (p *Proxy) passes(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mark != nil {
		if p.until -= bytes.Count(b, p.mark); p.until <= 0 {
			p.mark = nil
			p.block()
			close(p.reached)
		}
	}
	return p.listener != nil
}

func (p *Proxy) accept(l net.Listener) {
	for {
		in, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		if p.listener != l {
			in.Close()
			out.Close()
		}
		p.conns[in], p.conns[out] = true, true
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(in, slow{out, &p.Rate}) })
		p.wg.Go(func() { p.pass(marked{out, p}, in) })
	}
}

// marked is a connection that takes what a proxy passes on.
type marked struct {
	net.Conn
	proxy *Proxy
}

func (m marked) Write(b []byte) (int, error) {
	if !m.proxy.passes(b) {
		return 0, net.ErrClosed
	}
	return m.Conn.Write(b)
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
	<-time.After(time.Duration(n) * time.Second / time.Duration(rate))
	return n, err
}

func (p *Proxy) pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		switch outer := c.(type) {
		case slow:
			c = outer.Conn
		case marked:
			c = outer.Conn
		}
		delete(p.conns, c)
	}
	to.Close()
	from.Close()
}

// Cut ends every connection, with what is on its way lost: one side of each goes first.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok && p.random.IntN(2) == 0 {
			_ = tcp.SetLinger(0) // a reset: what the kernel holds is dropped
		}
		c.Close()
	}
}
