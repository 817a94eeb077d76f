package modbus

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
)

func (c *conversion) fromUint(u uint64) float64 {
	if u <= math.MaxInt64 {
		return c.fromInt(int64(u))
	}
	return float64(u)*c.scale + c.offset
}

// fromInt scales without spurious digits: 2301 at 0.1 is 230.1, the float
// nearest to it, and not the 230.10000000000002 of a multiplication by the
// float nearest to 0.1. Numerator and power of ten are exact, so the division
// rounds once.
func (c *conversion) fromInt(i int64) float64 {
	if c.decimal {
		if f, ok := scaled(i, c.mul, c.add, c.exp); ok {
			return f
		}
	}
	return float64(i)*c.scale + c.offset
}

// fromFloat takes a float for the shortest decimal that reads back as it, so
// that a float32 of 230.1 does not become 230.10000610351562.
func (c *conversion) fromFloat(f float64, size int) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) || f == 0 {
		return f*c.scale + c.offset
	}
	if c.plain {
		if size == 64 {
			return f
		}
		short, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', -1, 32), 64)
		if err != nil {
			return f
		}
		return short
	}
	if m, exp, ok := decimal(f, size); ok && c.decimal {
		if exp <= 0 {
			if x, ok := scaled(m, c.mul, c.add, c.exp-exp, -exp); ok {
				return x
			}
		}
	}
	return f*c.scale + c.offset
}

// scaled is (i*mul + add*10^shift) / 10^exp, if every step is exact up to the division.
func scaled(i, mul, add, exp int64, shift ...int64) (float64, bool) {
	const exact = 1 << 53
	hi, lo := bits.Mul64(magnitude(i), magnitude(mul))
	if hi != 0 || lo > exact || exp < 0 || exp > 22 {
		return 0, false
	}
	if len(shift) > 0 {
		for range shift[0] {
			if magnitude(add) > exact/10 {
				return 0, false
			}
			add *= 10
		}
	}
	numerator := i*mul + add
	if magnitude(numerator) > exact {
		return 0, false
	}
	return float64(numerator) / math.Pow10(int(exp)), true
}

func magnitude(i int64) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

// decimal splits f into m * 10^exp with the fewest digits that read back as f.
func decimal(f float64, size int) (m, exp int64, ok bool) {
	text := strconv.FormatFloat(f, 'e', -1, size)
	digits, power, found := strings.Cut(text, "e")
	if !found {
		return 0, 0, false
	}
	exp, err := strconv.ParseInt(power, 10, 32)
	if err != nil {
		return 0, 0, false
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	m, err = strconv.ParseInt(whole+fraction, 10, 64)
	return m, exp - int64(len(fraction)), err == nil
}

// commonDecimal writes scale and offset as mul/10^exp and add/10^exp.
func commonDecimal(scale, offset float64) (mul, add, exp int64, ok bool) {
	mul, mexp, ok1 := decimal(scale, 64)
	add, aexp, ok2 := decimal(offset, 64)
	if !ok1 || !ok2 || mexp < -22 || aexp < -22 || mexp > 15 || aexp > 15 {
		return 0, 0, 0, false
	}
	exp = max(0, -mexp, -aexp)
	mul, ok1 = timesPow10(mul, mexp+exp)
	add, ok2 = timesPow10(add, aexp+exp)
	return mul, add, exp, ok1 && ok2
}

func timesPow10(m, exp int64) (int64, bool) {
	for range exp {
		if magnitude(m) > 1<<53/10 {
			return 0, false
		}
		m *= 10
	}
	return m, true
}
