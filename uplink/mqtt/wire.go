package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// MQTT 3.1.1, 2.2.1: packet types in the upper half of the first byte.
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingreq     = 12
	typePingresp    = 13
	typeDisconnect  = 14 // from a broker: MQTT 5 only
)

// The properties of MQTT 5, 2.2.2.2, that are looked at.
const (
	propExpiry         = 0x02
	propContentType    = 0x03
	propResponseTopic  = 0x08
	propCorrelation    = 0x09
	propKeepAlive      = 0x13
	propReason         = 0x1F
	propReceiveMaximum = 0x21
	propTopicAlias     = 0x23
	propMaximumQoS     = 0x24
	propRetain         = 0x25
	propUser           = 0x26
	propMaximumPacket  = 0x27
)

// hello is what a CONNECT says.
type hello struct {
	v5             bool
	clientID       string
	user, password string
	keepAlive      time.Duration
	will           *Packet
	receive        uint16 // MQTT 5: messages not acknowledged that the broker may send
	largest        uint32 // MQTT 5: bytes of a packet that it may send
}

var errProperties = errors.New("properties that are not well formed")

// cutLength cuts a number as MQTT 3.1.1, 2.2.3 has it off b.
func cutLength(b []byte) (n int, rest []byte, err error) {
	for i := range min(len(b), 4) {
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return n, b[i+1:], nil
		}
	}
	return 0, nil, errProperties
}

// cutText cuts a string or binary data off b.
func cutText(b []byte) (text, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errProperties
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b)-2 < n {
		return nil, nil, errProperties
	}
	return b[2 : 2+n], b[2+n:], nil
}

// property is one of MQTT 5: a number, or one or two texts.
type property struct {
	id     byte
	number uint32
	text   []byte
	value  []byte // of a pair
}

// cutProperties cuts properties with their length off b, and calls each.
func cutProperties(b []byte, each func(p property) error) (rest []byte, err error) {
	n, b, err := cutLength(b)
	if err != nil || n > len(b) {
		return nil, errProperties
	}
	b, rest = b[:n], b[n:]
	for len(b) > 0 {
		p := property{id: b[0]}
		if b, err = p.cut(b[1:]); err != nil {
			return nil, err
		}
		if err := each(p); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// cut cuts the value of a property off b (MQTT 5, 2.2.2.2).
func (p *property) cut(b []byte) (rest []byte, err error) {
	size := 0
	switch p.id {
	case 0x01, 0x17, 0x19, propMaximumQoS, propRetain, 0x28, 0x29, 0x2A:
		size = 1
	case propKeepAlive, propReceiveMaximum, 0x22, propTopicAlias:
		size = 2
	case propExpiry, 0x11, 0x18, propMaximumPacket:
		size = 4
	case 0x0B:
		var n int
		n, b, err = cutLength(b)
		p.number = uint32(n) //nolint:gosec // at most 28 bits
		return b, err
	case propContentType, propResponseTopic, propCorrelation, 0x12, 0x15, 0x16, 0x1A, 0x1C, propReason:
		p.text, b, err = cutText(b)
		return b, err
	case propUser:
		if p.text, b, err = cutText(b); err == nil {
			p.value, b, err = cutText(b)
		}
		return b, err
	default:
		return nil, fmt.Errorf("unknown property 0x%02x", p.id)
	}
	if len(b) < size {
		return nil, errProperties
	}
	for _, digit := range b[:size] {
		p.number = p.number<<8 | uint32(digit)
	}
	return b[size:], nil
}
