package modbus

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
)

// registerOf makes a valid register of arbitrary numbers.
func registerOf(typ, order, part, scaling uint8) Register {
	r := Register{Name: "r", Type: Type(typ % uint8(len(typeNames))), ByteOrder: ByteOrder(order % 4), Scale: 1}
	switch r.Type {
	case String:
		r.Length = 1 + int(part%20)
		r.PerRegister, r.HighByte = part%4 > 1, part%8 > 5
		return r
	case Modulo10000:
		r.Length = 1 + int(part%4)
	case Bit:
		r.BitLow = int(part % 16)
		return r
	case Bool:
		return r
	case Int8, Uint8, BCD8:
		r.HighByte = part%2 == 1
	case Uint16, Uint24, Uint32, Uint48, Uint64:
		if bits := r.Type.Size(); part%3 == 1 {
			r.BitLow = int(part) % bits
			r.BitCount = 1 + int(part/3)%(bits-r.BitLow)
		}
	}
	switch r.Type {
	case Float16, Float32, Float64: // scaled, they have no more digits to come back with
	default:
		r.Scale = []float64{1, 1, 0.1, 0.01, -0.5, 10}[scaling%6]
		r.Offset = []float64{0, 0, -40, 0.05}[scaling/6%4]
	}
	return r
}

// FuzzValues decodes what a device may send as any type in any byte order. What
// comes out must come out again after it was encoded, and the rest of the
// registers it shares must stay as it was.
func FuzzValues(f *testing.F) {
	for typ := range typeNames {
		for order := range 4 {
			f.Add([]byte{0x12, 0x34, 0x56, 0x78, 0x01, 0x23, 0x45, 0x67}, uint8(typ), uint8(order), uint8(typ+order), uint8(3*order))
			f.Add([]byte{0xFF, 0xFE, 0xFF, 0xFF, 0x80, 0x00, 0x00, 0x01}, uint8(typ), uint8(order), uint8(4), uint8(typ))
			f.Add([]byte("text in 20 bytes \x00\xff "), uint8(typ), uint8(order), uint8(19), uint8(0))
		}
	}
	f.Add([]byte{0x7F, 0x80, 0x00, 0x01}, uint8(Float32), uint8(0), uint8(0), uint8(0)) // NaN
	f.Add([]byte{0x80, 0x01}, uint8(Float16), uint8(0), uint8(0), uint8(0))
	f.Fuzz(func(t *testing.T, raw []byte, typ, order, part, scaling uint8) {
		r := registerOf(typ, order, part, scaling)
		words := make([]uint16, r.Width())
		for i := range words {
			if 2*i+1 < len(raw) {
				words[i] = binary.BigEndian.Uint16(raw[2*i:])
			}
		}
		v, err := r.Decode(words)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "not a ") {
				t.Fatalf("%+v of %04x: %v", r, words, err)
			}
			return
		}
		if v.Kind == KindText {
			checkText(t, &r, v)
			return
		}
		const exact = 1 << 53
		if r.Type == Bool || v.Kind == KindUint && v.Uint > exact || v.Kind == KindInt && max(v.Int, -v.Int, 0) > exact ||
			r.Scale != 1 && math.Abs(v.number()) > 1<<40 || r.Offset != 0 && math.Abs(v.number()) > 1<<40 || math.IsNaN(v.Float) {
			return // Encode takes a float64
		}
		got, err := r.Encode(v.number(), slices.Clone(words))
		if err != nil {
			t.Fatalf("%+v: %v was read, and cannot be written: %v", r, v.number(), err)
		}
		if zero := v.Kind == KindFloat && v.Float == 0 || minusZero(&r, words); !slices.Equal(got, words) && !zero { // which may be -0
			t.Errorf("%+v: %04x is %v, which is written as %04x", r, words, v.number(), got)
		}
	})
}

func checkText(t *testing.T, r *Register, v Value) {
	for _, c := range v.Text {
		if c == '\uFFFD' {
			return // it was not text
		}
	}
	if again, err := r.Decode(r.EncodeText(v.Text)); err != nil || again.Text != v.Text {
		t.Errorf("%+v: %q comes back as %q, %v", *r, v.Text, again.Text, err)
	}
}

// Every half precision number, and those between two, have the right neighbour.
func TestHalf(t *testing.T) {
	for u := range 1 << 16 {
		f := half(uint16(u))
		if math.IsNaN(f) {
			if !math.IsNaN(half(toHalf(f))) {
				t.Fatalf("%04x", u)
			}
			continue
		}
		if got := toHalf(f); got != uint16(u) {
			t.Fatalf("%04x is %v, which is written as %04x", u, f, got)
		}
		if next := half(uint16(u + 1)); u&0x7FFF < 0x7BFF { // finite
			for _, c := range []struct {
				at   float64
				want int
			}{{0.25, u}, {0.5, u + u&1}, {0.75, u + 1}} {
				if got := toHalf(f + (next-f)*c.at); got != uint16(c.want) {
					t.Fatalf("%v after %04x is written as %04x", c.at, u, got)
				}
			}
		}
	}
	if toHalf(65519) != 0x7BFF || toHalf(65520) != 0x7C00 || toHalf(-1e300) != 0xFC00 {
		t.Error("the largest ones")
	}
}

// minusZero reports whether words are the other zero of a type that has two.
func minusZero(r *Register, words []uint16) bool {
	plain := *r
	plain.Scale, plain.Offset = 1, 0
	v, err := plain.Decode(words)
	return (r.Type == SignMagnitude16 || r.Type == SignMagnitude32) && err == nil && v.Int == 0
}
