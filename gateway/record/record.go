// Package record is the form that records have in the buffer: facts, typed, and
// in no form that anybody sends. A record is encoded when it is sent, by a
// format of package payload.
//
// # Nouns
//
// A body is one byte of type, then the facts. A body whose time was taken while
// the clock was not trusted has an origin in front of it, by which its time can
// be corrected when it is sent.
//
// # Caveats
//
// A body outlives an upgrade: those an older version wrote must stay readable,
// so a type byte is never given a second meaning. Every part that is read from a
// body is checked, as a disk may be damaged. Appending to a buffer with room
// does not allocate.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/gateway/clock"
)

// Type is what a body is of; its first byte.
type Type byte

// The types of a body.
const (
	TypeFrame   Type = 'c' // flags, 4 bytes of arbitration id little-endian, data (remote: length asked for)
	TypeLimited Type = 's' // 4 bytes count of suppressed frames little-endian, then as a frame without its type
	TypePacket  Type = 'p' // 4 bytes of arbitration id little-endian, data
	TypeReading Type = 'r' // see AppendReading
	TypeEvent   Type = 'v' // see AppendEvent
	TypeAudit   Type = 'w' // see AppendAudit
	TypeHealth  Type = 'h' // JSON members
	TypeCommand Type = 'k' // see AppendCommand

	// Bodies of JSON members, as they were written before there were typed ones.
	TypeOldReading Type = 'm'
	TypeOldEvent   Type = 'e'
	TypeOldAudit   Type = 'a'

	typeDoubted Type = 'u' // an origin, then a body as above: its time was taken by a clock that was not trusted
)

// ErrBody says that a body is not one this version can read.
var ErrBody = errors.New("record has an unknown form")

// Of returns the type of a body without an origin, 0 of an empty one.
func Of(body []byte) Type {
	if len(body) == 0 {
		return 0
	}
	return Type(body[0])
}

// The lengths of what stands before the data of a frame and of a packet.
const (
	canHeader     = 6
	limitedHeader = 5
	packetHeader  = 5
	originHeader  = 1 + 8 + 8
)

// AppendFrame appends the body of a CAN frame.
func AppendFrame(dst []byte, f *can.Frame) []byte {
	if f.Suppressed > 0 {
		dst = append(dst, byte(TypeLimited))
		dst = binary.LittleEndian.AppendUint32(dst, f.Suppressed)
	} else {
		dst = append(dst, byte(TypeFrame))
	}
	dst = append(dst, byte(f.Flags))
	dst = binary.LittleEndian.AppendUint32(dst, f.ID)
	if f.Flags&can.Remote != 0 {
		return append(dst, f.Len)
	}
	return append(dst, f.Data[:min(int(f.Len), can.MaxDataLen)]...)
}

// Frame is the body of a frame, taken apart.
type Frame struct {
	ID         uint32 // arbitration id
	Suppressed uint32 // frames of this id that a limit has held back before it
	Flags      can.Flags
	Asked      uint8  // the length a remote frame asks for, in bytes
	Data       []byte // part of the body; nil of a remote frame
}

// ParseFrame is the inverse of [AppendFrame], but for the time.
func ParseFrame(body []byte) (f Frame, err error) {
	if len(body) > limitedHeader && body[0] == byte(TypeLimited) {
		f.Suppressed = binary.LittleEndian.Uint32(body[1:])
		body = body[limitedHeader-1:] // its last byte stands for the type
	}
	if len(body) < canHeader || len(body) > canHeader+can.MaxDataLen {
		return f, fmt.Errorf("%w: a CAN frame of %d bytes", ErrBody, len(body))
	}
	f.Flags, f.ID, f.Data = can.Flags(body[1]), binary.LittleEndian.Uint32(body[2:]), body[canHeader:]
	if f.Flags&can.Remote != 0 {
		if len(f.Data) != 1 {
			return f, fmt.Errorf("%w: a remote frame of %d bytes", ErrBody, len(body))
		}
		f.Asked, f.Data = f.Data[0], nil
	}
	return f, nil
}

// AppendPacket appends the body of a long J1939 message that was joined from
// the packets of a transfer (SAE J1939-21).
func AppendPacket(dst []byte, p *dbc.Packet) []byte {
	dst = append(dst, byte(TypePacket))
	dst = binary.LittleEndian.AppendUint32(dst, p.ID())
	return append(dst, p.Data...)
}

// ParsePacket is the inverse of [AppendPacket]; the data is part of the body.
func ParsePacket(body []byte) (id uint32, data []byte, err error) {
	if len(body) < packetHeader {
		return 0, nil, fmt.Errorf("%w: a packet of %d bytes", ErrBody, len(body))
	}
	return binary.LittleEndian.Uint32(body[1:]) & can.MaxExtendedID, body[packetHeader:], nil
}

// AppendOrigin begins the body of a record whose time was taken by a clock
// that was not trusted. The body proper has to be appended to it.
func AppendOrigin(dst []byte, o clock.Origin) []byte {
	dst = append(dst, byte(typeDoubted))
	dst = binary.LittleEndian.AppendUint64(dst, o.Boot)
	return binary.LittleEndian.AppendUint64(dst, uint64(o.Zero))
}

// CutOrigin takes the origin off a body that has one, and reports whether it had.
func CutOrigin(body []byte) (o clock.Origin, rest []byte, ok bool) {
	if len(body) <= originHeader || body[0] != byte(typeDoubted) {
		return o, body, false
	}
	o.Boot = binary.LittleEndian.Uint64(body[1:])
	o.Zero = int64(binary.LittleEndian.Uint64(body[9:]))
	return o, body[originHeader:], true
}
