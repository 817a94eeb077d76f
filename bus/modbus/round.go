package modbus

import (
	"math/big"

	"fieldferry/bus/scalar"
)

// rounding is the key of a point that lets a value be rounded.
const rounding = "rounding: nearest"

// Rounds reports whether what is written may be another value than the one that
// was asked for.
func (c *Codec) Rounds() bool { return c.limits.Round }

// between reports whether a number lies between two that the register has.
func (c *Codec) between(n *big.Rat) bool {
	if c.float() {
		return false
	}
	low, high := c.around(n)
	return low.Cmp(high) != 0
}

// around are the two values of a register that counts which are nearest to n:
// below it and above it, or twice n.
func (c *Codec) around(n *big.Rat) (low, high *big.Rat) {
	raw := new(big.Rat).Sub(n, c.offset)
	raw.Quo(raw, c.scale)
	if raw.IsInt() {
		return n, n
	}
	whole := new(big.Int).Div(raw.Num(), raw.Denom()) // downwards, as the denominator is positive
	low = c.scaled(new(big.Rat).SetInt(whole))
	high = c.scaled(new(big.Rat).SetInt(whole.Add(whole, big.NewInt(1))))
	if c.scale.Sign() < 0 {
		low, high = high, low
	}
	return low, high
}

// nearest is the value of the register that is nearest to n, of those within min
// and max: a limit that is between two values is rounded inwards.
func (c *Codec) nearest(n *big.Rat) (*big.Rat, error) {
	if c.float() {
		u, err := c.raw(n)
		if err != nil {
			return nil, err
		}
		v, err := c.decode(c.place(u, nil))
		return v.Number, err
	}
	low, high := c.around(n)
	below, above := new(big.Rat).Sub(n, low), new(big.Rat).Sub(high, n)
	switch {
	case high.Cmp(c.limits.Max) > 0:
		return low, nil
	case low.Cmp(c.limits.Min) < 0 || above.Cmp(below) <= 0:
		return high, nil
	}
	return low, nil
}

// rounded makes the words of the value that is nearest to n.
func (c *Codec) rounded(n *big.Rat, held []uint16) ([]uint16, error) {
	v, err := c.nearest(n)
	if err != nil {
		return nil, scalar.Refuse(scalar.CodeType, "%s would be read as: %v", scalar.Decimal(n), err)
	}
	if v.Cmp(c.limits.Min) < 0 || v.Cmp(c.limits.Max) > 0 {
		return nil, scalar.Refuse(scalar.CodeRange, "%s would be written as %s, which is not within %s to %s",
			scalar.Decimal(n), scalar.Decimal(v), scalar.Decimal(c.limits.Min), scalar.Decimal(c.limits.Max))
	}
	return c.words(v, held)
}
