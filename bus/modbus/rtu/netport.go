package rtu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Times of a connection. userTimeout ends one whose far end has gone without
// a word while something is to be sent; keepAlive finds it when all is quiet.
const (
	dialTimeout = 5 * time.Second
	keepAlive   = 15 * time.Second
	userTimeout = 10 * time.Second
)

// NetPort is a TCP connection in the place of a serial port.
type NetPort struct {
	_ [0]func() // nobody compares them: saves the code for it

	*net.TCPConn
	raw rawConn
}

// Dial connects to host:port. It ends with ctx, and after five seconds.
func Dial(ctx context.Context, address string) (*NetPort, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: no TCP connection", address)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		tcp.Close()
		return nil, err
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	})
	return &NetPort{TCPConn: tcp, raw: raw}, nil
}

// ReadAvailable reads what has arrived without waiting; 0 bytes means nothing.
func (p *NetPort) ReadAvailable(b []byte) (n int, err error) {
	if err := p.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	return readAvailable(p.raw, b)
}

// readAvailable does not wait; the end of the file is io.EOF.
func readAvailable(raw rawConn, b []byte) (n int, err error) {
	cerr := raw.Read(func(fd uintptr) bool {
		n, err = retry(func() (int, error) { return unix.Read(int(fd), b) })
		return true
	})
	switch {
	case cerr != nil:
		return 0, cerr
	case errors.Is(err, unix.EAGAIN):
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// waitReadable waits until there is something to read or d has passed. Go's
// poller counts in milliseconds, which at high rates is much of the silence
// between two frames.
func waitReadable(raw rawConn, d time.Duration) {
	_ = raw.Control(func(fd uintptr) {
		timeout := unix.NsecToTimespec(int64(d))
		_, _ = unix.Ppoll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, &timeout, nil)
	})
}
