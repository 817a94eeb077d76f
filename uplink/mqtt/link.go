package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"fieldferry/uplink/internal/wsconn"
)

// link is the TCP connection below TLS, WebSocket and MQTT. It counts bytes
// and bounds every write: a connection that takes not one byte for the write
// timeout is dead, one that takes them slowly is not.
type link struct {
	*net.TCPConn
	timeout  time.Duration
	budget   int        // bytes that may be read until the handshakes are over; negative: no limit
	allowed  *allowance // set once the handshakes are over; nil: no limit
	up, down *atomic.Uint64
	written  atomic.Uint64
	heard    atomic.Bool // something was read
	hungUp   atomic.Bool // the other end closed without having said anything
}

// taken is how many bytes the other end has acknowledged, 0 if the system does
// not say.
func (l *link) taken() uint64 {
	if waiting, ok := unacknowledged(l.TCPConn); ok {
		if written := l.written.Load(); written > waiting {
			return written - waiting
		}
	}
	return 0
}

// stalled says that the way to the other end is interrupted.
func (l *link) stalled() bool { return unanswered(l.TCPConn) }

// handshakeBytes is more than any TLS and WebSocket handshake needs.
const handshakeBytes = 256 * 1024

var errHandshakeBytes = errors.New("too much data before the handshake was over")

// Write writes all of p, however slowly, as long as there is progress.
func (l *link) Write(p []byte) (int, error) {
	done := 0
	for {
		if err := l.TCPConn.SetWriteDeadline(time.Now().Add(l.timeout)); err != nil {
			return done, err
		}
		n, err := l.TCPConn.Write(p[done:])
		done += n
		l.up.Add(uint64(n))      //nolint:gosec // n is never negative
		l.written.Add(uint64(n)) //nolint:gosec // n is never negative
		if err == nil || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			l.ended(err)
			return done, err
		}
	}
}

// Read counts what it reads.
func (l *link) Read(p []byte) (int, error) {
	if l.budget == 0 {
		return 0, NewError(ReasonNotMQTT, errHandshakeBytes)
	}
	if l.budget > 0 {
		p = p[:min(len(p), l.budget)]
	}
	n, err := l.TCPConn.Read(p)
	if l.budget > 0 {
		l.budget -= n
	}
	l.down.Add(uint64(n)) //nolint:gosec // n is never negative
	if n > 0 {
		l.heard.Store(true)
	}
	l.ended(err)
	if flood := l.allowed.spend(n); flood != nil {
		return 0, flood
	}
	return n, err
}

// ended looks whether it was the other end that closed, without a word.
func (l *link) ended(err error) {
	if err != nil && !l.heard.Load() && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		l.hungUp.Store(true)
	}
}

// note adds to the error of a connection that did not come about whether
// somebody was there.
func (l *link) note(err error) error {
	var e *Error
	if l.hungUp.Load() && errors.As(err, &e) {
		e.Contact = HungUp
	}
	return err
}

// SetWriteDeadline does nothing: Write sets its own. The layers above would
// remove it for a write that another goroutine has under way.
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline sets the deadline for reading, see SetWriteDeadline.
func (l *link) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// kill closes at once and throws away what was not sent yet.
func (l *link) kill() {
	_ = l.SetLinger(0) // the connection is given up: nothing is left to do about an error
	_ = l.Close()
}

// dial opens the connection to s up to where MQTT begins. The link returned
// is the one below the connection. Errors have their reason.
func (d *Dialer) dial(ctx context.Context, s Server, config func() (*tls.Config, error)) (net.Conn, *link, error) {
	l, err := d.connect(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, l.kill) // neither TLS nor WebSocket looks at ctx while it writes
	var conn net.Conn = l
	if s.usesTLS() {
		conn, err = d.startTLS(ctx, l, s.Host, config)
	}
	if err == nil && s.usesWebSocket() {
		conn, err = startWebSocket(ctx, conn, s, d.Headers, func() error { return l.allowed.spend(floodFrame) })
	}
	if !stop() && err == nil {
		err = dialError(ctx.Err())
	}
	if err != nil {
		l.kill()
		if e, ok := err.(*Error); ok && e.Reason == ReasonConnectTimeout { // it did connect
			e.Reason = ReasonNoConnack
		}
		return nil, nil, l.note(err)
	}
	l.budget = -1
	return conn, l, nil
}

func (d *Dialer) startTLS(ctx context.Context, l *link, host string, config func() (*tls.Config, error)) (net.Conn, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if config != nil {
		given, err := config()
		if err != nil {
			return nil, NewError(ReasonSecret, err)
		}
		if given != nil {
			c = given.Clone()
		}
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	conn := tls.Client(l, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, tlsError(err, d.Now())
	}
	return conn, nil
}

// startWebSocket does the handshake on conn, which has TLS already if the
// server wants it.
func startWebSocket(ctx context.Context, conn net.Conn, s Server, headers func() (http.Header, error), frame func() error) (net.Conn, error) {
	var header http.Header
	if headers != nil {
		var err error
		if header, err = headers(); err != nil {
			return nil, NewError(ReasonSecret, err)
		}
	}
	scheme := "http"
	if s.usesTLS() {
		scheme = "https"
	}
	u, err := url.Parse(scheme + "://" + s.Address() + s.Path)
	if err != nil {
		return nil, NewError(ReasonNotMQTT, err)
	}
	ws, resp, err := wsconn.Dial(conn, u, header, frame)
	var network net.Error
	var known *Error
	switch {
	case err == nil:
		return ws, nil
	case ctx.Err() != nil:
		return nil, dialError(ctx.Err())
	case errors.As(err, &known):
		return nil, known
	case resp != nil:
		return nil, gateError(resp)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return nil, NewError(ReasonConnectTimeout, err)
	}
	return nil, NewError(ReasonNotMQTT, errors.New("no WebSocket handshake"))
}
