package modbus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Decode makes a value of the words of one register, which must be r.Width()
// long (a bit is a word of 0 or 1). It needs no line, and leaves the scale
// register out. The error says why there is no value.
func (r *Register) Decode(words []uint16) (Value, error) {
	if len(words) != r.Width() {
		return Value{Name: r.Name}, fmt.Errorf("a %v takes %d words, not %d", r.Type, r.Width(), len(words))
	}
	p := make([]byte, 0, 8)
	for _, w := range words {
		p = binary.BigEndian.AppendUint16(p, w)
	}
	c := newConversion(r)
	v, fail := c.value(p)
	if fail != "" {
		return v, errors.New(fail)
	}
	return v, nil
}

// notAvailable is the failure of a value by which the device says that it has
// none.
const notAvailable = "not available"

// conversion is a register's decoding, worked out once.
type conversion struct {
	_ [0]func() // nobody compares them: saves the code for it

	name          string
	kind          Type
	order         ByteOrder
	reg           *Register
	plain         bool // scale 1, offset 0: integers stay integers
	scale, offset float64
	decimal       bool // scale and offset are short decimal fractions:
	mul, add, exp int64
	mask          uint64 // of a field of bits, 0 for the whole value
}

func newConversion(r *Register) conversion {
	c := conversion{name: r.Name, kind: r.Type, order: r.ByteOrder, reg: r, offset: r.Offset}
	if n := r.BitCount; n > 0 || r.Type == Bit {
		c.mask = ^uint64(0) >> (64 - max(n, 1))
	}
	c.setScale(r.Scale)
	return c
}

func (c *conversion) setScale(scale float64) {
	c.scale = scale
	if c.scale == 0 {
		c.scale = 1
	}
	c.plain = c.scale == 1 && c.offset == 0
	c.mul, c.add, c.exp, c.decimal = commonDecimal(c.scale, c.offset)
}

// times returns the conversion with its scale multiplied by a power of ten.
func (c *conversion) times(power int) conversion {
	n := *c
	scale := c.scale * math.Pow10(power)
	if m, exp, ok := decimal(c.scale, 64); ok { // exact, where c.scale*10^power is not
		if f, err := strconv.ParseFloat(fmt.Sprintf("%de%d", m, exp+int64(power)), 64); err == nil {
			scale = f
		}
	}
	n.setScale(scale)
	return n
}

// value decodes the bytes of one value as they came off the wire; fail says
// why it has none.
func (c *conversion) value(p []byte) (v Value, fail string) {
	v.Name = c.name
	if c.kind == String {
		v.Kind, v.Text = KindText, textOf(p, c.reg, c.order)
		return v, ""
	}
	u, size, ok := c.bits(p)
	if !ok {
		return v, notAvailable
	}
	switch c.kind {
	case Bool, Bit:
		v.Kind = KindBool
		if u != 0 {
			v.Uint = 1
		}
		v.Label = c.reg.Enum[int64(v.Uint)]
	case Float16, Float32, Float64:
		v.Kind, v.Float = KindFloat, c.fromFloat(floatOf(u, size/8), max(size, 32))
	default:
		i, unsigned, fail := wholeOf(c.kind, u, size)
		if fail != "" {
			return v, fail
		}
		if unsigned {
			c.setUint(&v, uint64(i))
		} else {
			c.setInt(&v, i)
		}
	}
	return v, ""
}

// bits returns the value in the bytes of a number and how many bits it has, and
// false if they say that the device has none.
func (c *conversion) bits(p []byte) (u uint64, size int, ok bool) {
	var raw [8]byte
	n := copy(raw[:], p)
	reorder(raw[:n], c.order)
	u, size = unsigned(raw[:n]), c.kind.Size()
	switch {
	case c.kind == Modulo10000:
		size = 8 * n
	case size == 8 && c.reg.HighByte:
		u >>= 8
	}
	u &= ^uint64(0) >> (64 - size)
	if c.invalid(u, size) {
		return u, size, false
	}
	if c.mask != 0 {
		u = u >> c.reg.BitLow & c.mask
	}
	return u, size, true
}

func (c *conversion) setInt(v *Value, i int64) {
	if v.Kind, v.Int = KindInt, i; !c.plain {
		v.Kind, v.Int, v.Float = KindFloat, 0, c.fromInt(i)
	}
	v.Label = c.reg.Enum[i]
}

func (c *conversion) setUint(v *Value, u uint64) {
	if v.Kind, v.Uint = KindUint, u; !c.plain {
		v.Kind, v.Uint, v.Float = KindFloat, 0, c.fromUint(u)
	}
	if u <= math.MaxInt64 {
		v.Label = c.reg.Enum[int64(u)]
	}
	if c.reg.Flags == nil {
		return
	}
	v.Flags = []string{}
	for rest := u; rest != 0; rest &= rest - 1 {
		if label, ok := c.reg.Flags[bits.TrailingZeros64(rest)]; ok {
			v.Flags = append(v.Flags, label)
		}
	}
}

// invalid reports whether the raw value says that there is none.
func (c *conversion) invalid(u uint64, size int) bool {
	i := &c.reg.Invalid
	for _, b := range i.Bits {
		if u == b&(^uint64(0)>>(64-size)) {
			return true
		}
	}
	if !i.NaN && len(i.Floats) == 0 {
		return false
	}
	switch c.kind {
	case Float16, Float32, Float64:
	default:
		return false
	}
	f := floatOf(u, size/8)
	if i.NaN && math.IsNaN(f) {
		return true
	}
	for _, x := range i.Floats {
		if f == x || size == 32 && float32(f) == float32(x) {
			return true
		}
	}
	return false
}

func floatOf(u uint64, size int) float64 {
	switch size {
	case 2:
		return half(uint16(u))
	case 4:
		return float64(math.Float32frombits(uint32(u)))
	default:
		return math.Float64frombits(u)
	}
}

// half is an IEEE 754 half precision number.
func half(u uint16) float64 {
	exp, fraction := int(u>>10&0x1F), float64(u&0x3FF)
	var f float64
	switch exp {
	case 0:
		f = math.Ldexp(fraction, -24)
	case 0x1F:
		f = math.Inf(1)
		if fraction != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(1024+fraction, exp-25)
	}
	if u>>15 != 0 {
		return -f
	}
	return f
}

// textOf is a string without what it is padded with, on either side. A device
// that has none fills it with zeros, spaces or 0xFF.
func textOf(p []byte, r *Register, order ByteOrder) string {
	b := append([]byte(nil), p...)
	reorder(b, order)
	if r.PerRegister {
		b = oneOfTwo(b, r.HighByte)
	}
	b = bytes.TrimLeft(b[:min(r.Length, len(b))], "\x00")
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	for len(b) > 0 && padding(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	for len(b) > 0 && padding(b[0]) {
		b = b[1:]
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

func padding(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' || b == 0xFF }

func unsigned(p []byte) (u uint64) {
	for _, b := range p {
		u = u<<8 | uint64(b)
	}
	return u
}

// reorder makes p most significant byte first.
func reorder(p []byte, order ByteOrder) {
	if order == BADC || order == DCBA {
		for i := 0; i+1 < len(p); i += 2 {
			p[i], p[i+1] = p[i+1], p[i]
		}
	}
	if order == CDAB || order == DCBA {
		for i, j := 0, len(p)-2; i < j; i, j = i+2, j-2 {
			p[i], p[i+1], p[j], p[j+1] = p[j], p[j+1], p[i], p[i+1]
		}
	}
}

// same reports whether two values would be published alike; NaN is like NaN.
func (v Value) same(w Value) bool {
	return v.Name == w.Name && v.Kind == w.Kind && v.Uint == w.Uint && v.Int == w.Int && v.Text == w.Text &&
		math.Float64bits(v.Float) == math.Float64bits(w.Float)
}

// near reports whether v is not worth publishing after w.
func (v Value) near(w Value, limit *Limit) bool {
	if limit.Deadband <= 0 || v.Kind == KindBool || v.Kind == KindText || v.Label != w.Label {
		return v.same(w)
	}
	was, band := w.number(), limit.Deadband
	if limit.Percent {
		band *= math.Abs(was) / 100
	}
	// Written so that NaN is a change unless it was NaN before.
	return math.Abs(v.number()-was) <= band || v.same(w)
}

func (v Value) number() float64 {
	switch v.Kind {
	case KindInt:
		return float64(v.Int)
	case KindFloat:
		return v.Float
	default:
		return float64(v.Uint)
	}
}
