package uplink

import (
	"context"
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

// dialer opens connections.
type dialer struct {
	time     timing
	user     time.Duration  // TCP_USER_TIMEOUT
	up, down *atomic.Uint64 // bytes
	now      func() time.Time
	random   func() float64 // [0, 1)
	headers  func() (http.Header, error)
	proxy    func(Server) (*url.URL, error)
}

func newDialer(t timing, user time.Duration) dialer {
	return dialer{time: t, user: user, up: new(atomic.Uint64), down: new(atomic.Uint64), now: time.Now, random: rand.Float64}
}

// dialTCP begins a dial, lookup of the name included, and then another one
// about every second until one has an answer. What is sent into a dead link is
// repeated by the kernel after 1, 3 and 7 s and by the resolver after 5; a link
// that comes back should not have to wait for that, and one with a round trip
// of seconds should not be given up for it either.
func (d *dialer) dialTCP(ctx context.Context, address string) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, d.time.dial)
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
	again := time.NewTicker(d.time.nextDial(d.random()))
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
		e.contact = unreached
		return nil, e
	}
	tcp, ok := first.conn.(*net.TCPConn)
	if !ok { // cannot be: "tcp" always gives one
		_ = first.conn.Close()
		return nil, reasonError(ReasonUnknown, fmt.Errorf("unexpected connection type %T", first.conn))
	}
	return &link{TCPConn: tcp, timeout: d.time.write, budget: handshakeBytes, up: d.up, down: d.down}, nil
}

// once is one dial. A resolver of its own keeps it from waiting for the lookup
// of another one.
func (d *dialer) once(ctx context.Context, address string) (net.Conn, error) {
	nd := net.Dialer{
		Resolver:  new(net.Resolver),
		KeepAlive: -1, // MQTT has its own
		Control: func(_, _ string, c syscall.RawConn) error {
			return setSocketOptions(c, d.user)
		},
	}
	return nd.DialContext(ctx, "tcp", address)
}
