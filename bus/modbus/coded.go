package modbus

import "fmt"

// wholeOf is the whole number that the bits of a value stand for; fail says why
// they stand for none. An unsigned one of 64 bits is in i as it is.
func wholeOf(t Type, u uint64, size int) (i int64, unsigned bool, fail string) {
	switch t {
	case BCD8, BCD16, BCD32, BCD64:
		d, ok := fromBCD(u)
		if !ok {
			return 0, false, fmt.Sprintf("not a BCD number: 0x%0*X", size/4, u)
		}
		return int64(d), true, ""
	case Int8, Int16, Int24, Int32, Int48, Int64:
		return int64(u<<(64-size)) >> (64 - size), false, ""
	case SignMagnitude16, SignMagnitude32:
		return fromSignMagnitude(u, size), false, ""
	case Modulo10000:
		i, ok := fromModulo10000(u, size/16)
		if !ok {
			return 0, false, fmt.Sprintf("not a modulo 10000 number: 0x%0*X", size/4, u)
		}
		return i, false, ""
	}
	return int64(u), true, ""
}

// bitsOf are the bits of a whole number, which wholeOf makes it of again; false
// if the type has none for it. Bits that the type has not are not cut off.
func (r *Register) bitsOf(i int64) (u uint64, ok bool) {
	amount := uint64(max(i, -i)) //nolint:gosec // the least one stays what it is
	switch r.Type {
	case BCD8, BCD16, BCD32, BCD64:
		return toBCD(amount), i >= 0 && amount < tenTo(r.Type.Size()/4)
	case SignMagnitude16, SignMagnitude32:
		size := r.Type.Size()
		return toSignMagnitude(i, size), amount < 1<<(size-1)
	case Modulo10000:
		return toModulo10000(i, r.Width()), amount < tenTo(4*r.Width())
	}
	return uint64(i), true
}

func tenTo(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

// Numbers that are not in two's complement.

func fromBCD(u uint64) (d uint64, ok bool) {
	for shift := 60; shift >= 0; shift -= 4 {
		digit := u >> shift & 0xF
		if digit > 9 {
			return 0, false
		}
		d = d*10 + digit
	}
	return d, true
}

func toBCD(u uint64) (bcd uint64) {
	for shift := 0; u > 0; shift += 4 {
		bcd |= u % 10 << shift
		u /= 10
	}
	return bcd
}

// fromSignMagnitude reads a number whose highest bit is the sign.
func fromSignMagnitude(u uint64, size int) int64 {
	sign := uint64(1) << (size - 1)
	i := int64(u &^ sign) //nolint:gosec // of 31 bits at most
	if u&sign != 0 {
		return -i
	}
	return i
}

func toSignMagnitude(i int64, size int) uint64 {
	if i < 0 {
		return uint64(-i) | 1<<(size-1)
	}
	return uint64(i)
}

// fromModulo10000 reads words of four decimal digits each, all of one sign.
func fromModulo10000(u uint64, words int) (i int64, ok bool) {
	negative, positive := false, false
	for k := words - 1; k >= 0; k-- {
		w := int64(int16(u >> (16 * k)))
		if w < -9999 || w > 9999 {
			return 0, false
		}
		negative, positive = negative || w < 0, positive || w > 0
		i = i*10000 + w
	}
	return i, !negative || !positive
}

func toModulo10000(i int64, words int) (u uint64) {
	for k := range words {
		u |= uint64(uint16(i%10000)) << (16 * k)
		i /= 10000
	}
	return u
}

// oneOfTwo is the high or the low byte of each register.
func oneOfTwo(p []byte, high bool) []byte {
	b := p[:0]
	for i := 0; i+1 < len(p); i += 2 {
		if high {
			b = append(b, p[i])
		} else {
			b = append(b, p[i+1])
		}
	}
	return b
}
