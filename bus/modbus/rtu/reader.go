package rtu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// Reader finds the reply to one request in the bytes that arrive. It accepts
// a frame only if unit, function, byte count and CRC are right, at whatever
// offset it begins; it recognises the echo of the request; it keeps at most
// one frame's worth of bytes. The zero value accepts nothing until Reset.
type Reader struct {
	_ [0]func() // nobody compares them: saves the code for it

	// Echoing says that the line is known to return what we send. It matters
	// only for single writes, whose reply equals their request.
	Echoing bool
	// ValuesOnly passes over refusals, which do not show what they refuse.
	ValuesOnly bool

	request [MaxADU]byte
	reqLen  int
	count   int // byte count of a right reply, -1 if it has none
	want    int // length of a right reply

	buf [2 * MaxADU]byte
	n   int

	first, last       [MaxADU]byte
	firstLen, lastLen int
	matches, values   int
	differ            bool

	head             [16]byte // the first bytes that were no echo, to describe them
	headLen          int
	seen             int // bytes that were no echo
	echoes           int
	badCRC, badEcho  bool
	tainted          bool
	cutWant, cutHave int // a right reply that has begun
}

// Reset makes the reader ready for the reply to request, a whole frame with CRC.
func (r *Reader) Reset(request []byte) error {
	if len(request) < 4 || len(request) > MaxADU {
		return fmt.Errorf("%w: %d bytes", ErrRequest, len(request))
	}
	count := 0
	switch function := request[1]; function {
	case ReadCoils, ReadDiscreteInputs, ReadHoldingRegisters, ReadInputRegisters:
		if len(request) != requestLen {
			return fmt.Errorf("%w: a read of %d bytes", ErrRequest, len(request))
		}
		count = int(binary.BigEndian.Uint16(request[4:]))
		limit := MaxRegisters
		if function <= ReadDiscreteInputs {
			limit = MaxBits
		}
		if count < 1 || count > limit {
			return fmt.Errorf("%w: quantity %d, must be 1 to %d", ErrRequest, count, limit)
		}
	case WriteSingleCoil, WriteSingleRegister, WriteCoils, WriteRegisters:
		if len(request) < requestLen {
			return fmt.Errorf("%w: a write of %d bytes", ErrRequest, len(request))
		}
	default:
		return fmt.Errorf("%w: function %d", ErrRequest, function)
	}
	r.reqLen = copy(r.request[:], request)
	r.count = ByteCount(request[1], count)
	r.want = ReplyLen(request[1], count)
	r.n, r.firstLen, r.lastLen, r.matches, r.headLen = 0, 0, 0, 0, 0
	r.seen, r.echoes, r.cutWant, r.cutHave, r.values = 0, 0, 0, 0, 0
	r.differ, r.badCRC, r.badEcho, r.tainted = false, false, false, false
	return nil
}

// Push takes the bytes that arrived and reports whether a reply is complete.
func (r *Reader) Push(p []byte) bool {
	if r.reqLen == 0 {
		return false
	}
	for len(p) > 0 {
		k := copy(r.buf[r.n:], p)
		p = p[k:]
		r.n += k
		r.scan()
	}
	return r.matches > 0
}

// Matches is the number of frames so far that could be the reply, and whether
// they differ from each other.
func (r *Reader) Matches() (n int, differ bool) { return r.matches, r.differ }

// Values is how many of the matching frames are no exceptions.
func (r *Reader) Values() int { return r.values }

// First is the first matching frame; it is valid until the next Reset.
func (r *Reader) First() []byte { return r.first[:r.firstLen] }

// Last is the last matching frame; it is valid until the next Push or Reset.
func (r *Reader) Last() []byte { return r.last[:r.lastLen] }

// Tainted reports that another master's request to the same unit and function
// was seen: a reply may be meant for it.
func (r *Reader) Tainted() bool { return r.tainted }

// Echoes is how often our own request came back.
func (r *Reader) Echoes() int { return r.echoes }

// Damaged reports that a frame came which was the reply but for its CRC, and
// which was not our own request come back damaged.
func (r *Reader) Damaged() bool { return r.badCRC && !r.badEcho }

// Partial reports that a right reply has begun and is not yet complete.
func (r *Reader) Partial() bool {
	if r.cutWant > 0 {
		return true
	}
	return r.n > 0 && r.n < 3 && r.buf[0] == r.request[0]
}

// maybeEcho reports whether rest begins with most of our own request.
func (r *Reader) maybeEcho(rest []byte) bool {
	same := 0
	for i := range min(len(rest), r.reqLen, requestLen) {
		if rest[i] == r.request[i] {
			same++
		}
	}
	return same >= 5
}

// Verdict says what was wrong when no reply was complete at the deadline.
func (r *Reader) Verdict(timeout time.Duration) error {
	unit := r.request[0]
	if r.n > 0 && r.n < 3 && r.seen == 0 { // too short to be anything but our reply or a piece of echo
		r.cutWant, r.cutHave = r.want, r.n
	}
	if r.cutWant == 0 {
		r.note(r.buf[:r.n])
		r.n = 0
	}
	switch {
	case r.badCRC:
		return &CRCError{Unit: unit}
	case r.cutWant > 0:
		return &TimeoutError{Unit: unit, Timeout: timeout, Received: r.cutHave, Want: r.cutWant}
	case r.seen > 0:
		return &MismatchError{Unit: unit, Bytes: r.seen, Reason: r.describe()}
	default:
		return &TimeoutError{Unit: unit, Timeout: timeout, EchoOnly: r.echoes > 0}
	}
}

// verdict of one offset.
type verdict uint8

const (
	nothing  verdict = iota // no frame begins here
	wait                    // more bytes are needed to tell
	echo                    // our own request
	reply                   // a right reply or exception
	foreign                 // another master's request whose reply would look like ours
	stranger                // another master's request that is told apart by its reply's length
)

// scan looks at every offset. Only offsets that may still become a frame are
// kept, so the buffer never holds more than a frame plus what was just pushed.
func (r *Reader) scan() {
	keep, kept := 0, false // offset of the first undecided byte
	from := 0              // offset behind the last frame
	r.cutWant, r.cutHave = 0, 0
	for i := 0; i < r.n; {
		length, v := r.at(r.buf[i:r.n])
		switch v {
		case nothing:
			length = 1
			if !kept {
				keep = i + 1
			}
		case wait:
			length = 1
			if !kept {
				keep, kept = i, true
			}
		default:
			r.note(r.buf[from:i])
			r.take(v, r.buf[i:i+length])
			from, keep, kept = i+length, i+length, false
			r.cutWant, r.cutHave = 0, 0
		}
		i += length
	}
	r.note(r.buf[from:keep])
	r.n = copy(r.buf[:], r.buf[keep:r.n])
}

func (r *Reader) take(v verdict, frame []byte) {
	switch v {
	case echo:
		r.echoes++
	case foreign:
		r.tainted = true
		r.note(frame)
	case stranger:
		r.note(frame)
	case reply:
		if r.matches == 0 {
			r.firstLen = copy(r.first[:], frame)
		} else if !bytes.Equal(frame, r.first[:r.firstLen]) {
			r.differ = true
		}
		r.lastLen = copy(r.last[:], frame)
		r.matches++
		if !isException(frame) {
			r.values++
		}
	}
}

func (r *Reader) note(p []byte) {
	r.seen += len(p)
	r.headLen += copy(r.head[r.headLen:], p)
}

// at judges the frame that begins at rest[0].
func (r *Reader) at(rest []byte) (length int, v verdict) {
	request := r.request[:r.reqLen]
	function := request[1]
	if rest[0] != request[0] {
		return 0, nothing
	}
	// The echo goes first: a request for 17 to 24 bits at 0x03xx has the form
	// of its own reply. A single write's reply equals its request.
	if r.Echoing || (function != WriteSingleCoil && function != WriteSingleRegister) || r.matches > 0 {
		switch {
		case bytes.HasPrefix(rest, request):
			return len(request), echo
		case bytes.HasPrefix(request, rest):
			return 0, wait
		}
	}
	if len(rest) < 3 {
		if len(rest) == 1 || rest[1]&^exceptionBit == function {
			return 0, wait
		}
		return 0, nothing
	}
	switch rest[1] {
	case function | exceptionBit:
		if r.ValuesOnly {
			return 0, nothing
		}
		return r.frame(rest, 5)
	case function:
		if r.count >= 0 && int(rest[2]) == r.count {
			if length, v := r.frame(rest, r.want); v != nothing {
				return length, v
			}
			// A request for an address whose high byte is the byte count begins alike.
		}
		return r.atRequest(rest)
	}
	return 0, nothing
}

// atRequest judges what has unit and function but not the byte count: the
// reply to a write, or another master's request.
func (r *Reader) atRequest(rest []byte) (int, verdict) {
	if len(rest) < requestLen {
		return 0, wait
	}
	if !ValidCRC(rest[:requestLen]) {
		return 0, nothing
	}
	if r.count >= 0 {
		if ByteCount(rest[1], int(binary.BigEndian.Uint16(rest[4:]))) != r.count {
			return requestLen, stranger
		}
		return requestLen, foreign
	}
	if bytes.Equal(rest[2:6], r.request[2:6]) {
		return requestLen, reply
	}
	return requestLen, foreign
}

func (r *Reader) frame(rest []byte, length int) (int, verdict) {
	if len(rest) < length {
		if len(rest) > r.cutHave {
			r.cutWant, r.cutHave = length, len(rest)
		}
		return 0, wait
	}
	if !ValidCRC(rest[:length]) {
		r.badCRC = true
		r.badEcho = r.badEcho || r.maybeEcho(rest)
		return 0, nothing
	}
	return length, reply
}

func (r *Reader) describe() string {
	unit, function := r.request[0], r.request[1]
	h := r.head[:r.headLen]
	switch {
	case r.tainted:
		return "another master asks the same unit"
	case len(h) < 4:
		return fmt.Sprintf("%d bytes that are not a frame", r.seen)
	case h[0] != unit && h[1]&^exceptionBit <= WriteRegisters && h[1] != 0:
		return fmt.Sprintf("unit %d answered instead of unit %d", h[0], unit)
	case h[0] != unit:
		return fmt.Sprintf("%d bytes that are not a frame", r.seen)
	case h[1]&^exceptionBit != function:
		return fmt.Sprintf("function %d instead of function %d", h[1], function)
	case h[1] == function:
		return fmt.Sprintf("%d bytes of data instead of %d", h[2], r.count)
	default:
		return fmt.Sprintf("%d bytes that are not a frame", r.seen)
	}
}
