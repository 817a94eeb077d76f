package uplink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// MQTT 3.1.1, 2.2.1: packet types in the upper half of the first byte.
const (
	typeConnect = 1
	typeConnack = 2
	typePublish = 3
	typePuback  = 4

	typeSubscribe = 8
	typeSuback    = 9
	typePingreq   = 12
	typePingresp  = 13

	typeDisconnect = 14 // from a broker: MQTT 5 only
)

// maxAnswer is the longest answer of an MQTT 5 broker that is read: reason
// strings and user properties are at its discretion.
const maxAnswer = 64 * 1024

// guard stands between paho and the connection and lets through only what a
// publisher may get from a broker. paho allocates whatever length a packet
// announces, takes SUBACK and PUBCOMP with the id of a PUBLISH for its
// acknowledgement, and takes unknown CONNACK codes for success.
//
// A PUBACK passes only for a PUBLISH that was written before and not yet
// acknowledged. The first thing that goes wrong is kept as the cause.
type guard struct {
	net.Conn      // TLS, WebSocket or link
	v5       bool // MQTT 5, else 3.1.1
	// keepAlive goes into CONNECT instead of what paho knows, if not 0.
	keepAlive time.Duration
	link      *link
	allowed   *allowance
	r         *bufio.Reader
	packet    [5]byte // the packet being handed out; none of MQTT 3.1.1 that may pass is longer
	long      []byte  // the same for MQTT 5
	rest      []byte  // what of it was not read yet
	accepted  bool    // CONNACK passed

	wmu   sync.Mutex    // paho pings from a goroutine of its own
	slots chan struct{} // gets one for every PUBLISH written without error

	sent   [65536 / 32]atomic.Uint32 // bit set of packet ids written and not acknowledged
	strays atomic.Uint64             // packets not passed on

	subscribed atomic.Uint32        // packet id of the SUBSCRIBE not answered; 0: none
	echo       atomic.Pointer[echo] // the message that is to come back; nil: none
	own        *echo                // the one that did; belongs to the goroutine that reads

	born        time.Time
	heard, said instant // when the last packet came and went, for the pulse

	cause    atomic.Pointer[Error]
	failOnce sync.Once
	onFail   func()

	pubMu sync.Mutex // held during paho's Publish
	over  bool       // failed; guarded by pubMu
}

var (
	errHTTP      = errors.New("it answers with HTTP")
	errNoConnack = errors.New("the first packet is not a CONNACK")
	errLength    = errors.New("a packet announces an impossible length")
)

func newGuard(conn net.Conn, l *link, slots chan struct{}, onFail func()) *guard {
	a := newAllowance(time.Now)
	if l != nil {
		l.allowed = a
	}
	return &guard{Conn: conn, link: l, allowed: a, r: bufio.NewReaderSize(conn, 1024), slots: slots, onFail: onFail, born: time.Now()}
}

// Read hands out the next bytes of packets that may pass.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.rest) == 0 {
		if err := g.next(); err != nil {
			return 0, g.fail(readError(err, g.accepted))
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// next reads one packet and puts it into rest if it may pass.
func (g *guard) next() error {
	first, err := g.r.ReadByte()
	if err != nil {
		return err
	}
	if !g.accepted {
		if g.v5 {
			return g.connack5(first)
		}
		return g.connack(first)
	}
	length, err := g.length()
	if err != nil {
		return err
	}
	g.heard.set(g.born)
	switch {
	case g.v5 && first == typePuback<<4 && length >= 2:
		return g.puback5(length)
	case g.v5 && first == typeDisconnect<<4:
		return g.disconnect5(length)
	case first == typePuback<<4 && length == 2:
		return g.puback()
	case first == typePingresp<<4 && length == 0:
		return g.allowed.spend(floodPacket) // the pulse knows by now
	case first == typeSuback<<4 && length == 3:
		return g.suback()
	case first>>4 == typePublish:
		return g.publish(first, length)
	}
	return reasonError(ReasonProtocol, fmt.Errorf("unexpected packet: first byte 0x%02x, length %d", first, length))
}

// connack checks the first packet, and refusals in it.
func (g *guard) connack(first byte) error {
	if first == 'H' {
		return reasonError(ReasonNotMQTT, errHTTP)
	}
	if first != typeConnack<<4 {
		return reasonError(ReasonNotMQTT, errNoConnack)
	}
	g.packet[0] = first
	if _, err := io.ReadFull(g.r, g.packet[1:4]); err != nil {
		return err
	}
	if g.packet[1] != 2 {
		return reasonError(ReasonNotMQTT, errNoConnack)
	}
	if err := connackError(g.packet[3]); err != nil {
		return err
	}
	g.accepted = true
	g.rest = g.packet[:4]
	return nil
}

// connackError is the error for a CONNACK return code, nil for 0 (MQTT 3.1.1, 3.2.2.3).
func connackError(code byte) error {
	err := fmt.Errorf("CONNACK return code %d", code)
	switch code {
	case 0:
		return nil
	case 1:
		return reasonError(ReasonVersion, err)
	case 2:
		return reasonError(ReasonClientID, err)
	case 3:
		return reasonError(ReasonUnavailable, err)
	case 4, 5:
		return reasonError(ReasonUser, err)
	}
	return reasonError(ReasonRefused, err)
}

// length reads a remaining length (MQTT 3.1.1, 2.2.3).
func (g *guard) length() (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := g.r.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, reasonError(ReasonProtocol, errLength)
}

func (g *guard) puback() error {
	g.packet[0], g.packet[1] = typePuback<<4, 2
	if _, err := io.ReadFull(g.r, g.packet[2:4]); err != nil {
		return err
	}
	if g.expected(g.packet[2], g.packet[3]) {
		g.allowed.earn()
		g.rest = g.packet[:4]
		return nil
	}
	return g.allowed.spend(floodPacket)
}

// echo is a message of our own that the broker is to send back.
type echo struct {
	topic   string
	payload []byte
	back    chan struct{} // closed when it came
	seen    func([]byte)  // what comes to the topic afterwards; may be nil
}

// publish looks at a message from the broker, and keeps it from paho.
func (g *guard) publish(first byte, length int) error {
	if g.own != nil && first == typePublish<<4 && length >= 2+len(g.own.topic) && length <= maxAnswer {
		return g.overhear(length)
	}
	e := g.echo.Load()
	// Not retained: it was sent because it came now. QoS 0: as subscribed.
	if e == nil || first != typePublish<<4 || length != 2+len(e.topic)+len(e.payload) {
		// Some brokers subscribe their clients to something by themselves.
		g.strays.Add(1)
		cost := floodPacket // its bytes are counted by the link
		if length > floodBurst {
			cost = length // however slowly it would come
		}
		if err := g.allowed.spend(cost); err != nil {
			return err
		}
		_, err := g.r.Discard(length)
		return err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(g.r, body); err != nil {
		return err
	}
	if string(body[2:2+len(e.topic)]) == e.topic && bytes.Equal(body[2+len(e.topic):], e.payload) &&
		g.echo.CompareAndSwap(e, nil) {
		close(e.back)
		if e.seen != nil {
			g.own = e
		}
	}
	return nil
}

// overhear reads a message that may be to the topic of the one that came back.
func (g *guard) overhear(length int) error {
	if err := g.allowed.spend(floodPacket); err != nil {
		return err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(g.r, body); err != nil {
		return err
	}
	topic := g.own.topic
	if int(body[0])<<8|int(body[1]) == len(topic) && string(body[2:2+len(topic)]) == topic {
		g.own.seen(body[2+len(topic):])
	} else {
		g.strays.Add(1)
	}
	return nil
}

// suback passes the answer to the one SUBSCRIBE there is.
func (g *guard) suback() error {
	g.packet[0], g.packet[1] = typeSuback<<4, 3
	if _, err := io.ReadFull(g.r, g.packet[2:5]); err != nil {
		return err
	}
	id := uint32(g.packet[2])<<8 | uint32(g.packet[3])
	if id == 0 || !g.subscribed.CompareAndSwap(id, 0) {
		return reasonError(ReasonProtocol, fmt.Errorf("SUBACK for packet id %d, which was not asked for", id))
	}
	g.rest = g.packet[:5]
	return nil
}

// expected says whether a PUBACK for this id may come, and that it came.
func (g *guard) expected(high, low byte) bool {
	id := uint16(high)<<8 | uint16(low)
	bit := uint32(1) << (id % 32)
	if g.sent[id/32].And(^bit)&bit == 0 {
		g.strays.Add(1) // twice, or never sent
		return false
	}
	return true
}

// Write writes one packet; paho always hands over whole ones.
func (g *guard) Write(p []byte) (int, error) {
	g.wmu.Lock()
	defer g.wmu.Unlock()
	publish := len(p) > 0 && p[0]>>4 == typePublish
	if g.keepAlive > 0 && len(p) > connectKeepAlive+1 && p[0]>>4 == typeConnect {
		p = withKeepAlive(p, g.keepAlive)
	}
	if publish {
		if id, ok := publishID(p); ok {
			g.sent[id/32].Or(1 << (id % 32)) // before the PUBACK can come
		}
	} else if len(p) > 0 && p[0]>>4 == typeSubscribe {
		if i := lengthEnd(p); i+2 <= len(p) {
			g.subscribed.Store(uint32(p[i])<<8 | uint32(p[i+1]))
		}
	}
	n, err := g.Conn.Write(p)
	g.said.set(g.born)
	if err != nil {
		e := writeError(err)
		if len(p) > 0 && p[0]>>4 == typeConnect && e.Reason == ReasonLost {
			// TLS 1.3 refuses a client certificate after the handshake: the alert
			// may be here already. Nobody else reads before CONNECT is out.
			_ = g.Conn.SetReadDeadline(time.Now().Add(closeTimeout))
			if _, rerr := g.r.ReadByte(); rerr != nil {
				e = readError(rerr, false)
			}
		}
		if g.v5 && e.Reason == ReasonLost {
			// The broker may have said why before it hung up: whoever reads gets
			// there, or to the end, within the time.
			time.AfterFunc(closeTimeout, func() { _ = g.fail(e) })
			return n, e
		}
		return n, g.fail(e)
	}
	if publish {
		select {
		case g.slots <- struct{}{}:
		default:
		}
	}
	return n, nil
}

// connectKeepAlive is where the keep alive of a CONNECT is, behind the fixed
// header: protocol name, level and flags come first (MQTT 3.1.1, 3.1.2).
const connectKeepAlive = 8

// withKeepAlive is a CONNECT with another keep alive: paho would send pings of
// its own for one that it knows of.
func withKeepAlive(p []byte, keepAlive time.Duration) []byte {
	at := lengthEnd(p) + connectKeepAlive
	if at+2 > len(p) {
		return p
	}
	p = append([]byte(nil), p...)
	seconds := keepAlive / time.Second
	p[at], p[at+1] = byte(seconds>>8), byte(seconds) //nolint:gosec // MaxKeepAlive bounds it
	return p
}

// lengthEnd is where the fixed header of a packet ends.
func lengthEnd(p []byte) int {
	i := 1
	for i < len(p) && i < 5 && p[i] >= 0x80 {
		i++
	}
	return i + 1
}

// publishID is the packet id of a PUBLISH with QoS > 0 (MQTT 3.1.1, 3.3.2).
func publishID(p []byte) (uint16, bool) {
	if p[0]&0x06 == 0 {
		return 0, false
	}
	i := lengthEnd(p) // the topic's length is here
	if i+2 > len(p) {
		return 0, false
	}
	i += 2 + (int(p[i])<<8 | int(p[i+1]))
	if i+2 > len(p) {
		return 0, false
	}
	return uint16(p[i])<<8 | uint16(p[i+1]), true
}

// SetDeadline bounds reading; writes have their own bound, see link.
func (g *guard) SetDeadline(t time.Time) error { return g.Conn.SetReadDeadline(t) }

// SetWriteDeadline does nothing, see link.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

// Close closes in bounded time: TLS wants to say goodbye first, and would
// wait 5 s for a connection that takes nothing.
func (g *guard) Close() error {
	t := time.AfterFunc(closeTimeout, g.link.kill)
	defer t.Stop()
	return g.Conn.Close()
}

// begin says whether a packet can be published, and then keeps a failure from
// paho until end: paho would stop taking packets, and a Publish under way
// would wait in vain, with nothing to interrupt it.
func (g *guard) begin() bool {
	g.pubMu.Lock()
	if g.over {
		g.pubMu.Unlock()
		return false
	}
	return true
}

func (g *guard) end() { g.pubMu.Unlock() }

// fail keeps the first error as the cause and returns it. That this end has
// closed the connection is no cause.
func (g *guard) fail(e *Error) error {
	if g.link != nil {
		_ = g.link.note(e)
	}
	if !errors.Is(e, net.ErrClosed) {
		g.cause.CompareAndSwap(nil, e)
	}
	g.pubMu.Lock()
	g.over = true
	g.pubMu.Unlock()
	g.failOnce.Do(g.onFail)
	return e
}
