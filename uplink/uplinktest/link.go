package uplinktest

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Shape is what a [Link] or a [Path] does to what passes it. The zero value
// lets everything through at once.
type Shape struct {
	Delay time.Duration // in each direction
	Rate  int           // bytes a second in each direction; 0: no limit
	Loss  float64       // of packets, 0 to 1; of a Path only, a Link has none
}

// Link is a TCP relay to a broker that can be cut and restored, as a modem's
// connection is. While it is cut, new connections are refused and the old
// ones are gone. All methods may be called from any goroutine.
type Link struct {
	target string
	addr   string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	shape    Shape
	forgot   chan struct{} // closed and replaced by Forget
	cut      bool
	closed   bool
	wg       sync.WaitGroup
}

// NewLink relays a free port of the loopback interface to target (host:port).
func NewLink(target string) (*Link, error) {
	// Segments as on a real line: those of the loopback interface are larger
	// than the buffers of a slow link, which would make TCP stall.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, segment) })
	}}
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{target: target, addr: ln.Addr().String(), listener: ln, conns: map[net.Conn]bool{}, forgot: make(chan struct{})}
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

// Shape sets what happens to connections made from now on.
func (l *Link) Shape(s Shape) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shape = s
}

// Forget lets the connections there are fall silent without ending them, as a
// NAT does that has forgotten them: what is sent goes nowhere. New ones work.
func (l *Link) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.forgot)
	l.forgot = make(chan struct{})
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
	l.mu.Lock()
	shape, forgot := l.shape, l.forgot
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { shape.copy(broker, client, forgot); broker.Close() })
	both.Go(func() { shape.copy(client, broker, forgot); client.Close() })
	both.Wait()
}

// chunk is some bytes and when they may arrive.
type chunk struct {
	data []byte
	at   time.Time
}

// What a link holds: with a rate, little more than a modem's buffer; with a
// delay, what is under way.
const (
	rateBuffer  = 16 * 1024
	segment     = 1400
	rateChunk   = 512
	delayChunks = 1024
	chunkSize   = 16 * 1024
)

// copy relays one direction until it ends.
func (s Shape) copy(to, from net.Conn, forgot <-chan struct{}) {
	size, depth := chunkSize, delayChunks
	if s.Rate > 0 {
		size, depth = rateChunk, rateBuffer/rateChunk+int(s.Delay.Seconds()*float64(s.Rate))/rateChunk
		for _, c := range []net.Conn{to, from} {
			if tcp, ok := c.(*net.TCPConn); ok { // the kernel must not be a buffer of megabytes
				_ = tcp.SetReadBuffer(rateBuffer)
				_ = tcp.SetWriteBuffer(rateBuffer)
			}
		}
	}
	queue := make(chan chunk, depth)
	var writer sync.WaitGroup
	writer.Go(func() { s.write(to, queue, forgot) })
	buf := make([]byte, size)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			queue <- chunk{append([]byte(nil), buf[:n]...), time.Now().Add(s.Delay)}
		}
		if err != nil {
			break
		}
	}
	close(queue)
	writer.Wait()
}

func (s Shape) write(to net.Conn, queue <-chan chunk, forgot <-chan struct{}) {
	free := time.Now() // when the line is free again
	broken := false
	for c := range queue {
		select {
		case <-forgot:
			broken = true
		default:
		}
		if broken {
			continue
		}
		if s.Rate > 0 {
			// From when it came and not from now: a machine that wakes late makes
			// the line no slower.
			free = later(free, c.at).Add(time.Duration(len(c.data)) * time.Second / time.Duration(s.Rate))
			c.at = free
		}
		if pause := time.Until(c.at); pause > 0 {
			time.Sleep(pause)
		}
		if _, err := to.Write(c.data); err != nil {
			broken = true
			to.Close()
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
