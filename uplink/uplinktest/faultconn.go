package uplinktest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// faultConn is one connection.
type faultConn struct {
	net.Conn
	wire
	sync.Mutex // paho.golang locks a connection for the parts of a packet
	wmu        sync.Mutex
	number     int
	fault      Fault
	r          *bufio.Reader
	seen       int    // PUBLISH packets
	group      []held // of AckReversed
	subs       []string
}

// Write writes; a WebSocket takes one writer at a time.
func (c *faultConn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.Conn.Write(p)
}

func (b *FaultBroker) serve(conn net.Conn) {
	c := &faultConn{Conn: conn, r: bufio.NewReader(conn)}
	if _, err := c.r.Peek(1); err != nil {
		return // who dials twice at once has no use for the second
	}
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
		b.mu.Lock()
		b.newest = c
		b.mu.Unlock()
		for b.step(c) {
		}
	}
}

// accept reads CONNECT and answers it. It returns false when that was all.
func (b *FaultBroker) accept(c *faultConn) bool {
	var err error
	if c.wire, err = detect(c.r); err != nil {
		return false
	}
	hello, err := c.connect(c.r)
	if err != nil {
		return false
	}
	b.mu.Lock()
	c.number = len(b.connects)
	b.connects = append(b.connects, hello)
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
	return c.connack(c, &c.fault) == nil && c.fault.Refuse == 0
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
	packet, err := c.read(c.r)
	if err != nil {
		return false
	}
	switch p := packet.(type) {
	case publish:
		return b.publish(c, p)
	case subscribe:
		return b.subscribe(c, p)
	case puback:
		b.mu.Lock()
		b.answers = append(b.answers, Answer{c.number, p.id, p.code})
		b.change()
		b.mu.Unlock()
	case unsubscribe:
		return b.unsubscribe(c, p)
	case ping:
		return c.fault.IgnorePings || c.pingresp(c) == nil
	case goodbye:
		b.mu.Lock()
		b.disconnects++
		b.change()
		b.mu.Unlock()
		return false
	}
	return true
}

func (b *FaultBroker) subscribe(c *faultConn, p subscribe) bool {
	code := p.options & 3
	b.mu.Lock()
	b.asked = append(b.asked, p.topic)
	if b.options == nil {
		b.options = map[string]byte{}
	}
	b.options[p.topic] = p.options
	b.change()
	b.mu.Unlock()
	switch {
	case c.fault.IgnoreSubscribes:
		return true
	case c.fault.CutSubscribes != "" && strings.Contains(p.topic, c.fault.CutSubscribes):
		return false
	case c.fault.RefuseSubscribe, c.fault.RefuseFilters != "" && strings.Contains(p.topic, c.fault.RefuseFilters):
		if code = c.fault.RefuseCode; code == 0 {
			code = 0x80
		}
	default:
		c.subs = append(c.subs, p.topic)
		b.mu.Lock()
		b.maxSubscribed = max(b.maxSubscribed, len(c.subs))
		b.mu.Unlock()
	}
	return c.suback(c, p.id, code) == nil
}

func (b *FaultBroker) unsubscribe(c *faultConn, p unsubscribe) bool {
	c.subs = slices.DeleteFunc(c.subs, func(s string) bool { return s == p.topic })
	return c.fault.IgnoreSubscribes || c.unsuback(c, p.id) == nil
}

// echo sends a message back to its sender if that has subscribed to it.
func (c *faultConn) echo(p publish) bool {
	for _, s := range c.subs {
		if s == p.Topic && !c.fault.Swallow && (c.fault.SwallowTopics == "" || !strings.Contains(p.Topic, c.fault.SwallowTopics)) {
			return c.forward(c, Sent{Topic: p.Topic, Payload: p.Payload}) == nil
		}
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

func (b *FaultBroker) publish(c *faultConn, p publish) bool {
	c.seen++
	p.Conn = c.number
	b.mu.Lock()
	h := held{conn: c, id: p.ID, index: len(b.received)}
	b.received = append(b.received, p.Received)
	b.unacked[c.number]++
	b.maxUnacked = max(b.maxUnacked, b.unacked[c.number])
	if c.fault.Ack == AckLate {
		b.held = append(b.held, h)
	}
	wrong := c.fault.violation(p, b.unacked[c.number])
	if wrong != "" {
		b.broken = append(b.broken, wrong)
	}
	b.change()
	b.mu.Unlock()
	switch {
	case wrong != "":
		_ = c.disconnect(c, 0x82)
		return false
	case c.seen == c.fault.DropAfter, c.fault.cuts(p.Topic, p.Payload):
		return false
	case c.seen == c.fault.HalfOpen:
		b.hold(c)
		return false
	case c.seen == c.fault.GarbageAt:
		_, err := c.Write(c.fault.Garbage)
		return err == nil
	case c.fault.Disconnect != 0 && c.seen == c.fault.DisconnectAt:
		_ = c.disconnect(c, c.fault.Disconnect)
		return false
	case c.fault.Reason != 0 && strings.Contains(p.Payload, c.fault.ReasonText) && strings.Contains(p.Topic, c.fault.ReasonTopic):
		b.mu.Lock()
		b.unacked[c.number]--
		b.mu.Unlock()
		return c.puback(c, p.ID, c.fault.Reason) == nil
	}
	if !c.echo(p) || !b.answer(c, h) {
		return false
	}
	if c.fault.TakeOver {
		_ = c.disconnect(c, 0x8E)
		return false
	}
	return true
}

// cuts says whether the connection ends at this message.
func (f *Fault) cuts(topic, payload string) bool {
	return f.PoisonTopic != "" && topic == f.PoisonTopic || f.Poison != "" && strings.Contains(payload, f.Poison) || f.MaxPayload > 0 && len(payload) > f.MaxPayload
}

// violation is what a message does against the limits announced.
func (f *Fault) violation(p publish, unacked int) string {
	switch {
	case f.ReceiveMaximum > 0 && unacked > int(f.ReceiveMaximum):
		return fmt.Sprintf("%d messages in flight, the receive maximum is %d", unacked, f.ReceiveMaximum)
	case f.MaximumPacket > 0 && p.size > int(f.MaximumPacket):
		return fmt.Sprintf("a packet of %d bytes, the maximum is %d", p.size, f.MaximumPacket)
	case f.NoRetain && p.Retain:
		return "a retained message"
	case f.MaximumQoS0 && p.QoS > 0:
		return "a message with QoS 1"
	}
	return ""
}

func (b *FaultBroker) answer(c *faultConn, h held) bool {
	switch c.fault.Ack {
	case AckNow:
		return b.ack(c, h.id, h.index)
	case AckTwice:
		return b.ack(c, h.id, h.index) && c.puback(c, h.id, 0) == nil
	case AckUnknown:
		far := h.id + 32768
		for _, id := range []uint16{far, 0, far - 1} {
			if c.puback(c, id, 0) != nil {
				return false
			}
		}
		return b.ack(c, h.id, h.index)
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
	if len(c.fault.Noise) > 0 {
		if _, err := c.Write(c.fault.Noise); err != nil {
			return false
		}
	}
	return c.puback(c, id, 0) == nil
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
