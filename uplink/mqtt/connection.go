package mqtt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one connection to one broker, of either version of MQTT, with
// a clean session: used once and thrown away. Only what a broker may send to
// this client is taken; the first thing that goes wrong is kept as the cause.
//
// Goroutines: one reads, one writes, one keeps the pulse. Whoever has taken a
// permission may hand one packet to the writer, which never waits for that.
type Conn struct {
	cfg      *Config
	server   Server
	dialer   Dialer
	time     Timing
	v5       bool
	receiver *Receiver // nil: nothing is received

	conn    net.Conn // TLS, WebSocket or link
	link    *link
	allowed *allowance
	r       *bufio.Reader
	long    []byte // the body of an answer of MQTT 5, while it is read
	topic   []byte // of the message that is being read

	announce  Limits
	noRetain  bool
	keepAlive time.Duration

	slots chan struct{} // the permissions
	out   chan outgoing // to the writer; never full by the permissions
	buf   []byte        // the writer's
	wmu   sync.Mutex    // held while a packet is written

	born        time.Time
	heard, said instant // when the last packet came and went, for the pulse

	mu      sync.Mutex
	last    uint16             // packet id
	waiting map[uint16]*answer // what is owed, by packet id

	echoes *echoes

	cause    atomic.Pointer[Error]
	lostOnce sync.Once
	lostCh   chan struct{}

	goneOnce sync.Once
	gone     chan struct{}  // closed by close
	written  chan struct{}  // closed when nothing is written any more
	running  sync.WaitGroup // the three goroutines
	beside   sync.WaitGroup // goroutines of confirm and prove
}

// outgoing is a packet for the writer.
type outgoing struct {
	answer *answer // that it is to get; nil: DISCONNECT
	packet Packet
	asks   byte // 0: a PUBLISH
	option byte // of a subscription
	id     uint16
}

// answer is the fate of a packet that gets one, a [Token].
type answer struct {
	kind byte // of the packet that is owed
	code byte // what SUBACK says
	done chan struct{}
	err  error // set before done is closed
}

// Done is closed when the answer came.
func (t *answer) Done() <-chan struct{} { return t.done }

// Error is a *[Refusal] when the broker did not take a message.
func (t *answer) Error() error { return t.err }

const (
	// permissions are two: one packet being written, one waiting for it.
	permissions = 2
	// fewAnswers is what a broker of MQTT 5 may send unacknowledged to a client
	// that has subscribed to nothing.
	fewAnswers = 8
	// maxKept is how much of a buffer is kept for the next packet.
	maxKept = 256 * 1024
	// maxAnswer is the longest answer of a broker of MQTT 5 that is read: reason
	// strings and user properties are at its discretion.
	maxAnswer = 64 * 1024
)

// New makes a connection that is not open yet. Without a receiver nothing is
// received.
func New(cfg *Config, s Server, d Dialer, t Timing, r *Receiver) *Conn {
	c := &Conn{
		cfg: cfg, server: s, dialer: d, time: t, v5: cfg.Protocol == Protocol5, receiver: r, keepAlive: cfg.KeepAlive,
		slots: make(chan struct{}, permissions), out: make(chan outgoing, permissions+1), // and DISCONNECT
		waiting: map[uint16]*answer{}, echoes: newEchoes(),
		lostCh: make(chan struct{}), gone: make(chan struct{}), written: make(chan struct{}),
	}
	for range permissions {
		c.slots <- struct{}{}
	}
	return c
}

// use begins to work on a connection that MQTT begins on.
func (c *Conn) use(conn net.Conn, l *link) {
	c.conn, c.link, c.allowed, c.born = conn, l, newAllowance(time.Now), time.Now()
	c.r = bufio.NewReaderSize(conn, 1024)
	if len(c.cfg.Subscriptions) > 0 {
		c.allowed.rate = floodWanted
	}
	if c.receiver != nil && c.receiver.Patient {
		c.allowed = nil
	}
	if l != nil {
		l.allowed = c.allowed
	}
}

// Connect returns when the broker has accepted the connection, or with an
// error (with its Reason) in bounded time, promptly when ctx ends. Nothing is left
// behind after an error.
func (c *Conn) Connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.time.Connect)
	defer cancel()
	user, password, err := c.cfg.credentials(c.server)
	if err != nil {
		return NewError(ReasonSecret, err)
	}
	conn, l, err := c.dialer.dial(ctx, c.server, c.cfg.TLS)
	if err != nil {
		return err
	}
	c.use(conn, l)
	stop := context.AfterFunc(ctx, l.kill)
	h := hello{v5: c.v5, clientID: c.cfg.ClientID, user: user, password: password, keepAlive: c.cfg.KeepAlive, will: c.cfg.Will}
	h.receive, h.largest = c.accepts()
	err = c.greet(&h)
	if !stop() { // ctx has ended
		if err == nil {
			err = dialError(ctx.Err())
		} else {
			err = NewError(ReasonNoConnack, ctx.Err())
		}
	}
	if err != nil {
		l.kill()
		return l.note(err)
	}
	c.running.Go(c.readAll)
	c.running.Go(c.writeAll)
	c.running.Go(c.keepPulse)
	return nil
}

// accepts is what a broker of MQTT 5 may send.
func (c *Conn) accepts() (receive uint16, largest uint32) {
	receive, largest = fewAnswers, maxAnswer
	for _, s := range c.cfg.Subscriptions {
		receive = receiveMaximum
		largest = max(largest, uint32(s.MaxBytes+maxAnswer)) //nolint:gosec // normalize bounds it
	}
	return receive, largest
}

// greet sends CONNECT and reads CONNACK.
func (c *Conn) greet(h *hello) error {
	_, err := c.conn.Write(h.connect())
	c.said.set(c.born)
	if err != nil {
		e := writeError(err)
		if e.Reason == ReasonLost {
			// TLS 1.3 refuses a client certificate after the handshake: the alert
			// may be here already.
			_ = c.conn.SetReadDeadline(time.Now().Add(CloseTimeout))
			if _, rerr := c.r.ReadByte(); rerr != nil {
				e = readError(rerr, false)
			}
		}
		return e
	}
	if err := c.connack(); err != nil {
		return readError(err, false)
	}
	c.heard.set(c.born)
	return nil
}

// Limits are what the broker announced.
func (c *Conn) Limits() Limits { return c.announce }

// Ready gives one permission for every value received.
func (c *Conn) Ready() <-chan struct{} { return c.slots }

var errNoPacketID = errors.New("no packet id is free")

// owe makes an answer of one kind, with its packet id.
func (c *Conn) owe(kind byte) (*answer, uint16) {
	a := &answer{kind: kind, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= math.MaxUint16-1 {
		c.fail(NewError(ReasonUnknown, errNoPacketID))
		return a, 0
	}
	for {
		c.last++
		if _, taken := c.waiting[c.last]; c.last != 0 && !taken {
			break
		}
	}
	c.waiting[c.last] = a
	return a, c.last
}

// Publish sends one message. It needs a permission and does not wait for the
// network. Messages are sent in the order of the calls.
func (c *Conn) Publish(m Packet) Token {
	m.Retain = m.Retain && !c.noRetain
	c.echoes.published(&m)
	if m.Once {
		a := &answer{done: make(chan struct{})}
		c.out <- outgoing{answer: a, packet: m}
		return a
	}
	a, id := c.owe(typePuback)
	c.out <- outgoing{answer: a, packet: m, id: id}
	return a
}

// ask subscribes; it needs a permission, as publish does.
func (c *Conn) ask(filter string, options byte) *answer {
	a, id := c.owe(typeSuback)
	c.out <- outgoing{answer: a, packet: Packet{Topic: filter}, asks: typeSubscribe, option: options, id: id}
	return a
}

// unsubscribe takes a permission. It is nil when the connection has ended.
func (c *Conn) unsubscribe(filter string) *answer {
	select {
	case <-c.slots:
	case <-c.lostCh:
		return nil
	case <-c.gone:
		return nil
	}
	a, id := c.owe(typeUnsuback)
	c.out <- outgoing{answer: a, packet: Packet{Topic: filter}, asks: typeUnsubscribe, id: id}
	return a
}

// goodbye is DISCONNECT. The shortest form of MQTT 5 is too short for some.
var goodbye = map[bool][]byte{false: {typeDisconnect << 4, 0}, true: {typeDisconnect << 4, 2, 0, 0}}

// writeAll writes what is handed out until close.
func (c *Conn) writeAll() {
	defer close(c.written)
	for {
		select {
		case <-c.gone:
			return
		case o := <-c.out:
			if o.answer == nil {
				_ = c.write(goodbye[c.v5])
				return
			}
			switch o.asks {
			case typeSubscribe:
				c.buf = subscribe(c.buf, o.id, o.packet.Topic, o.option, c.v5)
			case typeUnsubscribe:
				c.buf = unsubscribe(c.buf, o.id, o.packet.Topic, c.v5)
			default:
				c.buf = o.packet.publish(c.buf, o.id, c.v5)
			}
			err := c.write(c.buf)
			if cap(c.buf) > maxKept {
				c.buf = nil
			}
			if err != nil {
				continue // until close
			}
			if o.packet.Once {
				close(o.answer.done)
			}
			c.slots <- struct{}{}
		}
	}
}

// write writes one packet. A failure ends the connection.
func (c *Conn) write(p []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, err := c.conn.Write(p)
	c.said.set(c.born)
	if err == nil {
		return nil
	}
	e := writeError(err)
	if e.Reason == ReasonLost {
		// The broker may have said why before it hung up, and have answered:
		// whoever reads gets there, or to the end, within the time.
		time.AfterFunc(CloseTimeout, func() { c.fail(e) })
		return e
	}
	c.fail(e)
	return e
}

// fail keeps the first error as the cause. That this end has closed the
// connection is no cause.
func (c *Conn) fail(e *Error) {
	if !errors.Is(e, net.ErrClosed) {
		c.cause.CompareAndSwap(nil, e)
	}
	c.lostOnce.Do(func() { close(c.lostCh) })
}

func (c *Conn) keepPulse() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.gone:
		case <-c.lostCh:
		case <-ctx.Done():
		}
		cancel()
	}()
	keep := pulse{conn: c, keepAlive: c.keepAlive, taken: c.link.taken, dead: func() {
		c.fail(NewError(ReasonKeepAlive, nil))
		c.link.kill()
	}}
	keep.run(ctx)
}

// Stalled says that the network answers nothing of what was sent, not even below
// MQTT. It may be called from any goroutine.
func (c *Conn) Stalled() bool { return c.link.stalled() }

// Lost is closed when the connection has ended by itself. Tokens whose
// acknowledgement came before are settled by then.
func (c *Conn) Lost() <-chan struct{} { return c.lostCh }

// Err is why the connection ended, with its Reason.
func (c *Conn) Err() error {
	if e := c.cause.Load(); e != nil {
		return e
	}
	return NewError(ReasonLost, nil)
}

// Close ends the connection in bounded time; with DISCONNECT if polite, behind what was handed
// to the writer. Closing again does nothing.
func (c *Conn) Close(polite bool) {
	c.goneOnce.Do(func() {
		t := time.AfterFunc(CloseTimeout, c.link.kill)
		defer t.Stop()
		if polite {
			c.out <- outgoing{}
			<-c.written // the timer sees to it
		} else {
			c.link.kill()
		}
		close(c.gone)
		// TLS wants to say goodbye first, and would wait 5 s for a connection that
		// takes nothing.
		_ = c.conn.Close()
		c.link.kill()
		c.running.Wait()
		c.beside.Wait()
	})
}

// settle gives an answer to whoever waits for it, unless it is not owed.
func (c *Conn) settle(kind byte, id uint16, code byte, said string) bool {
	c.mu.Lock()
	a := c.waiting[id]
	if a == nil || a.kind != kind {
		c.mu.Unlock()
		return false
	}
	delete(c.waiting, id)
	c.mu.Unlock()
	a.code = code
	if kind == typePuback && code >= 0x80 {
		a.err = &Refusal{Code: code, Said: said}
	}
	close(a.done)
	return true
}

func unexpected(first byte, length int) error {
	return NewError(ReasonProtocol, fmt.Errorf("unexpected packet: first byte 0x%02x, length %d", first, length))
}
