package mqtt

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Dialer opens connections.
type Dialer struct {
	time     Timing
	user     time.Duration  // TCP_USER_TIMEOUT
	Up, Down *atomic.Uint64 // bytes
	Now      func() time.Time
	Random   func() float64 // [0, 1)
	// Headers are those of the WebSocket handshake, and Proxy the HTTP proxy on
	// the way to a server, both asked for at every connect; nil: none.
	Headers func() (http.Header, error)
	Proxy   func(Server) (*url.URL, error)
}

// NewDialer makes one that gives a connection up below MQTT when nothing of what
// was sent is answered for so long.
func NewDialer(t Timing, user time.Duration) Dialer {
	return Dialer{time: t, user: user, Up: new(atomic.Uint64), Down: new(atomic.Uint64), Now: time.Now, Random: rand.Float64}
}

// dialTCP begins a dial, lookup of the name included, and then another one
// about every second until one has an answer. What is sent into a dead link is
// repeated by the kernel after 1, 3 and 7 s and by the resolver after 5; a link
// that comes back should not have to wait for that, and one with a round trip
// of seconds should not be given up for it either.
func (d *Dialer) dialTCP(ctx context.Context, address string) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, d.time.Dial)
	type result struct {
		conn net.Conn
		err  error
	}
	answer := make(chan result, 1)
	var dials sync.WaitGroup
	begin := func() {
		dials.Go(func() {
			conn, err := d.once(ctx, address)
			select {
			case answer <- result{conn, err}:
			default: // another one was first
				if err == nil {
					_ = conn.Close()
				}
			}
		})
	}
	begin()
	again := time.NewTicker(d.time.NextDial(d.Random()))
	defer again.Stop()
	var first result
	for waiting := true; waiting; {
		select {
		case first = <-answer:
			waiting = false
		case <-again.C:
			begin()
		}
	}
	cancel()
	dials.Wait()
	select {
	case second := <-answer:
		if second.err == nil {
			_ = second.conn.Close()
		}
	default:
	}
	if first.err != nil {
		e := dialError(first.err)
		e.Contact = Unreached
		return nil, e
	}
	tcp, ok := first.conn.(*net.TCPConn)
	if !ok { // cannot be: "tcp" always gives one
		_ = first.conn.Close()
		return nil, NewError(ReasonUnknown, fmt.Errorf("unexpected connection type %T", first.conn))
	}
	return &link{TCPConn: tcp, timeout: d.time.Write, budget: handshakeBytes, up: d.Up, down: d.Down}, nil
}

// once is one dial. A resolver of its own keeps it from waiting for the lookup
// of another one.
func (d *Dialer) once(ctx context.Context, address string) (net.Conn, error) {
	nd := net.Dialer{
		Resolver:  new(net.Resolver),
		KeepAlive: -1, // MQTT has its own
		Control: func(_, _ string, c syscall.RawConn) error {
			return setSocketOptions(c, d.user)
		},
	}
	return nd.DialContext(ctx, "tcp", address)
}

// Reach opens a connection up to where MQTT begins, and closes it.
func (d *Dialer) Reach(ctx context.Context, s Server, config func() (*tls.Config, error)) error {
	_, l, err := d.dial(ctx, s, config)
	if err == nil {
		l.kill()
	}
	return err
}

// Touch opens a connection below TLS and closes it.
func (d *Dialer) Touch(ctx context.Context, s Server) error {
	l, err := d.connect(ctx, s)
	if err == nil {
		l.kill()
	}
	return err
}
