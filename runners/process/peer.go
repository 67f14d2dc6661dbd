package process

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/runners"
)

// peer is a worker's connection, as the supervisor has it. There may be several: a worker that lets its jobs finish, or one
// that is frozen, beside its successor. Each job is held by the one that asked for it last.
type peer struct {
	fd      int
	in      []byte // read, not yet served: in[at:]
	at      int
	out     []byte
	blocked bool // the socket takes no more; epoll tells when it does
	greeted bool
	gone    bool
	behind  []*job // jobs with output that waits for room
}

const (
	// window is how many bytes of one job's output may be under way to a worker that has not stored them.
	window = runners.MaxUnstored
	// outLimit is how many bytes may wait for the socket before output stays on disk.
	outLimit = 1 << 20
)

// accept takes a new worker.
func (s *supervisor) accept() {
	fd, _, err := unix.Accept4(s.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return
	}
	if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil || int(cred.Uid) != unix.Getuid() {
		s.log.Warn("a stranger is turned away", "err", err)
		unix.Close(fd)
		return
	}
	p := &peer{fd: fd}
	if err := s.poll.add(fd, unix.EPOLLIN, source{peer: p}); err != nil {
		s.log.Error("worker cannot be served", "err", err)
		unix.Close(fd)
		return
	}
	s.peers, s.leaving = append(s.peers, p), false
}

// close lets the worker go. Its jobs go on, their output is kept.
func (p *peer) close(s *supervisor) {
	if p.gone {
		return
	}
	p.gone, p.behind = true, nil
	s.poll.drop(p.fd)
	s.peers = slices.DeleteFunc(slices.Clone(s.peers), func(o *peer) bool { return o == p })
	for _, j := range s.jobs {
		if j.peer == p {
			j.peer, j.behind, j.told = nil, false, false
			if j.ended {
				j.spool.rest()
			}
		}
	}
}

// ready reads what has come and goes on with what could not be written.
func (p *peer) ready(s *supervisor, events uint32) {
	if events&unix.EPOLLOUT != 0 {
		p.blocked = false
		s.poll.change(p.fd, unix.EPOLLIN)
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		p.receive(s)
	}
}

// receive reads what has come, up to a chunk, and does what it asks for. false: nothing has.
func (p *peer) receive(s *supervisor) bool {
	if p.gone {
		return false
	}
	const chunk = 64 << 10
	if p.at > 0 {
		p.in = p.in[:copy(p.in, p.in[p.at:])]
		p.at = 0
	}
	if cap(p.in)-len(p.in) < chunk {
		p.in = append(make([]byte, 0, 2*cap(p.in)+2*chunk), p.in...)
	}
	n, err := unix.Read(p.fd, p.in[len(p.in):cap(p.in)])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
	case err != nil || n == 0:
		p.close(s)
	default:
		p.in = p.in[:len(p.in)+n]
		p.serve(s)
		return true
	}
	return false
}

// serve does what the waiting frames ask for.
func (p *peer) serve(s *supervisor) {
	for !p.gone {
		f, n, err := nextFrame(p.in[p.at:])
		if err == nil && n > 0 {
			p.at += n
			err = s.obey(p, f)
		}
		if err != nil {
			s.log.Error("worker is let go", "err", err)
			p.close(s)
			return
		}
		if n == 0 {
			return
		}
	}
}

// obey serves one frame. An error ends the connection.
func (s *supervisor) obey(p *peer, f frame) error {
	s.garbage += frameGarbage + len(f.body)
	if !p.greeted {
		return s.greet(p, f)
	}
	if f.kind == kindStart {
		l, err := readLaunch(f)
		if err == nil {
			s.start(p, f.tag, l)
		}
		return err
	}
	r := fieldsOf(f)
	switch f.kind {
	case kindAttach:
		name := r.text()
		if j := s.jobs[name]; j != nil {
			s.attach(j, p, f.tag)
		} else {
			p.out = appendFrame(p.out, kindUnknown, f.tag)
		}
	case kindForget:
		if j := s.jobs[r.text()]; j != nil {
			s.forget(j)
		}
	case kindAck:
		name, offset := r.text(), r.int()
		if j := s.jobs[name]; j != nil && j.peer == p {
			if err := j.spool.ack(min(offset, j.sent)); err != nil {
				s.log.Error("delivered output may come again", "execution", name, "err", err)
			}
			s.pump(j)
			if j.ended {
				j.spool.rest()
			}
		}
	case kindLease:
		name, until := r.text(), r.int()
		if j := s.jobs[name]; j != nil && j.peer == p && !j.lost && !j.ended && (j.lease == 0 || clock() < j.lease) {
			j.lease = until
			s.soon(until)
		}
	case kindStop:
		name, grace, polite := r.text(), r.int(), int64(unix.SIGTERM)
		if r.rest != "" {
			polite = r.int()
		}
		if j := s.jobs[name]; j != nil && j.peer == p {
			s.stop(j, time.Duration(grace), unix.Signal(polite))
		}
	case kindList:
		s.list(p, f.tag)
	case kindClose:
		s.leaving = true
		p.close(s)
		return nil
	}
	return r.end(string(f.kind))
}

// greet answers a worker's first frame. One of another version is told so, and the supervisor goes when its jobs have ended.
func (s *supervisor) greet(p *peer, f frame) error {
	r := fieldsOf(f)
	version := r.int()
	if err := r.end("hello"); err != nil || f.kind != kindHello {
		return errors.Join(errors.New("worker did not greet"), err)
	}
	p.greeted = true
	for _, o := range slices.Clone(s.peers) { // what a worker that was killed has asked for comes before its successor's first question
		for o != p && o.receive(s) {
		}
	}
	p.out = appendFrame(p.out, kindWelcome, 0, protocol, int64(unix.Getpid()))
	if version != protocol {
		p.flush(s)
		s.leaving = true
		p.close(s)
	}
	return nil
}

// attach gives a job to a worker, tells it of its start and sends it what was not delivered. The worker that had it is told.
func (s *supervisor) attach(j *job, p *peer, tag uint64) {
	if j.peer != nil {
		j.peer.out = appendFrame(j.peer.out, kindMoved, j.tag)
		j.peer.behind = slices.DeleteFunc(j.peer.behind, func(o *job) bool { return o == j })
	}
	j.peer, j.tag, j.told, j.behind, j.sent = p, tag, false, false, j.spool.acked
	if j.pid == 0 {
		return // it is being forked: the rest follows
	}
	p.out = appendFrame(p.out, kindStarted, tag, int64(j.pid), j.end.started)
	s.pump(j)
}

// room tells whether more of j's output may be sent now.
func (s *supervisor) room(j *job) bool {
	return len(j.peer.out) < outLimit && j.sent-j.spool.acked < window
}

func (s *supervisor) sendBlock(j *job, block []byte) {
	b, mark := openFrame(j.peer.out, kindOutput, j.tag)
	b = appendInt(b, j.sent)
	j.peer.out = closeFrame(append(b, block...), mark)
	j.sent += int64(len(block))
}

// pump sends what is kept and not sent, as far as there is room, and then the ending.
func (s *supervisor) pump(j *job) {
	if j.peer == nil || j.told {
		return
	}
	for j.sent < j.spool.size {
		if !s.room(j) {
			if !j.behind {
				j.behind = true
				j.peer.behind = append(j.peer.behind, j)
			}
			return
		}
		block, err := j.spool.read(s.scratch(), j.sent)
		if err != nil {
			s.log.Error("output is lost", "execution", j.name, "err", err)
			j.end.message = "some of the output was lost: " + err.Error()
			j.sent = j.spool.size
			break
		}
		s.sendBlock(j, block)
	}
	j.behind = false
	if j.ended {
		j.told = true
		j.peer.out = appendEnding(j.peer.out, kindEnded, j.tag, j.name, j.number, &j.end)
	}
}

// scratch is a buffer that holds a record of any length.
func (s *supervisor) scratch() []byte {
	const size = 256 << 10
	if cap(s.block) < size {
		s.block = make([]byte, 0, size)
	}
	return s.block[:size]
}

// flush writes what waits for the worker, and lets those in that waited for room.
func (p *peer) flush(s *supervisor) {
	for len(p.out) > 0 && !p.blocked {
		n, err := unix.Write(p.fd, p.out)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			p.blocked = true
			s.poll.change(p.fd, unix.EPOLLIN|unix.EPOLLOUT)
			return
		case err != nil:
			p.close(s)
			return
		}
		if n == len(p.out) {
			p.out = p.out[:0]
		} else {
			p.out = append(p.out[:0], p.out[n:]...)
		}
		if len(p.behind) > 0 && len(p.out) < outLimit {
			waiting := p.behind
			p.behind = nil
			for _, j := range waiting {
				j.behind = false
				s.pump(j)
			}
		}
	}
}
