package uplink

import (
	"fmt"
	"io"
	"sync"
)

// whole reads the rest of a packet of MQTT 5 into long, behind its first byte
// and length. Properties are checked by who parses them.
func (g *guard) whole(first byte, length int) ([]byte, error) {
	if length > maxAnswer {
		return nil, reasonError(ReasonProtocol, errLength)
	}
	g.long = append(g.long[:0], first)
	for n := length; ; {
		digit := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			g.long = append(g.long, digit|0x80)
			continue
		}
		g.long = append(g.long, digit)
		break
	}
	head := len(g.long)
	g.long = append(g.long, make([]byte, length)...)
	_, err := io.ReadFull(g.r, g.long[head:])
	return g.long[head:], err
}

// connack5 checks the first packet, and refusals in it (MQTT 5, 3.2).
func (g *guard) connack5(first byte) error {
	if first == 'H' {
		return reasonError(ReasonNotMQTT, errHTTP)
	}
	if first != typeConnack<<4 {
		return reasonError(ReasonNotMQTT, errNoConnack)
	}
	length, err := g.length()
	if err != nil {
		return err
	}
	if length < 2 || length > maxAnswer {
		return reasonError(ReasonNotMQTT, errNoConnack)
	}
	body, err := g.whole(first, length)
	if err != nil {
		return err
	}
	if length == 2 { // the form of MQTT 3.1.1, without properties
		return reasonError(ReasonVersion, fmt.Errorf("CONNACK without properties, code %d", body[1]))
	}
	if code := body[1]; code >= 0x80 {
		return reasonError(connackReason(code), fmt.Errorf("CONNACK reason code 0x%02X", code))
	} else if code != 0 {
		return reasonError(ReasonProtocol, fmt.Errorf("CONNACK reason code 0x%02X", code))
	}
	g.accepted = true
	g.rest = g.long
	return nil
}

func (g *guard) puback5(length int) error {
	body, err := g.whole(typePuback<<4, length)
	if err != nil {
		return err
	}
	if g.expected(body[0], body[1]) {
		g.allowed.earn()
		g.rest = g.long
		return nil
	}
	return g.allowed.spend(floodPacket)
}

// disconnect5 is the broker's farewell: the reason is all there is to it.
func (g *guard) disconnect5(length int) error {
	body, err := g.whole(typeDisconnect<<4, length)
	if err != nil {
		return err
	}
	code := byte(0) // MQTT 5, 3.14.2.1: left out
	if length > 0 {
		code = body[0]
	}
	return reasonError(disconnectReason(code), fmt.Errorf("DISCONNECT reason code 0x%02X", code))
}

// packetConn makes whole packets of what paho.golang writes in parts: it locks
// the connection around every packet. It is a [sync.Locker] for that.
type packetConn struct {
	*guard
	mu  sync.Mutex
	buf []byte
}

// maxKept is how much of a buffer is kept for the next packet.
const maxKept = 256 * 1024

// Lock begins a packet.
func (c *packetConn) Lock() { c.mu.Lock() }

// Unlock writes the packet. A failure ends the connection by the guard.
func (c *packetConn) Unlock() {
	if len(c.buf) > 0 {
		_, _ = c.guard.Write(c.buf)
	}
	if c.buf = c.buf[:0]; cap(c.buf) > maxKept {
		c.buf = nil
	}
	c.mu.Unlock()
}

// Write adds to the packet.
func (c *packetConn) Write(p []byte) (int, error) {
	c.buf = append(c.buf, p...)
	return len(p), nil
}
