package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"syscall"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// When a connection is given up for a new one. That the far end closes it
// after a reply or a while is normal, and that nothing on it is answered for a
// while is not: some devices hang on one connection and answer on the next.
const (
	silentFor      = 5 * time.Second
	longestSilence = time.Minute // each new one that brings nothing is kept longer
	silentRequests = 3
	mostBarren     = 2                     // connections in a row that the far end closes without an answer
	lateSlice      = 20 * time.Millisecond // bounds how long an order or a one-shot read waits for that
)

// redialAfter are the pauses before another try to connect again: some devices
// take one connection at a time, and let go of the old one slowly.
var redialAfter = []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond}

// link is a line's way to its devices, and what is known of it.
type link struct {
	network bool
	close   func() // nil: there is none at present

	answered   bool          // something was, since Run began
	barren     int           // see mostBarren
	proved     bool          // an answer has come by this connection
	heard      time.Time     // the last answer by it, or its beginning
	unanswered int           // requests since
	patience   time.Duration // for how long it may be silent
}

func (k *link) reset() { *k = link{network: k.network, patience: silentFor} }

func (k *link) word() string {
	if k.network {
		return "connection"
	}
	return "serial port"
}

// silent reports whether the connection has brought nothing for too long.
func (k *link) silent(now time.Time) bool {
	return k.unanswered >= silentRequests && now.Sub(k.heard) >= k.patience
}

// closedError says that the far end closes the connection in place of a reply
// to one request, while it answers others. The port is not lost.
type closedError struct{}

func (*closedError) Error() string {
	return "closed: the far end closed the connection in place of a reply"
}

// earlyError explains a connection that is closed before it has brought anything.
type earlyError struct{ delay time.Duration }

func (e *earlyError) Error() string {
	if e.delay > 0 {
		return "the far end closed the connection before it answered anything"
	}
	return "the far end closed the connection before it answered anything; if it needs a moment after connecting, set connect_delay: 1s"
}

// connect opens the port or connects. Its error is a *[rtu.PortLostError] or
// that of the context.
func (l *Line) connect() error {
	port, err := l.openPort(l.ctx)
	if err != nil {
		if l.ctx.Err() != nil {
			return l.ctx.Err()
		}
		return &rtu.PortLostError{Op: "open", Err: err, Connection: l.link.network}
	}
	if l.log.Enabled(l.ctx, slog.LevelDebug) {
		port = rtu.Traced(port, func(sent bool, b []byte) {
			word := "received"
			if sent {
				word = "sent"
			}
			l.log.Debug(word, "bytes", fmt.Sprintf("% X", b))
		})
	}
	stop := context.AfterFunc(l.ctx, func() { port.Close() })
	l.wire.Attach(port)
	l.link.close = func() {
		stop()
		port.Close()
		l.wire.Attach(nil)
	}
	l.link.proved, l.link.unanswered = false, 0
	if l.link.network && l.cfg.ConnectDelay > 0 {
		if err := sleep(l.ctx, l.cfg.ConnectDelay); err != nil {
			return err
		}
	}
	l.link.heard = time.Now()
	return nil
}

// disconnect gives the port up, if there is one.
func (l *Line) disconnect() {
	if l.link.close != nil {
		l.link.close()
		l.link.close = nil
	}
}

// reconnect replaces a connection.
func (l *Line) reconnect() (err error) {
	l.disconnect()
	for _, pause := range redialAfter {
		if err := sleep(l.ctx, pause); err != nil {
			return err
		}
		if err = l.connect(); err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	return err
}

// exchange sends a request, on a new connection if the present one is of no
// use, and once more on a new one if the far end has closed one that brought
// answers. Everything is a read here, so that this does no harm; [Line.put] is
// for what writes.
func (l *Line) exchange(request []byte, again bool) ([]byte, error) {
	send := l.wire.SendContext
	if again {
		send = l.wire.Resend
	}
	if !l.link.network {
		return l.transmit(request, send)
	}
	if err := l.freshen(time.Now()); err != nil {
		return nil, err
	}
	proved := l.link.proved
	reply, err := l.transmit(request, send)
	if !l.closed(err) {
		return reply, err
	}
	if proved {
		if err := l.reconnect(); err != nil {
			return nil, err
		}
		if reply, err = l.transmit(request, l.wire.Resend); !l.closed(err) {
			return reply, err
		}
	}
	return nil, l.barren(err)
}

// freshen sees to it that there is a connection that can be used.
func (l *Line) freshen(now time.Time) error {
	stale, ok := l.wire.(interface{ Stale() bool })
	switch {
	case l.link.close == nil:
	case ok && stale.Stale():
	case l.link.silent(now):
		l.log.Info("nothing has answered for a while; connecting again", "port", l.cfg.Port, "silent_for", now.Sub(l.link.heard).Round(time.Second))
		l.link.patience = min(2*l.link.patience, longestSilence)
	default:
		return nil
	}
	return l.reconnect()
}

// hearOut waits a little for replies that are late, if any are, so that it is
// known how late: then it reports true.
func (l *Line) hearOut(now, until time.Time) (bool, error) {
	late, ok := l.wire.(interface{ Overdue() bool })
	if !ok || !late.Overdue() {
		return false, nil
	}
	d := lateSlice
	if !until.IsZero() {
		d = min(d, until.Sub(now))
	}
	err := l.wire.Listen(l.ctx, d)
	if l.closed(err) {
		l.disconnect()
		return true, nil
	}
	return true, err
}

// transmit sends a request and notes what that says of the connection.
func (l *Line) transmit(request []byte, send func(context.Context, []byte) ([]byte, error)) ([]byte, error) {
	late := l.wire.Stats().LateReplies
	begin := time.Now()
	reply, err := send(l.ctx, request)
	l.mu.Lock()
	l.account.note(request, reply, err, begin, time.Since(begin), l.probing)
	l.mu.Unlock()
	if !l.link.network || l.closed(err) || l.ctx.Err() != nil {
		return reply, err
	}
	l.portFound()
	k := &l.link
	if isTimeout(err) && l.wire.Stats().LateReplies == late {
		k.unanswered++
		return reply, err
	}
	k.answered, k.proved, k.barren, k.unanswered = true, true, 0, 0
	k.heard, k.patience = time.Now(), silentFor
	return reply, err
}

// closed reports whether err says that the connection has ended.
func (l *Line) closed(err error) bool {
	var lost *rtu.PortLostError
	if !l.link.network || l.ctx.Err() != nil || !errors.As(err, &lost) {
		return false
	}
	lost.Connection = true
	return true
}

// barren judges a new connection that the far end has closed, or spoiled,
// before it brought anything. Where others did, the request may be what it
// does not like; where none does the port is lost.
func (l *Line) barren(err error) error {
	l.disconnect()
	l.link.barren++
	if l.link.answered && l.link.barren < mostBarren {
		return &closedError{}
	}
	var lost *rtu.PortLostError
	if errors.As(err, &lost) && (errors.Is(lost.Err, io.EOF) || errors.Is(lost.Err, syscall.ECONNRESET) || errors.Is(lost.Err, syscall.EPIPE)) {
		return &rtu.PortLostError{Op: "read", Err: &earlyError{l.cfg.ConnectDelay}, Connection: true}
	}
	return err
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for a connection: %w", ctx.Err())
	}
}
