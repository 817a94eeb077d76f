package can

import (
	"fmt"

	einride "go.einride.tech/can"
	"golang.org/x/sys/unix"
)

// The largest arbitration ids.
const (
	MaxID         = unix.CAN_SFF_MASK // 11 bits
	MaxExtendedID = unix.CAN_EFF_MASK // 29 bits
)

const maxClassicLen = 8

// Payload returns the bytes of data the frame carries: none if it is remote.
// It is a part of f.
func (f *Frame) Payload() []byte {
	if f.Flags&Remote != 0 {
		return nil
	}
	return f.Data[:min(int(f.Len), MaxDataLen)]
}

// Validate says what about a frame cannot have been on a wire. The methods of
// Frame and the functions of this package do not need a valid frame: none of
// them panics.
func (f *Frame) Validate() error {
	limit, maxLen := uint32(MaxID), maxClassicLen
	if f.Flags&(Extended|ErrorFrame) != 0 {
		limit = MaxExtendedID
	}
	if f.Flags&FD != 0 {
		maxLen = MaxDataLen
	}
	switch {
	case f.ID > limit:
		return fmt.Errorf("can: id %X does not fit: the largest is %X", f.ID, limit)
	case int(f.Len) > maxLen:
		return fmt.Errorf("can: %d bytes of data: at most %d fit", f.Len, maxLen)
	case f.Flags&(FD|Remote) == FD|Remote:
		return fmt.Errorf("can: id %X: CAN FD has no remote frames", f.ID)
	case f.Flags&FD == 0 && f.Flags&(BitRateSwitch|ErrorState) != 0:
		return fmt.Errorf("can: id %X: bit rate switch and error state exist only in CAN FD frames", f.ID)
	case f.Flags&ErrorFrame != 0 && f.Flags != ErrorFrame:
		return fmt.Errorf("can: an error frame has no other flags")
	}
	return nil
}

const hexDigits = "0123456789ABCDEF"

// String returns the frame in candump's notation: "123#DEADBEEF" standard,
// "00000123#DEAD" extended, "123#R8" remote, "123##1DEAD" CAN FD with the bit
// rate switched, "20000040#0000000000000000" an error frame.
func (f Frame) String() string {
	return string(f.Append(make([]byte, 0, 12+2*MaxDataLen)))
}

// Append appends the frame as String writes it, without allocating if dst has
// the room.
func (f *Frame) Append(dst []byte) []byte {
	id, digits := f.ID, 3
	switch {
	case f.Flags&ErrorFrame != 0:
		id, digits = id&unix.CAN_ERR_MASK|unix.CAN_ERR_FLAG, 8
	case f.Flags&Extended != 0 || id > MaxID:
		digits = 8
	}
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[id>>shift&15])
	}
	dst = append(dst, '#')
	switch {
	case f.Flags&Remote != 0:
		dst = append(dst, 'R')
		if f.Len > 0 {
			dst = append(dst, '0'+min(f.Len, maxClassicLen))
		}
		return dst
	case f.Flags&FD != 0:
		var flags byte
		if f.Flags&BitRateSwitch != 0 {
			flags |= wireBRS
		}
		if f.Flags&ErrorState != 0 {
			flags |= wireESI
		}
		dst = append(dst, '#', hexDigits[flags])
	}
	for _, c := range f.Payload() {
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

// ParseFrame reads a frame as String writes it, in either case of the digits.
// Its Time is 0.
func ParseFrame(s string) (Frame, error) {
	var f Frame
	if err := parseFrame(&f, []byte(s)); err != nil {
		return Frame{}, fmt.Errorf("can: frame %.40q: %w", s, err)
	}
	return f, nil
}

// FromEinride converts a frame of go.einride.tech/can. Time is 0. A length
// over 8 counts as 8.
func FromEinride(e einride.Frame) Frame {
	f := Frame{ID: e.ID, Len: min(e.Length, maxClassicLen)}
	if e.IsExtended {
		f.Flags |= Extended
	}
	if e.IsRemote {
		f.Flags |= Remote
		return f
	}
	copy(f.Data[:f.Len], e.Data[:])
	return f
}

// Einride converts to a frame of go.einride.tech/can, which knows classic data
// and remote frames: ok is false for all others.
func (f *Frame) Einride() (e einride.Frame, ok bool) {
	if f.Flags&(FD|ErrorFrame) != 0 || f.Len > maxClassicLen {
		return e, false
	}
	e.ID, e.Length = f.ID, f.Len
	e.IsExtended, e.IsRemote = f.Flags&Extended != 0, f.Flags&Remote != 0
	copy(e.Data[:], f.Payload())
	return e, true
}
