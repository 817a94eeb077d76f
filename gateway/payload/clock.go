package payload

import (
	"encoding/binary"

	"fieldferry/gateway/clock"
)

// Clock knows what became of times that were taken by a clock that was not
// trusted; [clock.Clock] is one.
type Clock interface {
	// Correct returns the right time for t, or false while there is none.
	Correct(o clock.Origin, t int64) (int64, bool)
	// Suspect says whether t, of a record without an origin, looks doubtful.
	Suspect(t int64) bool
}

// originHeader is the length of an origin's type, boot and zero.
const originHeader = 1 + 8 + 8

// What a record says of its time.
const (
	markCorrected = `,"clock":"corrected"`
	markUnsynced  = `,"clock":"unsynced"`
)

// AppendOrigin begins the body of a record whose time was taken by a clock
// that was not trusted. The body proper has to be appended to it.
func AppendOrigin(dst []byte, o clock.Origin) []byte {
	dst = append(dst, typeDoubted)
	dst = binary.LittleEndian.AppendUint64(dst, o.Boot)
	return binary.LittleEndian.AppendUint64(dst, uint64(o.Zero))
}

// cutOrigin takes the origin off a body that has one.
func cutOrigin(body []byte) (o clock.Origin, rest []byte, ok bool) {
	if len(body) <= originHeader || body[0] != typeDoubted {
		return o, body, false
	}
	o.Boot = binary.LittleEndian.Uint64(body[1:])
	o.Zero = int64(binary.LittleEndian.Uint64(body[9:]))
	return o, body[originHeader:], true
}

// right returns the time to send for t, and what the record says of it.
func (e *Encoder) right(o clock.Origin, t int64) (int64, string) {
	if e.Clock != nil {
		if t, ok := e.Clock.Correct(o, t); ok {
			return t, markCorrected
		}
	}
	return t, markUnsynced
}
