package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

var (
	errHTTP      = errors.New("it answers with HTTP")
	errNoConnack = errors.New("the first packet is not a CONNACK")
	errLength    = errors.New("a packet announces an impossible length")
)

// readAll takes what the broker sends until the connection ends. Answers are
// settled by the time that the loss is known.
func (c *Conn) readAll() {
	for {
		if err := c.next(); err != nil {
			c.fail(readError(err, true))
			return
		}
	}
}

// next takes one packet.
func (c *Conn) next() error {
	first, err := c.r.ReadByte()
	if err != nil {
		return err
	}
	length, err := c.length()
	if err != nil {
		return err
	}
	c.heard.set(c.born)
	kind := first >> 4
	switch {
	case kind == typePublish:
		return c.message(first, length)
	case first&0x0f != 0: // MQTT 3.1.1, 2.2.2
		return unexpected(first, length)
	case kind == typePingresp && length == 0:
		return c.allowed.spend(floodPacket) // the pulse knows by now
	case kind == typePuback && (length == 2 || c.v5 && length > 2):
		return c.puback(length)
	case kind == typeSuback && (length == 3 || c.v5 && length > 3), kind == typeUnsuback && (length == 2 || c.v5 && length > 3):
		return c.asked(kind, length)
	case kind == typeDisconnect && c.v5:
		return c.disconnect(length)
	}
	return unexpected(first, length)
}

// length reads a remaining length (MQTT 3.1.1, 2.2.3).
func (c *Conn) length() (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := c.r.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, NewError(ReasonProtocol, errLength)
}

// body reads the rest of an answer.
func (c *Conn) body(length int) ([]byte, error) {
	if length > maxAnswer {
		return nil, NewError(ReasonProtocol, errLength)
	}
	c.long = append(c.long[:0], make([]byte, length)...)
	_, err := io.ReadFull(c.r, c.long)
	return c.long, err
}

// connack reads the first packet, and refusals in it (MQTT 5, 3.2).
func (c *Conn) connack() error {
	first, err := c.r.ReadByte()
	if err != nil {
		return err
	}
	if first == 'H' {
		return NewError(ReasonNotMQTT, errHTTP)
	}
	if first != typeConnack<<4 {
		return NewError(ReasonNotMQTT, errNoConnack)
	}
	length, err := c.length()
	if err != nil {
		return err
	}
	if length < 2 || length > maxAnswer || !c.v5 && length != 2 {
		return NewError(ReasonNotMQTT, errNoConnack)
	}
	body, err := c.body(length)
	if err != nil {
		return err
	}
	code := body[1]
	switch {
	case !c.v5:
		return connackError(code)
	case length == 2: // the form of MQTT 3.1.1, without properties
		return NewError(ReasonVersion, fmt.Errorf("CONNACK without properties, code %d", code))
	case code >= 0x80:
		return NewError(connackReason(code), fmt.Errorf("CONNACK reason code 0x%02X", code))
	case code != 0:
		return NewError(ReasonProtocol, fmt.Errorf("CONNACK reason code 0x%02X", code))
	}
	rest, err := cutProperties(body[2:], c.announced)
	if err == nil && len(rest) > 0 {
		err = errLength
	}
	return protocolError(err)
}

// protocolError gives an error without a reason that of a broken protocol.
func protocolError(err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return NewError(ReasonProtocol, err)
}

// connackError is the error for a CONNACK return code, nil for 0 (MQTT 3.1.1, 3.2.2.3).
func connackError(code byte) error {
	err := fmt.Errorf("CONNACK return code %d", code)
	switch code {
	case 0:
		return nil
	case 1:
		return NewError(ReasonVersion, err)
	case 2:
		return NewError(ReasonClientID, err)
	case 3:
		return NewError(ReasonUnavailable, err)
	case 4, 5:
		return NewError(ReasonUser, err)
	}
	return NewError(ReasonRefused, err)
}

// announced takes a property of CONNACK (MQTT 5, 3.2.2.3).
func (c *Conn) announced(p property) error {
	switch p.id {
	case propMaximumQoS:
		if p.number < 1 {
			return NewError(ReasonQoS, nil)
		}
	case propReceiveMaximum:
		if p.number == 0 {
			return errors.New("receive maximum 0")
		}
		c.announce.InFlight = int(p.number)
	case propMaximumPacket:
		if p.number == 0 {
			return errors.New("maximum packet size 0")
		}
		c.announce.Packet = int(min(p.number, math.MaxInt32))
	case propRetain:
		c.noRetain = p.number == 0
	case propKeepAlive:
		// 0: the broker wants no pings; a dead link is to be found all the same.
		if p.number > 0 {
			c.keepAlive = time.Duration(p.number) * time.Second
		}
	}
	return nil
}

// maxSaid is how much of a broker's reason string is kept.
const maxSaid = 200

func (c *Conn) puback(length int) error {
	body, err := c.body(length)
	if err != nil {
		return err
	}
	code, said := byte(0), ""
	if length > 2 {
		code = body[2]
	}
	if length > 3 {
		_, err = cutProperties(body[3:], func(p property) error {
			if p.id == propReason {
				said = string(p.text[:min(len(p.text), maxSaid)])
			}
			return nil
		})
		if err != nil {
			return protocolError(err)
		}
	}
	if c.settle(typePuback, binary.BigEndian.Uint16(body), code, said) {
		c.allowed.earn()
		return nil
	}
	return c.allowed.spend(floodPacket) // twice, or never sent
}

// asked takes the answer to a SUBSCRIBE or UNSUBSCRIBE.
func (c *Conn) asked(kind byte, length int) error {
	body, err := c.body(length)
	if err != nil {
		return err
	}
	id, rest := binary.BigEndian.Uint16(body), body[2:]
	if c.v5 {
		if rest, err = cutProperties(rest, func(property) error { return nil }); err != nil {
			return protocolError(err)
		}
	}
	code := byte(0)
	if c.v5 || kind == typeSuback {
		if len(rest) != 1 { // one filter was asked for
			return NewError(ReasonProtocol, errLength)
		}
		code = rest[0]
	}
	if !c.settle(kind, id, code, "") {
		return NewError(ReasonProtocol, fmt.Errorf("an answer (type %d) for packet id %d, which was not asked for", kind, id))
	}
	return nil
}

// disconnect is the broker's farewell: the reason is all there is to it.
func (c *Conn) disconnect(length int) error {
	body, err := c.body(length)
	if err != nil {
		return err
	}
	code := byte(0) // MQTT 5, 3.14.2.1: left out
	if length > 0 {
		code = body[0]
	}
	return NewError(disconnectReason(code), fmt.Errorf("DISCONNECT reason code 0x%02X", code))
}
