// Package payload is the form of fieldferry's data: the compact form a record
// has in the buffer, the JSON it has on the wire, and the consumer's check
// that nothing is missing.
//
// # Nouns
//
// A body is what the buffer keeps of a record: one byte of type, then the
// facts. What was taken while the clock was not trusted has an origin in front
// of its body, by which its time can be corrected when it is sent. An envelope is one MQTT message: a JSON object with records of one
// source and session. A [Ledger] is the consumer's account of the sequence
// numbers it has seen.
//
// # Caveats
//
// The compact form is private to this package, but it outlives an upgrade:
// bodies written by an older version must stay readable, so a type byte is
// never given a second meaning. Appending to a buffer with room does not
// allocate.
package payload

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
)

// The types of a body, its first byte.
const (
	typeCAN     = 'c' // flags, 4 bytes of arbitration id little-endian, data (remote: length asked for)
	typeLimited = 's' // 4 bytes count of suppressed frames little-endian, then as typeCAN without its type
	typePacket  = 'p' // 4 bytes of arbitration id little-endian, data
	typeModbus  = 'm' // JSON members
	typeEvent   = 'e' // JSON members
	typeHealth  = 'h' // JSON members
	typeAudit   = 'a' // JSON members
	typeDoubted = 'u' // an origin, then a body as above: its time was taken by a clock that was not trusted
)

// ErrBody says that a body is not one this version can read.
var ErrBody = errors.New("record has an unknown form")

const (
	canHeader     = 6
	limitedHeader = 5
)

// AppendFrame appends the body of a CAN frame.
func AppendFrame(dst []byte, f *can.Frame) []byte {
	if f.Suppressed > 0 {
		dst = append(dst, typeLimited)
		dst = binary.LittleEndian.AppendUint32(dst, f.Suppressed)
	} else {
		dst = append(dst, typeCAN)
	}
	dst = append(dst, byte(f.Flags))
	dst = binary.LittleEndian.AppendUint32(dst, f.ID)
	if f.Flags&can.Remote != 0 {
		return append(dst, f.Len)
	}
	return append(dst, f.Data[:min(int(f.Len), can.MaxDataLen)]...)
}

// frameBody is the body of a frame, taken apart.
type frameBody struct {
	id, suppressed uint32
	flags          can.Flags
	asked          uint8  // a remote frame's length
	data           []byte // part of the body
}

// parseFrame is the inverse of AppendFrame, but for the time.
func parseFrame(body []byte) (f frameBody, err error) {
	if len(body) > limitedHeader && body[0] == typeLimited {
		f.suppressed = binary.LittleEndian.Uint32(body[1:])
		body = body[limitedHeader-1:] // its last byte stands for the type
	}
	if len(body) < canHeader || len(body) > canHeader+can.MaxDataLen {
		return f, fmt.Errorf("%w: a CAN frame of %d bytes", ErrBody, len(body))
	}
	f.flags, f.id, f.data = can.Flags(body[1]), binary.LittleEndian.Uint32(body[2:]), body[canHeader:]
	if f.flags&can.Remote != 0 {
		if len(f.data) != 1 {
			return f, fmt.Errorf("%w: a remote frame of %d bytes", ErrBody, len(body))
		}
		f.asked, f.data = f.data[0], nil
	}
	return f, nil
}

// AppendReading appends the body of what one poll of a Modbus device yielded.
func AppendReading(dst []byte, r *modbus.Reading) []byte {
	dst = append(dst, typeModbus)
	dst = append(dst, `"device":`...)
	dst = appendString(dst, r.Device)
	dst = append(dst, `,"values":{`...)
	failed := len(r.Failures)
	for i := range r.Values {
		v := &r.Values[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, v.Name)
		dst = append(dst, ':')
		if v.Kind == modbus.KindFloat && notFinite(v.Float) {
			dst = append(dst, "null"...)
			failed++
			continue
		}
		dst = appendValue(dst, v)
	}
	dst = append(dst, '}')
	if failed == 0 {
		return dst
	}
	return appendFailures(dst, r)
}

// appendFailures appends the "errors" member: what could not be read, and
// values JSON has no number for.
func appendFailures(dst []byte, r *modbus.Reading) []byte {
	dst = append(dst, `,"errors":{`...)
	sep := ""
	member := func(name, what string) {
		dst = append(dst, sep...)
		sep = ","
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = appendString(dst, what)
	}
	for _, f := range r.Failures {
		member(f.Name, f.Err)
	}
	for i := range r.Values {
		if v := &r.Values[i]; v.Kind == modbus.KindFloat && notFinite(v.Float) {
			member(v.Name, nameOfNotFinite(v.Float))
		}
	}
	return append(dst, '}')
}

// Keys are what a topic template may name of a record besides its source.
type Keys struct {
	Device string // Modbus device, else empty
	ID     string // CAN arbitration id in hex, else empty
	Name   string // of the message or device, else empty
}

// KeysOf finds the keys of a body. A body it cannot read has none.
func KeysOf(body []byte, d *Decoding) Keys {
	if _, body, _ = cutOrigin(body); len(body) == 0 {
		return Keys{}
	}
	switch body[0] {
	case typeCAN, typeLimited:
		if f, err := parseFrame(body); err == nil {
			return keysOfID(f.id, f.flags&can.Extended != 0, d.lookup(f.id, f.flags))
		}
	case typePacket:
		if len(body) >= packetHeader {
			id := binary.LittleEndian.Uint32(body[1:]) & can.MaxExtendedID
			return keysOfID(id, true, d.lookupPacket(id))
		}
	case typeModbus:
		var m struct{ Device string }
		if json.Unmarshal(object(body[1:]), &m) == nil {
			return Keys{Device: m.Device, Name: m.Device}
		}
	}
	return Keys{}
}

// keysOfID are the keys of an id, and of the message that describes it or nil.
func keysOfID(id uint32, extended bool, m *dbc.Message) Keys {
	k := Keys{ID: string(appendID(nil, id, extended))}
	if k.Name = k.ID; m != nil {
		k.Name = m.Name
	}
	return k
}

func object(members []byte) []byte {
	return append(append([]byte{'{'}, members...), '}')
}
