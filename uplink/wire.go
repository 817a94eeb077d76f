package uplink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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

// The flags of CONNECT (MQTT 3.1.1, 3.1.2.3).
const (
	flagClean    = 0x02
	flagWill     = 0x04
	flagWillQoS1 = 0x08
	flagRetain   = 0x20
	flagPassword = 0x40
	flagUser     = 0x80
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

// appendPacket adds a packet of one type whose body is what build adds.
func appendPacket(b []byte, first byte, build func([]byte) []byte) []byte {
	at := len(b)
	b = build(append(b, first, 0)) // room for the shortest length
	n := len(b) - at - 2
	if n < 0x80 {
		b[at+1] = byte(n)
		return b
	}
	var digits [4]byte
	length := appendLength(digits[:0], n)
	b = append(b, length[1:]...)
	copy(b[at+1+len(length):], b[at+2:])
	copy(b[at+1:], length)
	return b
}

// appendLength adds a number as MQTT 3.1.1, 2.2.3 has it.
func appendLength(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// lengthSize is how many bytes appendLength adds.
func lengthSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// appendText adds a string or binary data of at most 65535 bytes.
func appendText[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s))) //nolint:gosec // whoever takes it in bounds it
	return append(b, s...)
}

// hello is what a CONNECT says.
type hello struct {
	v5             bool
	clientID       string
	user, password string
	keepAlive      time.Duration
	will           *Retained
	receive        uint16 // MQTT 5: messages not acknowledged that the broker may send
	largest        uint32 // MQTT 5: bytes of a packet that it may send
}

// appendConnect adds the CONNECT of a clean session.
func (h *hello) appendConnect(b []byte) []byte {
	flags, level := byte(flagClean), byte(4)
	if h.user != "" {
		flags |= flagUser
	}
	if h.password != "" {
		flags |= flagPassword
	}
	if h.will != nil {
		flags |= flagWill | flagWillQoS1 | flagRetain
	}
	if h.v5 {
		level = 5
	}
	return appendPacket(b, typeConnect<<4, func(b []byte) []byte {
		b = append(appendText(b, "MQTT"), level, flags)
		b = binary.BigEndian.AppendUint16(b, uint16(h.keepAlive/time.Second)) //nolint:gosec // MaxKeepAlive bounds it
		if h.v5 {
			b = append(b, 3+5, propReceiveMaximum)
			b = append(binary.BigEndian.AppendUint16(b, h.receive), propMaximumPacket)
			b = binary.BigEndian.AppendUint32(b, h.largest)
		}
		b = appendText(b, h.clientID)
		if h.will != nil {
			if h.v5 {
				b = append(b, 0) // no properties
			}
			b = appendText(appendText(b, h.will.Topic), h.will.Payload)
		}
		if h.user != "" {
			b = appendText(b, h.user)
		}
		if h.password != "" {
			b = appendText(b, h.password)
		}
		return b
	})
}

// appendPublish adds a PUBLISH. The id is for QoS 1 alone.
func appendPublish(b []byte, m *packet, id uint16, v5 bool) []byte {
	first := byte(typePublish << 4)
	if !m.once {
		first |= 1 << 1
	}
	if m.retained {
		first |= 1
	}
	n, props, kind := 2+len(m.topic)+len(m.payload), 0, m.contentType
	if kind == "" && m.properties != nil {
		kind = m.properties.ContentType
	}
	if !m.once {
		n += 2
	}
	if v5 {
		props = m.properties.size(kind)
		n += lengthSize(props) + props
	}
	b = appendText(appendLength(append(b, first), n), m.topic)
	if !m.once {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	if v5 {
		b = m.properties.append(appendLength(b, props), kind)
	}
	return append(b, m.payload...)
}

// size is how many bytes append adds.
func (p *Properties) size(contentType string) int {
	n := 0
	text := func(length int) {
		if length > 0 {
			n += 3 + length
		}
	}
	text(len(contentType))
	if p == nil {
		return n
	}
	text(len(p.ResponseTopic))
	text(len(p.Correlation))
	if p.Expiry > 0 {
		n += 5
	}
	for _, u := range p.User {
		n += 5 + len(u[0]) + len(u[1])
	}
	return n
}

func (p *Properties) append(b []byte, contentType string) []byte {
	if contentType != "" {
		b = appendText(append(b, propContentType), contentType)
	}
	if p == nil {
		return b
	}
	if p.ResponseTopic != "" {
		b = appendText(append(b, propResponseTopic), p.ResponseTopic)
	}
	if len(p.Correlation) > 0 {
		b = appendText(append(b, propCorrelation), p.Correlation)
	}
	if p.Expiry > 0 {
		b = binary.BigEndian.AppendUint32(append(b, propExpiry), p.seconds())
	}
	for _, u := range p.User {
		b = appendText(appendText(append(b, propUser), u[0]), u[1])
	}
	return b
}

// seconds is the expiry in whole seconds, rounded up.
func (p *Properties) seconds() uint32 {
	return uint32(min((p.Expiry+time.Second-1)/time.Second, math.MaxUint32)) //nolint:gosec // bounded
}

// appendSubscribe adds a SUBSCRIBE for one filter.
func appendSubscribe(b []byte, id uint16, filter string, options byte, v5 bool) []byte {
	return appendPacket(b, typeSubscribe<<4|2, func(b []byte) []byte {
		return append(appendText(appendAsked(b, id, v5), filter), options)
	})
}

// appendUnsubscribe adds an UNSUBSCRIBE for one filter.
func appendUnsubscribe(b []byte, id uint16, filter string, v5 bool) []byte {
	return appendPacket(b, typeUnsubscribe<<4|2, func(b []byte) []byte {
		return appendText(appendAsked(b, id, v5), filter)
	})
}

func appendAsked(b []byte, id uint16, v5 bool) []byte {
	b = binary.BigEndian.AppendUint16(b, id)
	if v5 {
		b = append(b, 0) // no properties
	}
	return b
}

var errProperties = errors.New("properties that are not well formed")

// cutLength cuts a number as appendLength adds it off b.
func cutLength(b []byte) (n int, rest []byte, err error) {
	for i := range min(len(b), 4) {
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return n, b[i+1:], nil
		}
	}
	return 0, nil, errProperties
}

// cutText cuts what appendText adds off b.
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
