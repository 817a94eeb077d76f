package uplinktest

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// address keeps a TCP port on 127.0.0.1 for the life of a broker. The port is
// bound but not listened to by a socket of its own, so that a stopped broker
// refuses connections, and no other process can take the port meanwhile.
type address struct {
	fd   int
	text string
}

// reserve takes the port of text, or a free one for an empty text.
func reserve(text string) (*address, error) {
	at := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if text != "" {
		tcp, err := net.ResolveTCPAddr("tcp4", text)
		if err != nil {
			return nil, fmt.Errorf("uplinktest: listen address: %w", err)
		}
		at.Port = tcp.Port
		copy(at.Addr[:], tcp.IP.To4())
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("uplinktest: socket: %w", err)
	}
	// SO_REUSEADDR would let others bind it as well while nobody listens. A
	// given port needs it, as earlier connections to it may still linger.
	if err = sharePort(fd, text != ""); err == nil {
		err = unix.Bind(fd, at)
	}
	var bound unix.Sockaddr
	if err == nil {
		bound, err = unix.Getsockname(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("uplinktest: reserve %s: %w", text, err)
	}
	in4, ok := bound.(*unix.SockaddrInet4)
	if !ok {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("uplinktest: reserve %s: not an IPv4 address", text)
	}
	tcp := net.TCPAddr{IP: in4.Addr[:], Port: in4.Port}
	return &address{fd: fd, text: tcp.String()}, nil
}

func sharePort(fd int, lingering bool) error {
	if lingering {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

func (a *address) listen() (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = sharePort(int(fd), true) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := lc.Listen(context.Background(), "tcp4", a.text)
	if err != nil {
		return nil, fmt.Errorf("uplinktest: %w", err)
	}
	return l, nil
}

func (a *address) close() { _ = unix.Close(a.fd) }
