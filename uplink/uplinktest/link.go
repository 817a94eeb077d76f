package uplinktest

import (
	"io"
	"net"
	"sync"
)

// Link is a TCP relay to a broker that can be cut and restored, as a modem's
// connection is. While it is cut, new connections are refused and the old
// ones are gone. All methods may be called from any goroutine.
type Link struct {
	target string
	addr   string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	cut      bool
	closed   bool
	wg       sync.WaitGroup
}

// NewLink relays a free port of the loopback interface to target (host:port).
func NewLink(target string) (*Link, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{target: target, addr: ln.Addr().String(), listener: ln, conns: map[net.Conn]bool{}}
	l.wg.Go(func() { l.accept(ln) })
	return l, nil
}

// Addr is the host:port to connect to. It stays the same over cuts.
func (l *Link) Addr() string { return l.addr }

// Cut ends all connections; further ones are closed at once until [Link.Restore].
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for c := range l.conns {
		c.Close()
	}
}

// Restore lets connections through again.
func (l *Link) Restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
}

// Close ends the link and waits for its goroutines.
func (l *Link) Close() {
	l.Cut()
	l.mu.Lock()
	l.closed = true
	l.listener.Close()
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *Link) accept(ln net.Listener) {
	for {
		client, err := ln.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.relay(client) })
	}
}

// hold registers a connection, or closes it when the link is cut.
func (l *Link) hold(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.closed {
		c.Close()
		return false
	}
	l.conns[c] = true
	return true
}

func (l *Link) drop(c net.Conn) {
	c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

func (l *Link) relay(client net.Conn) {
	if !l.hold(client) {
		return
	}
	defer l.drop(client)
	broker, err := net.Dial("tcp", l.target)
	if err != nil || !l.hold(broker) {
		return
	}
	defer l.drop(broker)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(broker, client); broker.Close() })
	both.Go(func() { _, _ = io.Copy(client, broker); client.Close() })
	both.Wait()
}
