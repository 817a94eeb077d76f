package modbus

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Encode makes the words that Decode makes v of, as nearly as the type can
// hold it: for simulated devices. A part of a register is put into words, which
// hold the rest of it and are changed; others may pass nil.
func (r *Register) Encode(v float64, words []uint16) ([]uint16, error) {
	scale := r.Scale
	if scale == 0 {
		scale = 1
	}
	raw := (v - r.Offset) / scale
	if len(words) != r.Width() {
		words = make([]uint16, r.Width())
	}
	switch r.Type {
	case Float32:
		r.put(words, uint64(math.Float32bits(float32(raw))))
		return words, nil
	case Float64:
		r.put(words, math.Float64bits(raw))
		return words, nil
	case Float16:
		r.put(words, uint64(toHalf(raw)))
		return words, nil
	case String:
		return nil, fmt.Errorf("a %v cannot be simulated as a number", r.Type)
	}
	raw = math.Round(raw)
	low, high := r.span()
	if math.IsNaN(raw) || raw < low || raw > high {
		return nil, fmt.Errorf("%v is out of the range of %v: %v to %v before scaling", v, r.Type, low, high)
	}
	u := uint64(int64(raw))
	if raw >= 1<<63 {
		u = uint64(raw)
	}
	shift := r.BitLow
	if r.Type.InByte() && r.HighByte {
		shift += 8
	}
	switch mask := r.partMask(); {
	case r.Type == Bool:
		u = min(u, 1)
	case r.Type == BCD16 || r.Type == BCD32 || r.Type == BCD64:
		u = toBCD(u)
	case r.Type == BCD8:
		u = r.merge(words, toBCD(u), mask, shift)
	case r.Type == SignMagnitude16 || r.Type == SignMagnitude32:
		u = toSignMagnitude(int64(raw), r.Type.Size())
	case r.Type == Modulo10000:
		u = toModulo10000(int64(raw), r.Width())
	case mask != 0:
		u = r.merge(words, u, mask, shift)
	}
	r.put(words, u)
	return words, nil
}

// EncodeText makes the words of a string, padded with NUL.
func (r *Register) EncodeText(s string) []uint16 {
	b := make([]byte, 2*r.Width())
	if r.PerRegister {
		for i := range min(r.Length, len(s)) {
			if r.HighByte {
				b[2*i] = s[i]
			} else {
				b[2*i+1] = s[i]
			}
		}
	} else {
		copy(b[:min(r.Length, len(b))], s)
	}
	reorder(b, r.ByteOrder)
	words := make([]uint16, r.Width())
	for i := range words {
		words[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return words
}

// partMask is the mask of a value that is a part of its registers, 0 if it is
// all of them.
func (r *Register) partMask() uint64 {
	switch {
	case r.BitCount > 0:
		return ^uint64(0) >> (64 - r.BitCount)
	case r.Type == Bit:
		return 1
	case r.Type.InByte():
		return 0xFF
	case r.Type == Int24 || r.Type == Uint24:
		return 1<<24 - 1
	}
	return 0
}

// span is what the raw value may be.
func (r *Register) span() (low, high float64) {
	if r.BitCount > 0 {
		return 0, math.Nextafter(math.Ldexp(1, r.BitCount), 0)
	}
	switch r.Type {
	case Bool, Bit:
		return 0, 1
	case Int8:
		return math.MinInt8, math.MaxInt8
	case Uint8:
		return 0, math.MaxUint8
	case Int16:
		return math.MinInt16, math.MaxInt16
	case Int32:
		return math.MinInt32, math.MaxInt32
	case Uint32:
		return 0, math.MaxUint32
	case Int64:
		return math.MinInt64, math.Nextafter(1<<63, 0)
	case Uint64:
		return 0, math.Nextafter(1<<64, 0)
	case Int24:
		return -1 << 23, 1<<23 - 1
	case Uint24:
		return 0, 1<<24 - 1
	case Int48:
		return -1 << 47, 1<<47 - 1
	case Uint48:
		return 0, 1<<48 - 1
	case BCD8:
		return 0, 99
	case BCD16:
		return 0, 9999
	case BCD32:
		return 0, 99_999_999
	case BCD64:
		return 0, math.Nextafter(1e16, 0)
	case SignMagnitude16:
		return -math.MaxInt16, math.MaxInt16
	case SignMagnitude32:
		return -math.MaxInt32, math.MaxInt32
	case Modulo10000:
		most := math.Nextafter(math.Pow10(4*r.Width()), 0)
		return -most, most
	default:
		return 0, math.MaxUint16
	}
}

// merge puts u into what words hold.
func (r *Register) merge(words []uint16, u, mask uint64, shift int) uint64 {
	var b [8]byte
	for i, w := range words {
		binary.BigEndian.PutUint16(b[2*i:], w)
	}
	raw := b[:2*len(words)]
	reorder(raw, r.ByteOrder)
	return unsigned(raw)&^(mask<<shift) | u&mask<<shift
}

// toHalf is the half precision number nearest to f.
func toHalf(f float64) (u uint16) {
	if math.Signbit(f) {
		u, f = 1<<15, -f
	}
	switch {
	case math.IsNaN(f):
		return u | 0x7E00
	case f >= 1<<16:
		return u | 0x7C00 // infinite
	case f == 0:
		return u
	}
	_, exp := math.Frexp(f)
	exp = max(exp, -13) // the least ones share an exponent
	return u | uint16(exp+13)<<10 + uint16(math.RoundToEven(math.Ldexp(f, 11-exp)))
}

func (r *Register) put(words []uint16, u uint64) {
	var b [8]byte
	n := 2 * len(words)
	for i := range n {
		b[i] = byte(u >> (8 * (n - 1 - i)))
	}
	reorder(b[:n], r.ByteOrder) // every order is its own inverse
	for i := range words {
		words[i] = binary.BigEndian.Uint16(b[2*i:])
	}
}
