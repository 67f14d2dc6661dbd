package server

import (
	"fmt"
	"net"
	"strconv"
)

// An address is where to listen, parsed. Port 0 takes a free one.
type address struct {
	flag string // the flag that sets it, for error messages
	host string // "" is every interface
	port int
}

func (a address) String() string { return net.JoinHostPort(a.host, strconv.Itoa(a.port)) }

// loopback reports whether only this machine reaches the address. A name other than localhost may be anything, so it counts as not.
func (a address) loopback() bool { return loopbackHost(a.host) }

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// parseAddress reads HOST:PORT as flag gave it. Without allowRemote only loopback addresses pass: whoever reaches NATS here may
// request runs, that is start commands on every worker, and nothing asks them for a password.
func parseAddress(flag, s string, allowRemote bool) (address, error) {
	host, service, err := net.SplitHostPort(s)
	if err != nil {
		return address{}, refuse(ErrConfig, err, "%s %q is not HOST:PORT; an example is %s 127.0.0.1:0", flag, s, flag)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return address{}, refuse(ErrConfig, err, "%s %q: the port %q is not a number from 0 to 65535", flag, s, service)
	}
	a := address{flag: flag, host: host, port: int(port)}
	if !a.loopback() && !allowRemote {
		return address{}, refuse(ErrExposed, nil,
			"%s %s would let other machines start commands here without a password; listen on 127.0.0.1, run a nats-server with authentication and give --server, or accept it with --allow-remote",
			flag, s)
	}
	return a, nil
}

// listen takes the address, or explains why that is not possible.
func (a address) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", a.String())
	if err != nil {
		return nil, listenFailure(a.flag, a.String(), err)
	}
	return l, nil
}

// free fails when somebody else listens on the address now. NATS opens its own listener, after seconds of recovery when there is
// much in its store; asking first gives the answer at once and touches no data.
func (a address) free() error {
	if a.port == 0 {
		return nil
	}
	l, err := a.listen()
	if err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("close listener on %s: %w", a, err)
	}
	return nil
}
