package modbus

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"

	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/permit"
	"fieldferry/bus/scalar"
)

// Codec makes the words of values of one register, and values of words, as
// [Register.Decode] does but without rounding: what it encodes, it decodes to
// the same value, and what it cannot, it refuses. Make it with [NewCodec].
type Codec struct {
	reg           Register
	convert       conversion
	limits        scalar.Limits
	scale, offset *big.Rat
	labels        map[string]int64
}

// NewCodec makes a codec for a register that shall be written within limits. A
// bool or a string has none. The error says why it cannot be written so.
func NewCodec(r Register, limits scalar.Limits) (*Codec, error) {
	set(&r.Scale, 1)
	set(&r.Interval, DefaultInterval)
	switch {
	case r.Table != Holding && r.Table != Coil:
		return nil, fmt.Errorf("a register of the table %v cannot be written; only holding registers and coils can", r.Table)
	case r.HasScaleRegister:
		return nil, errors.New("a value with a scale register cannot be written: its scale may change at any time")
	case len(r.Flags) > 0 && r.Type == String:
		return nil, errors.New("a string has no flags")
	case r.Width() > rtu.MaxWriteRegisters:
		return nil, fmt.Errorf("a value of %d registers cannot be written: one request writes at most %d", r.Width(), rtu.MaxWriteRegisters)
	}
	if err := r.validate(rtu.MaxRegisters); err != nil {
		return nil, err
	}
	c := NewDecoder(r)
	c.limits, c.labels = limits, map[string]int64{}
	for n, label := range r.Enum {
		if other, twice := c.labels[label]; twice {
			return nil, fmt.Errorf("enum: %d and %d are both %q", min(n, other), max(n, other), label)
		}
		c.labels[label] = n
	}
	if !c.numeric() {
		if limits != (scalar.Limits{}) {
			return nil, fmt.Errorf("a %v has no min, max and step", r.Type)
		}
		return c, nil
	}
	return c, c.checkLimits()
}

// EncodeExact makes the words of a number, or refuses it if they would not be
// read as just that. A bool is 0 or 1; a string is not a number.
func (r *Register) EncodeExact(n *big.Rat) ([]uint16, error) {
	if r.Type == String {
		return nil, errors.New("a string is not a number")
	}
	c := NewDecoder(*r)
	if c.numeric() {
		return c.words(n, nil)
	}
	return c.encodeBool(scalar.Value{Kind: scalar.Number, Number: n}, nil)
}

// NewDecoder makes a codec that only decodes, for a register of any table.
func NewDecoder(r Register) *Codec {
	set(&r.Scale, 1)
	c := &Codec{reg: r, scale: scalar.OfFloat(r.Scale, 64), offset: scalar.OfFloat(r.Offset, 64)}
	c.convert = newConversion(&c.reg)
	return c
}

// numeric reports whether values are numbers.
func (c *Codec) numeric() bool {
	return c.reg.Type != Bool && c.reg.Type != Bit && c.reg.Type != String
}

func (c *Codec) float() bool {
	return c.reg.Type == Float16 || c.reg.Type == Float32 || c.reg.Type == Float64
}

// checkLimits refuses limits that type, scale and step cannot hold.
func (c *Codec) checkLimits() error {
	if err := c.limits.Validate(); err != nil {
		return err
	}
	ends := map[string]*big.Rat{"min": c.limits.Min, "max": c.limits.Max}
	words := c.words
	if c.limits.Round {
		words = c.rounded
	} else if c.limits.Step != nil && c.limits.Min.Cmp(c.limits.Max) < 0 {
		ends["step"] = new(big.Rat).Add(c.limits.Min, c.limits.Step)
	}
	var faults []error
	for _, key := range []string{"min", "max", "step"} {
		if ends[key] == nil || key == "step" && faults != nil { // a step of what is wrong already
			continue
		}
		if _, err := words(ends[key], nil); err != nil {
			fix := "correct it, or the register"
			if !c.limits.Round && c.between(ends[key]) {
				fix += ", or add " + rounding
			}
			faults = append(faults, &scalar.Fault{Key: key, What: err.Error(), Fix: fix})
		}
	}
	return errors.Join(faults...)
}

// Partial reports whether the value is a part of its register, so that what the
// register holds has to be known to write it.
func (c *Codec) Partial() bool { return c.reg.Table == Holding && c.reg.partMask() != 0 }

// Scope is what a permit for the register of a device is about: its limits are
// checked on the words, decoded again.
func (c *Codec) Scope(line string, unit uint8) permit.RegisterScope {
	return permit.RegisterScope{Line: line, Unit: unit, Coil: c.reg.Table == Coil, Address: c.reg.Address, Count: c.reg.Width(), Limits: c.Within}
}

// Table is where the value is.
func (c *Codec) Table() Table { return c.reg.Table }

// Address is the first register, or the coil, as on the wire.
func (c *Codec) Address() uint16 { return c.reg.Address }

// ScaleRegister is the address of the register whose power of ten the value is
// multiplied by, if it has one.
func (c *Codec) ScaleRegister() (address uint16, ok bool) {
	return c.reg.ScaleRegister, c.reg.HasScaleRegister
}

// Count is how many registers, or coils, the value takes.
func (c *Codec) Count() int { return c.reg.Width() }

// Check says why a value, the text of a JSON scalar, cannot be written, in a
// *[scalar.Refusal].
func (c *Codec) Check(value string) error {
	_, err := c.Encode(value, nil)
	return err
}

// Encode makes the words of a value, the text of a JSON scalar. Of a partial
// value, held are the words of the register as it is; nil stands for zeros.
func (c *Codec) Encode(value string, held []uint16) ([]uint16, error) {
	v, err := scalar.Parse(value)
	if err != nil {
		return nil, err
	}
	switch c.reg.Type {
	case Bool, Bit:
		return c.encodeBool(v, held)
	case String:
		return c.encodeText(v)
	}
	n := v.Number
	if v.Kind == scalar.Text {
		wide, ok := v.Wide()
		label, labelled := c.labels[v.Text]
		switch {
		case labelled:
			if n, err = c.physical(label); err != nil {
				return nil, err
			}
		case ok:
			n = wide
		}
	}
	if n == nil {
		return nil, scalar.Refuse(scalar.CodeType, "%.40s is not a number", value)
	}
	if err := c.limits.Check(n); err != nil {
		return nil, err
	}
	if c.limits.Round {
		return c.rounded(n, held)
	}
	words, err := c.words(n, held)
	if err != nil && c.between(n) {
		err = scalar.Refuse(scalar.CodeType, "%v; write one of them, or add %s to the point", err, rounding)
	}
	return words, err
}

// physical is the value of a label, which stands for a raw integer.
func (c *Codec) physical(raw int64) (*big.Rat, error) {
	if c.float() {
		return nil, scalar.Refuse(scalar.CodeType, "a %v has no labels", c.reg.Type)
	}
	return c.scaled(new(big.Rat).SetInt64(raw)), nil
}

func (c *Codec) encodeBool(v scalar.Value, held []uint16) ([]uint16, error) {
	u := uint64(0)
	label, labelled := c.labels[v.Text]
	switch {
	case v.Kind == scalar.Bool && v.Bool, v.Kind == scalar.Number && v.Number.Cmp(big.NewRat(1, 1)) == 0:
		u = 1
	case v.Kind == scalar.Bool, v.Kind == scalar.Number && v.Number.Sign() == 0:
	case v.Kind == scalar.Text && labelled && (label == 0 || label == 1):
		u = uint64(label)
	default:
		return nil, scalar.Refuse(scalar.CodeType, "not true or false")
	}
	return c.place(u, held), nil
}

func (c *Codec) encodeText(v scalar.Value) ([]uint16, error) {
	if v.Kind != scalar.Text {
		return nil, scalar.Refuse(scalar.CodeType, "not a string")
	}
	if len(v.Text) > c.reg.Length {
		return nil, scalar.Refuse(scalar.CodeRange, "%d bytes; the register has room for %d", len(v.Text), c.reg.Length)
	}
	words := c.reg.EncodeText(v.Text)
	if again, err := c.decode(words); err != nil || again.Text != v.Text {
		return nil, scalar.Refuse(scalar.CodeType, "it would be read as another string: spaces at the ends and control characters are lost")
	}
	return words, nil
}

// words makes the words of a number and sees to it that they mean it.
func (c *Codec) words(n *big.Rat, held []uint16) ([]uint16, error) {
	u, err := c.raw(n)
	if err != nil {
		return nil, err
	}
	words := c.place(u, held)
	again, err := c.decode(words)
	switch {
	case err != nil:
		return nil, scalar.Refuse(scalar.CodeType, "%s would be read as: %v", scalar.Decimal(n), err)
	case again.Number == nil || again.Number.Cmp(n) != 0:
		return nil, c.overflow(n)
	}
	return words, nil
}

// raw is the number before scale and offset, as its type has it.
func (c *Codec) raw(n *big.Rat) (uint64, error) {
	raw := new(big.Rat).Sub(n, c.offset)
	raw.Quo(raw, c.scale)
	switch c.reg.Type {
	case Float32:
		f, _ := raw.Float32()
		return uint64(math.Float32bits(f)), nil
	case Float64:
		f, _ := raw.Float64()
		return math.Float64bits(f), nil
	case Float16:
		f, _ := raw.Float64()
		return uint64(toHalf(f)), nil
	}
	if !raw.IsInt() {
		low, high := c.around(n)
		return 0, scalar.Refuse(scalar.CodeType, "%s is not a whole number of %s, as the register counts: the nearest are %s and %s",
			scalar.Decimal(n), scalar.Decimal(c.scale), scalar.Decimal(low), scalar.Decimal(high))
	}
	i := raw.Num()
	switch {
	case i.IsInt64():
		u, ok := c.reg.bitsOf(i.Int64())
		if !ok {
			return 0, c.overflow(n)
		}
		return u, nil
	case i.IsUint64() && (c.reg.Type == Uint64 || c.reg.BitCount > 0):
		return i.Uint64(), nil
	}
	return 0, c.overflow(n)
}

// overflow refuses a number that the type has no bits for, and says how far it
// reaches.
func (c *Codec) overflow(n *big.Rat) error {
	what := c.reg.Type.String()
	if c.reg.Scale != 1 || c.reg.Offset != 0 {
		what += " with this scale and offset"
	}
	if low, high, ok := c.extremes(); ok && (n.Cmp(low) < 0 || n.Cmp(high) > 0) {
		return scalar.Refuse(scalar.CodeType, "%s is beyond what %s holds, %s to %s", scalar.Decimal(n), what, scalar.Decimal(low), scalar.Decimal(high))
	}
	return scalar.Refuse(scalar.CodeType, "%s cannot hold %s", what, scalar.Decimal(n))
}

// extremes are the least and the greatest value of a whole number.
func (c *Codec) extremes() (low, high *big.Rat, ok bool) {
	r := &c.reg
	size := cmp.Or(r.BitCount, r.Type.Size())
	var least int64
	var most uint64
	switch r.Type {
	case BCD8, BCD16, BCD32, BCD64:
		most = tenTo(size/4) - 1
	case Modulo10000:
		most = tenTo(4*r.Width()) - 1
		least = -int64(most)
	case SignMagnitude16, SignMagnitude32:
		most = 1<<(size-1) - 1
		least = -int64(most)
	case Int8, Int16, Int24, Int32, Int48, Int64:
		most = 1<<(size-1) - 1
		least = ^int64(most)
	case Uint8, Uint16, Uint24, Uint32, Uint48, Uint64:
		most = ^uint64(0) >> (64 - size)
	default:
		return nil, nil, false
	}
	low, high = c.scaled(new(big.Rat).SetInt64(least)), c.scaled(new(big.Rat).SetUint64(most))
	if c.scale.Sign() < 0 {
		low, high = high, low
	}
	return low, high, true
}

// place puts the bits of a value where they stand in the register.
func (c *Codec) place(u uint64, held []uint16) []uint16 {
	r := &c.reg
	words := make([]uint16, r.Width())
	copy(words, held)
	if mask := r.partMask(); mask != 0 {
		shift := r.BitLow
		if r.Type.InByte() && r.HighByte {
			shift += 8
		}
		u = r.merge(words, u, mask, shift)
	}
	r.put(words, u)
	return words
}

// scaled applies scale and offset.
func (c *Codec) scaled(raw *big.Rat) *big.Rat {
	raw.Mul(raw, c.scale)
	return raw.Add(raw, c.offset)
}

// Decode makes the text of a JSON scalar of words as they were read.
func (c *Codec) Decode(words []uint16) (string, error) {
	v, err := c.decode(words)
	if err != nil {
		return "", err
	}
	switch v.Kind {
	case scalar.Bool:
		return fmt.Sprint(v.Bool), nil
	case scalar.Text:
		return scalar.Quote(v.Text), nil
	}
	return scalar.Format(v.Number, c.float()), nil
}

// DecodeScaled is Decode with the power of ten of the scale register, as it was
// read.
func (c *Codec) DecodeScaled(words []uint16, power uint16) (string, error) {
	p := [2]byte{byte(power >> 8), byte(power)}
	reorder(p[:], c.reg.ByteOrder)
	n := int(int16(binary.BigEndian.Uint16(p[:])))
	if n < -largestPower || n > largestPower {
		return "", fmt.Errorf("scale factor: 10^%d is out of range", n)
	}
	s := *c
	factor := scalar.OfFloat(math.Pow10(n), 64)
	s.scale = factor.Mul(factor, c.scale)
	return s.Decode(words)
}

// Within says why words are not within the limits, or are not a value at all.
func (c *Codec) Within(words []uint16) error {
	v, err := c.decode(words)
	if err != nil || v.Kind != scalar.Number {
		return err
	}
	l := c.limits
	if l.Round {
		l.Step = nil // that is of what was asked for
	}
	return l.Check(v.Number)
}

// decode is [conversion.value] without rounding.
func (c *Codec) decode(words []uint16) (v scalar.Value, err error) {
	if len(words) != c.reg.Width() {
		return v, fmt.Errorf("a %v takes %d words, not %d", c.reg.Type, c.reg.Width(), len(words))
	}
	p := make([]byte, 0, 8)
	for _, w := range words {
		p = binary.BigEndian.AppendUint16(p, w)
	}
	if c.reg.Type == String {
		return scalar.Value{Kind: scalar.Text, Text: textOf(p, &c.reg, c.reg.ByteOrder)}, nil
	}
	u, size, ok := c.convert.bits(p)
	if !ok {
		return v, errors.New(notAvailable)
	}
	v.Kind = scalar.Number
	switch c.reg.Type {
	case Bool, Bit:
		return scalar.Value{Kind: scalar.Bool, Bool: u != 0}, nil
	case Float16, Float32, Float64:
		f := floatOf(u, size/8)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return v, fmt.Errorf("not a number: %v", f)
		}
		v.Number = scalar.OfFloat(f, max(size, 32))
	default:
		i, unsigned, fail := wholeOf(c.reg.Type, u, size)
		if fail != "" {
			return v, errors.New(fail)
		}
		if v.Number = new(big.Rat).SetInt64(i); unsigned {
			v.Number.SetUint64(uint64(i))
		}
	}
	v.Number = c.scaled(v.Number)
	return v, nil
}
