package uplinktest

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// Transport is what lies between TCP and MQTT. The zero value is nothing.
type Transport struct {
	TLS       *tls.Config // nil: none
	WebSocket bool        // at any path
}

// listener accepts connections, can be stopped and started again at the same
// address, and knows the connections it has accepted.
type listener struct {
	transport Transport
	serve     func(net.Conn) // returns when it is done with the connection
	address   *address

	mu    sync.Mutex
	on    net.Listener // nil: stopped
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

func newListener(text string, t Transport, serve func(net.Conn)) (*listener, error) {
	a, err := reserve(text)
	if err != nil {
		return nil, err
	}
	l := &listener{transport: t, serve: serve, address: a, conns: make(map[net.Conn]struct{})}
	if err := l.start(); err != nil {
		a.close()
		return nil, err
	}
	return l, nil
}

func (l *listener) start() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on != nil {
		return nil
	}
	on, err := l.address.listen()
	if err != nil {
		return err
	}
	l.on = on
	l.wg.Add(1)
	go l.accept(on)
	return nil
}

func (l *listener) accept(on net.Listener) {
	defer l.wg.Done()
	for {
		conn, err := on.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		if l.on != on {
			l.mu.Unlock()
			reset(conn)
			return
		}
		l.conns[conn] = struct{}{}
		l.wg.Add(1)
		l.mu.Unlock()
		go l.handle(conn)
	}
}

func (l *listener) handle(conn net.Conn) {
	defer l.wg.Done()
	defer func() {
		_ = conn.Close()
		l.mu.Lock()
		delete(l.conns, conn)
		l.mu.Unlock()
	}()
	c := conn
	if l.transport.TLS != nil {
		t := tls.Server(c, l.transport.TLS)
		if t.Handshake() != nil {
			return
		}
		c = t
	}
	if l.transport.WebSocket {
		l.upgrade(c)
		return
	}
	l.serve(c)
}

// upgrade serves one WebSocket connection on c.
func (l *listener) upgrade(c net.Conn) {
	rw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
	req, err := http.ReadRequest(rw.Reader)
	if err != nil {
		return
	}
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}, CheckOrigin: func(*http.Request) bool { return true }}
	if ws, err := up.Upgrade(&response{conn: c, rw: rw, header: make(http.Header)}, req, nil); err == nil {
		l.serve(&webSocket{ws: ws})
	}
}

// response is the http.ResponseWriter of a connection that is taken over.
type response struct {
	conn   net.Conn
	rw     *bufio.ReadWriter
	header http.Header
}

func (r *response) Header() http.Header         { return r.header }
func (r *response) Write(p []byte) (int, error) { return r.conn.Write(p) }
func (r *response) WriteHeader(int)             {}

// Hijack hands the connection over.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) { return r.conn, r.rw, nil }

// stop refuses connections from now on and resets those there are.
func (l *listener) stop() {
	l.mu.Lock()
	if l.on != nil {
		_ = l.on.Close()
		l.on = nil
	}
	for c := range l.conns {
		reset(c)
	}
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *listener) close() {
	l.stop()
	l.address.close()
}

// reset closes so that the other end gets an error and not an orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
