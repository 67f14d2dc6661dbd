package process

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// poller is epoll with an owner for each descriptor.
type poller struct {
	fd      int
	bell    int // an eventfd that wakes the loop
	sources []source
	events  [128]unix.EpollEvent
}

// source is whose a descriptor is: a job's (stream 0 or 1: a pipe; -1: its pidfd), a worker's, or the listener's.
type source struct {
	job    *job
	peer   *peer
	stream int
	used   bool
	gen    int32 // tells an event of a closed descriptor from one of its successor under the same number
}

func newPoller() (p poller, err error) {
	p.fd, p.bell = -1, -1
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return p, fmt.Errorf("make epoll: %w", err)
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		p.close()
		return p, fmt.Errorf("make eventfd: %w", err)
	}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, p.bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.bell)}); err != nil {
		p.close()
		return p, fmt.Errorf("watch eventfd: %w", err)
	}
	return p, nil
}

// add watches fd until it is dropped.
func (p *poller) add(fd int, events uint32, src source) error {
	for fd >= len(p.sources) {
		p.sources = append(p.sources, make([]source, 64+len(p.sources))...)
	}
	src.used, src.gen = true, p.sources[fd].gen+1
	p.sources[fd] = src
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd), Pad: src.gen}); err != nil {
		return fmt.Errorf("watch descriptor: %w", err)
	}
	return nil
}

// change watches fd for other events.
func (p *poller) change(fd int, events uint32) {
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd), Pad: p.sources[fd].gen})
}

// drop ends the watch of fd and closes it. Closing alone would not end the watch while a child between fork and exec has
// the same open file.
func (p *poller) drop(fd int) {
	if fd < len(p.sources) && p.sources[fd].used {
		p.sources[fd] = source{gen: p.sources[fd].gen + 1}
		_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil)
	}
	unix.Close(fd)
}

// source returns whose event e is, unless its descriptor was dropped since.
func (p *poller) source(e unix.EpollEvent) (source, bool) {
	if int(e.Fd) == p.bell || int(e.Fd) >= len(p.sources) {
		return source{}, false
	}
	src := p.sources[e.Fd]
	return src, src.used && src.gen == e.Pad
}

// wait returns what happened, after timeout at the latest; below 0: no limit. The events are valid until the next call.
func (p *poller) wait(timeout time.Duration) ([]unix.EpollEvent, error) {
	ms := -1
	if timeout >= 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	n, err := unix.EpollWait(p.fd, p.events[:], ms)
	if errors.Is(err, unix.EINTR) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("wait for events: %w", err)
	}
	return p.events[:n], nil
}

// rang tells whether e is the bell, and stills it.
func (p *poller) rang(e unix.EpollEvent) bool {
	if int(e.Fd) != p.bell {
		return false
	}
	var count [8]byte
	_, _ = unix.Read(p.bell, count[:])
	return true
}

// ring ends the wait that is under way or comes next. Any goroutine may call it.
func (p *poller) ring() {
	_, _ = unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (p *poller) close() {
	if p.bell >= 0 {
		unix.Close(p.bell)
	}
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
	p.fd, p.bell = -1, -1
}
