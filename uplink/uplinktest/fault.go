package uplinktest

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Ack is what a [FaultBroker] does with a PUBLISH.
type Ack uint8

// The ways to acknowledge.
const (
	AckNow      Ack = iota // at once
	AckNever               // not at all
	AckLate                // when Release is called
	AckTwice               // at once, and once more
	AckReversed            // in groups of four, the last one first
	AckUnknown             // at once, after PUBACKs for ids that are not in flight
	AckOther               // with SUBACK, UNSUBACK and PUBCOMP of the same id, never with PUBACK
)

// Fault is how a [FaultBroker] treats one connection. The zero value is a
// broker without fault.
type Fault struct {
	NoConnack   bool   // read CONNECT, answer nothing
	Refuse      byte   // not 0: CONNACK with this return code, then close
	Connack     []byte // not nil: these bytes instead of a CONNACK
	Ack         Ack
	DropAfter   int    // not 0: cut the connection on reading that PUBLISH, which is not acknowledged
	HalfOpen    int    // not 0: on that PUBLISH stop reading and answering, but keep the connection
	Garbage     []byte // sent instead of the PUBACK for PUBLISH number GarbageAt
	GarbageAt   int    // counted from 1; 0: no garbage
	IgnorePings bool   // no PINGRESP
}

// Received is a PUBLISH that a [FaultBroker] has read.
type Received struct {
	Conn    int // connection, from 0
	ID      uint16
	Topic   string
	Payload string
	Retain  bool
	Dup     bool
	QoS     byte
	Acked   bool // a PUBACK was sent, or at least begun to be sent
}

// Connect is a CONNECT that a [FaultBroker] has read.
type Connect struct {
	ClientID    string
	Username    string
	Password    string
	Clean       bool
	KeepAlive   uint16
	Version     byte
	WillTopic   string
	WillPayload string
	WillRetain  bool
	WillQoS     byte
}

// FaultBroker is a broker that breaks the protocol as told and records what
// it got. All methods may be called from any goroutine.
type FaultBroker struct {
	listener *listener
	done     chan struct{}

	mu          sync.Mutex
	changed     chan struct{} // closed and replaced at every change
	faults      []Fault
	conns       int
	open        int
	connects    []Connect
	received    []Received
	held        []held
	unacked     map[int]int // per connection
	maxUnacked  int
	disconnects int
}

// held is a PUBACK that waits for Release.
type held struct {
	conn  *faultConn
	id    uint16
	index int // in received
}

// NewFaultBroker starts a broker at a free port of 127.0.0.1 that treats its
// first connection by the first fault and so on; the last fault is for all
// further ones. Without faults it has none.
func NewFaultBroker(t Transport, faults ...Fault) (*FaultBroker, error) {
	b := &FaultBroker{
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		faults:  faults,
		unacked: make(map[int]int),
	}
	var err error
	if b.listener, err = newListener("", t, b.serve); err != nil {
		return nil, err
	}
	return b, nil
}

// Addr is host:port.
func (b *FaultBroker) Addr() string { return b.listener.address.text }

// Close cuts all connections and returns when nothing is left of them.
func (b *FaultBroker) Close() {
	close(b.done)
	b.listener.close()
}

// Behave replaces the faults for connections to come, counted from the next.
func (b *FaultBroker) Behave(faults ...Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults, b.conns = faults, 0
}

// Received is a copy of all PUBLISH packets so far, in order.
func (b *FaultBroker) Received() []Received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Received(nil), b.received...)
}

// Connects is a copy of all CONNECT packets so far, in order.
func (b *FaultBroker) Connects() []Connect {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Connect(nil), b.connects...)
}

// Disconnects is how many DISCONNECT packets came.
func (b *FaultBroker) Disconnects() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.disconnects
}

// MaxUnacked is the largest number of PUBLISH packets that were unacknowledged
// at one time on one connection.
func (b *FaultBroker) MaxUnacked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.maxUnacked
}

// Acked says whether a PUBACK was sent for a message with that payload.
func (b *FaultBroker) Acked(payload string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.received) - 1; i >= 0; i-- {
		if b.received[i].Acked && b.received[i].Payload == payload {
			return true
		}
	}
	return false
}

// Wait waits until cond holds, which is asked again after every change. The
// broker's methods must not be called in cond.
func (b *FaultBroker) Wait(ctx context.Context, cond func(received []Received, connects, open int) bool) error {
	for {
		b.mu.Lock()
		ok, changed := cond(b.received, len(b.connects), b.open), b.changed
		b.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Release sends the PUBACKs held back by AckLate on connections still open.
func (b *FaultBroker) Release() {
	b.mu.Lock()
	held := b.held
	b.held = nil
	b.mu.Unlock()
	for _, h := range held {
		b.ack(h.conn, h.id, h.index)
	}
}

// change must be called with the lock held.
func (b *FaultBroker) change() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// faultConn is one connection.
type faultConn struct {
	net.Conn
	number int
	fault  Fault
	r      *bufio.Reader
	seen   int    // PUBLISH packets
	group  []held // of AckReversed
}

func (b *FaultBroker) serve(conn net.Conn) {
	c := &faultConn{Conn: conn, r: bufio.NewReader(conn)}
	b.mu.Lock()
	if n := len(b.faults); n > 0 {
		c.fault = b.faults[min(b.conns, n-1)]
	}
	b.conns++
	b.open++
	b.change()
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.open--
		b.change()
		b.mu.Unlock()
	}()
	if b.accept(c) {
		for b.step(c) {
		}
	}
}

// accept reads CONNECT and answers it. It returns false when that was all.
func (b *FaultBroker) accept(c *faultConn) bool {
	first, err := packets.ReadPacket(c.r)
	p, ok := first.(*packets.ConnectPacket)
	if err != nil || !ok {
		return false
	}
	b.mu.Lock()
	c.number = len(b.connects)
	b.connects = append(b.connects, Connect{
		ClientID: p.ClientIdentifier, Username: p.Username, Password: string(p.Password),
		Clean: p.CleanSession, KeepAlive: p.Keepalive, Version: p.ProtocolVersion,
		WillTopic: p.WillTopic, WillPayload: string(p.WillMessage), WillRetain: p.WillRetain, WillQoS: p.WillQos,
	})
	b.change()
	b.mu.Unlock()
	switch {
	case c.fault.NoConnack:
		b.hold(c)
		return false
	case c.fault.Connack != nil:
		_, _ = c.Write(c.fault.Connack)
		_, _ = c.r.WriteTo(discard{}) // until the client goes
		return false
	}
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.ReturnCode = c.fault.Refuse
	return ack.Write(c) == nil && c.fault.Refuse == 0
}

// hold keeps the connection without reading, until the broker is closed.
func (b *FaultBroker) hold(*faultConn) { <-b.done }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// step handles one packet. It returns false at the end of the connection.
func (b *FaultBroker) step(c *faultConn) bool {
	if len(c.group) > 0 && !b.more(c) {
		return true
	}
	packet, err := packets.ReadPacket(c.r)
	if err != nil {
		return false
	}
	switch p := packet.(type) {
	case *packets.PublishPacket:
		return b.publish(c, p)
	case *packets.PingreqPacket:
		if c.fault.IgnorePings {
			return true
		}
		return packets.NewControlPacket(packets.Pingresp).Write(c) == nil
	case *packets.DisconnectPacket:
		b.mu.Lock()
		b.disconnects++
		b.change()
		b.mu.Unlock()
		return false
	}
	return true
}

// more waits a moment for another packet; if none comes, an incomplete group
// is acknowledged as it is, or the last messages would wait for ever.
func (b *FaultBroker) more(c *faultConn) bool {
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err := c.r.Peek(1)
	_ = c.SetReadDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.ackGroup(c)
		return false
	}
	return true
}

func (b *FaultBroker) publish(c *faultConn, p *packets.PublishPacket) bool {
	c.seen++
	b.mu.Lock()
	h := held{conn: c, id: p.MessageID, index: len(b.received)}
	b.received = append(b.received, Received{
		Conn: c.number, ID: p.MessageID, Topic: p.TopicName, Payload: string(p.Payload),
		Retain: p.Retain, Dup: p.Dup, QoS: p.Qos,
	})
	b.unacked[c.number]++
	b.maxUnacked = max(b.maxUnacked, b.unacked[c.number])
	if c.fault.Ack == AckLate {
		b.held = append(b.held, h)
	}
	b.change()
	b.mu.Unlock()
	switch {
	case c.seen == c.fault.DropAfter:
		return false
	case c.seen == c.fault.HalfOpen:
		b.hold(c)
		return false
	case c.seen == c.fault.GarbageAt:
		_, err := c.Write(c.fault.Garbage)
		return err == nil
	}
	return b.answer(c, h)
}

func (b *FaultBroker) answer(c *faultConn, h held) bool {
	switch c.fault.Ack {
	case AckNow:
		return b.ack(c, h.id, h.index)
	case AckTwice:
		return b.ack(c, h.id, h.index) && puback(c, h.id)
	case AckUnknown:
		far := h.id + 32768
		return puback(c, far) && puback(c, 0) && puback(c, far-1) && b.ack(c, h.id, h.index)
	case AckReversed:
		if c.group = append(c.group, h); len(c.group) == 4 {
			b.ackGroup(c)
		}
	case AckOther:
		return wrongAcks(c, h.id)
	}
	return true
}

func (b *FaultBroker) ackGroup(c *faultConn) {
	for i := len(c.group) - 1; i >= 0; i-- {
		b.ack(c, c.group[i].id, c.group[i].index)
	}
	c.group = c.group[:0]
}

// ack records first and sends then: a client that has seen the PUBACK must
// find it recorded.
func (b *FaultBroker) ack(c *faultConn, id uint16, index int) bool {
	b.mu.Lock()
	b.received[index].Acked = true
	b.unacked[c.number]--
	b.change()
	b.mu.Unlock()
	return puback(c, id)
}

func puback(c *faultConn, id uint16) bool {
	p := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	p.MessageID = id
	return p.Write(c) == nil
}

// wrongAcks sends everything that has a packet id but is not a PUBACK.
func wrongAcks(c *faultConn, id uint16) bool {
	high, low := byte(id>>8), byte(id)
	_, err := c.Write([]byte{
		0x70, 2, high, low, // PUBCOMP
		0xB0, 2, high, low, // UNSUBACK
		0x90, 3, high, low, 1, // SUBACK
	})
	return err == nil
}
