package web

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// client is one event stream. Its connection is taken out of net/http: it costs
// no goroutine and no buffer, and what waits for it is shared with all others.
type client struct {
	subs    []subscription
	every   int    // beats between two events
	seen    uint64 // id of the last event it had before it came back; 0: none
	allowed func() bool
	out     output
	tls     bool

	pending  [][]byte // of which the first out.offset bytes are written
	bytes    int
	offset   int
	skipped  int // events left out since the last one it was told of
	beats    int
	greeted  bool
	progress time.Time // when bytes could be written last, or none waited
	wrote    time.Time
	checked  time.Time
}

type subscription struct {
	_ [0]func() // nobody compares them: saves the code for it

	name   string
	topic  *topic
	behind bool // it needs the state whole
}

// output takes bytes without waiting.
type output interface {
	// write returns how many bytes were taken; an error means that the client is gone.
	write(b []byte) (int, error)
	close()
}

func (c *client) push(b []byte) {
	c.pending = append(c.pending, b)
	c.bytes += len(b)
}

// room reports whether a further event may wait. One event may always.
func (c *client) room() bool { return c.bytes == 0 || c.bytes < maxPending }

func (c *client) idle() bool { return len(c.pending) == 0 }

// sayskipped tells the client how many events it did not get.
func (c *client) sayskipped() {
	if c.skipped > 0 {
		c.push([]byte("event: skipped\ndata: {\"frames\":" + strconv.Itoa(c.skipped) + "}\n\n"))
		c.skipped = 0
	}
}

// flush writes what waits, and reports whether the client is still there.
func (c *client) flush(now time.Time) bool {
	for len(c.pending) > 0 {
		n, err := c.out.write(c.pending[0][c.offset:])
		if err != nil {
			return false
		}
		if n > 0 {
			c.progress, c.wrote = now, now
		}
		c.offset += n
		c.bytes -= n
		if c.offset < len(c.pending[0]) {
			return now.Sub(c.progress) < stuckTime
		}
		c.pending[0] = nil
		c.pending, c.offset = c.pending[1:], 0
	}
	c.pending, c.progress = nil, now
	return true
}

// stillAllowed looks now and then whether the login holds.
func (c *client) stillAllowed(now time.Time) bool {
	if now.Sub(c.checked) < checkTime {
		return true
	}
	c.checked = now
	return c.allowed()
}

func (c *client) close() { c.out.close() }

// events is GET /api/v1/events?topics=overview,can:engine&every=500ms. A topic
// whose name has a comma is given as topic=NAME.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	c := &client{allowed: s.allowance(r), tls: r.TLS != nil, every: 1}
	names := r.URL.Query()["topic"]
	if list := r.URL.Query().Get("topics"); list != "" || len(names) == 0 {
		names = append(names, strings.Split(list, ",")...)
	}
	for _, name := range names {
		if openFeed(s.opts.View, name) == nil {
			problem(w, http.StatusNotFound, "topic", "There is no topic "+strconv.Quote(name)+".")
			return
		}
		c.subs = append(c.subs, subscription{name: strings.Clone(name)})
	}
	if len(c.subs) > maxTopics {
		problem(w, http.StatusBadRequest, "topics", "At most "+itoa(maxTopics)+" topics fit into one stream.")
		return
	}
	if every := r.URL.Query().Get("every"); every != "" {
		d, err := time.ParseDuration(every)
		if err != nil || d < beat || d > time.Minute {
			problem(w, http.StatusBadRequest, "every", "Write every as 500ms to 1m.")
			return
		}
		c.every = int(d / beat)
	}
	c.seen, _ = strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64)
	if pressed() {
		w.Header().Set("Retry-After", "10")
		problem(w, http.StatusServiceUnavailable, "memory", "The gateway is short of memory; reading the buses goes first.")
		return
	}
	if !s.hub.reserve(c.tls) {
		w.Header().Set("Retry-After", "10")
		problem(w, http.StatusServiceUnavailable, "clients", "All event streams are in use; web.max_clients says how many there are.")
		return
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		s.hub.release(c.tls)
		problem(w, http.StatusInternalServerError, "stream", "The connection cannot carry a stream.")
		return
	}
	_ = conn.SetDeadline(time.Time{})
	if c.out, err = newOutput(conn); err != nil {
		conn.Close()
		s.hub.release(c.tls)
		return
	}
	c.push([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n" +
		"X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\nretry: 3000\n\n"))
	s.hub.add(c)
}

// allowance is a function that reports whether the login of a request still
// holds; it keeps nothing else of the request.
func (s *Server) allowance(r *http.Request) func() bool {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		token = strings.Clone(token)
		return func() bool { _, ok := s.accounts.byToken(token, time.Now()); return ok }
	}
	if k, err := r.Cookie(s.cookie()); err == nil {
		cookie := strings.Clone(k.Value)
		return func() bool {
			return s.sessions.holds(cookie, time.Now(), s.accounts.byName)
		}
	}
	return func() bool { return s.opts.Open }
}

// newOutput finds the cheapest way to write to a connection without waiting.
func newOutput(conn net.Conn) (output, error) {
	plain := conn
	if c, ok := plain.(*counted); ok {
		plain = c.Conn
	}
	secure, ok := conn.(*tls.Conn)
	if !ok {
		socket, ok := plain.(syscall.Conn)
		if !ok {
			return nil, errors.New("not a connection of the system")
		}
		raw, err := socket.SyscallConn()
		return &rawOutput{conn: conn, raw: raw}, err
	}
	o := &slowOutput{conn: secure, todo: make(chan []byte, 1), gone: make(chan struct{})}
	go o.run()
	return o, nil
}

// rawOutput writes to the socket as far as the kernel takes it.
type rawOutput struct {
	_ [0]func() // nobody compares them: saves the code for it

	conn net.Conn
	raw  syscall.RawConn
}

func (o *rawOutput) write(b []byte) (n int, err error) {
	e := o.raw.Write(func(fd uintptr) bool {
		n, err = unix.Write(int(fd), b)
		return true // never wait
	})
	if e != nil {
		return 0, e
	}
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, nil
	}
	return max(n, 0), err
}

func (o *rawOutput) close() { o.conn.Close() }

// slowOutput is a connection over TLS, which is broken by a write that was cut
// short: a goroutine writes, one piece at a time.
type slowOutput struct {
	_ [0]func() // nobody compares them: saves the code for it

	conn *tls.Conn
	todo chan []byte
	once sync.Once
	gone chan struct{}
}

const slowPiece = 16 << 10 // about one TLS record

func (o *slowOutput) run() {
	for {
		select {
		case b := <-o.todo:
			_ = o.conn.SetWriteDeadline(time.Now().Add(stuckTime))
			if _, err := o.conn.Write(b); err != nil {
				o.close()
				return
			}
		case <-o.gone:
			return
		}
	}
}

func (o *slowOutput) write(b []byte) (int, error) {
	b = b[:min(len(b), slowPiece)]
	select {
	case <-o.gone:
		return 0, net.ErrClosed
	case o.todo <- b:
		return len(b), nil
	default:
		return 0, nil
	}
}

func (o *slowOutput) close() {
	o.once.Do(func() {
		close(o.gone)
		o.conn.NetConn().Close() // without the farewell of TLS, which may wait
	})
}
