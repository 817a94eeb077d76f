package web

import (
	"net"
	"strconv"
	"sync"
)

func itoa(n int) string { return strconv.Itoa(n) }

// limited lets no more than a number of connections be open: further ones are
// closed at once, so that a flood of slow clients takes no memory.
type limited struct {
	_ [0]func() // nobody compares them: saves the code for it

	net.Listener
	slots chan struct{}
}

func limitListener(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n)}
}

// Accept implements [net.Listener].
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &counted{Conn: c, free: l.slots}, nil
		default:
			_, _ = c.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
			c.Close()
		}
	}
}

// counted gives its slot back when it is closed.
type counted struct {
	_ [0]func() // nobody compares them: saves the code for it

	net.Conn
	once sync.Once
	free chan struct{}
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	c.once.Do(func() { <-c.free })
	return c.Conn.Close()
}
