//go:build linux

package main

import (
	"net"
	"sync"
	"time"
)

// A link is a TCP proxy on loopback that stands for the network between one program and one NATS node. Cut, it keeps
// connections open and passes nothing on, as a network does that drops packets; what was sent arrives when it is healed.
type link struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu     sync.Mutex
	cut    [2]bool // towards the target, and back; under mu
	delay  time.Duration
	healed *sync.Cond
	conns  map[net.Conn]bool // under mu
	closed bool              // under mu
}

// openLink listens on a free port for connections to target.
func openLink(target string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{listener: l, target: target, conns: map[net.Conn]bool{}}
	k.healed = sync.NewCond(&k.mu)
	k.wg.Go(k.accept)
	return k, nil
}

func (k *link) address() string { return k.listener.Addr().String() }

func (k *link) accept() {
	for {
		near, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.wg.Go(func() { k.serve(near) })
	}
}

// serve passes one connection on, which is made only when the link is not cut.
func (k *link) serve(near net.Conn) {
	defer near.Close()
	if !k.keep(near) {
		return
	}
	defer k.drop(near)
	if _, ok := k.pass(0); !ok {
		return
	}
	far, err := net.DialTimeout("tcp", k.target, 2*time.Second)
	if err != nil {
		return // nobody is there
	}
	defer far.Close()
	if !k.keep(far) {
		return
	}
	defer k.drop(far)
	var both sync.WaitGroup
	both.Go(func() { k.pump(near, far, 0) })
	both.Go(func() { k.pump(far, near, 1) })
	both.Wait()
}

// pump copies one direction until either end closes; then it closes both.
func (k *link) pump(from, to net.Conn, direction int) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		delay, ok := k.pass(direction)
		if !ok {
			return
		}
		if delay > 0 {
			<-time.After(delay)
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits while the direction is cut. ok is false when the link is closed.
func (k *link) pass(direction int) (delay time.Duration, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.cut[direction] && !k.closed {
		k.healed.Wait()
	}
	return k.delay, !k.closed
}

func (k *link) keep(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.conns[c] = true
	}
	return !k.closed
}

func (k *link) drop(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

// set cuts the link in each direction, or heals it, and sets how much later what is sent arrives.
func (k *link) set(there, back bool, delay time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut, k.delay = [2]bool{there, back}, delay
	k.healed.Broadcast()
}

// reset breaks every connection at once.
func (k *link) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // so that closing sends a reset
		}
		c.Close()
	}
}

func (k *link) close() {
	k.listener.Close()
	k.mu.Lock()
	k.closed = true
	k.healed.Broadcast()
	k.mu.Unlock()
	k.reset()
	k.wg.Wait()
}
