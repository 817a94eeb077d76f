package dbc

import (
	"math"
	"math/bits"
	"strconv"
)

// scaleMode is how raw bits become a physical value.
type scaleMode uint8

const (
	scaleInt     scaleMode = iota // raw*factor + offset, always within int64
	scaleDecimal                  // the same, over 10^decimals, and always below maxDecimal
	scaleBinary                   // factor and offset are binary fractions: one fused multiply-add rounds once
	scaleWide                     // in 128 bits
	scalePair                     // factor or offset have more digits than fit: each as a pair of float64
	scaleFloat32                  // raw is IEEE 754
	scaleFloat64
)

// Below 10^15 any decimal number is the shortest that reads back as its
// nearest float64 (IEEE 754 binary64 holds 15 digits), and division of two
// integers below 2^53 and 10^22 is correctly rounded.
const (
	maxDecimal  = 1e15
	maxExact    = 1 << 53
	maxDecimals = 18
)

// scale is factor and offset, ready for use: value = (raw*factor + offset) / 10^decimals.
type scale struct {
	_ [0]func() // nobody compares them: saves the code for it

	factor, offset           int64
	floatFactor, floatOffset float64
	factorRest, offsetRest   float64 // of scalePair, scaleFloat32 and scaleFloat64
	decimals                 uint8
	mode                     scaleMode
	identity                 bool // of a float: factor 1, offset 0
}

var pow10 = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// newScale chooses the cheapest exact way for a signal.
func newScale(s *Signal, factor, offset number) scale {
	sc := scale{floatFactor: factor.float, floatOffset: offset.float}
	sc.identity = factor.float == 1 && offset.float == 0
	if s.Type != Integer {
		sc.mode = scaleFloat32
		if s.Type == Float64 {
			sc.mode = scaleFloat64
		}
		sc.factorRest, sc.offsetRest = factor.low(), offset.low()
		return sc
	}
	if !sc.setIntegers(factor, offset) {
		sc.mode = scalePair
		sc.decimals = 0
		sc.factorRest, sc.offsetRest = factor.low(), offset.low()
		return sc
	}
	low, high := rawLimits(s)
	within := func(positive, negative uint64) bool {
		return sc.product(low, s.Signed).within(positive, negative) && sc.product(high, false).within(positive, negative)
	}
	switch {
	case sc.decimals == 0 && within(math.MaxInt64, 1<<63):
		sc.mode = scaleInt
	case sc.decimals > 0 && sc.decimals <= maxDecimals && within(maxDecimal-1, maxDecimal-1):
		sc.mode = scaleDecimal
	case sc.decimals > 0 && s.Length <= 53 && isBinary(factor) && isBinary(offset):
		sc.mode = scaleBinary
	default:
		sc.mode = scaleWide
	}
	return sc
}

// setIntegers brings factor and offset to one power of ten and reports
// whether both then fit.
func (sc *scale) setIntegers(factor, offset number) bool {
	if !factor.decimal || !offset.decimal {
		return false
	}
	exp := min(factor.exp, offset.exp, 0)
	if exp < -math.MaxUint8 {
		return false
	}
	sc.decimals = uint8(-exp)
	var ok1, ok2 bool
	sc.factor, ok1 = shift10(factor.mant, factor.exp-exp)
	sc.offset, ok2 = shift10(offset.mant, offset.exp-exp)
	return ok1 && ok2
}

func shift10(v int64, n int) (int64, bool) {
	if v == 0 {
		return 0, true
	}
	for ; n > 0; n-- {
		if v > math.MaxInt64/10 || v < math.MinInt64/10 {
			return 0, false
		}
		v *= 10
	}
	return v, true
}

// isBinary reports whether a float64 holds the number exactly.
func isBinary(n number) bool { return n.low() == 0 }

// rawLimits returns the least and the greatest raw value.
func rawLimits(s *Signal) (low, high uint64) {
	if s.Signed {
		return ^uint64(0) << (s.Length - 1), s.mask() >> 1
	}
	return 0, s.mask()
}

// wideInt is an integer of 128 bits and a sign.
type wideInt struct {
	hi, lo   uint64
	negative bool
}

// within reports whether the number is at most positive, and at least
// -negative.
func (w wideInt) within(positive, negative uint64) bool {
	if w.negative {
		positive = negative
	}
	return w.hi == 0 && w.lo <= positive
}

// product computes raw*factor + offset in 128 bits, which is always enough:
// |raw| < 2^64, |factor| < 2^63, |offset| <= 2^63. A negative raw is given
// sign-extended.
func (sc *scale) product(raw uint64, negative bool) wideInt {
	if negative {
		raw = -raw
	}
	f := uint64(sc.factor)
	if sc.factor < 0 {
		f, negative = -f, !negative
	}
	hi, lo := bits.Mul64(raw, f)
	o, offsetNegative := uint64(sc.offset), sc.offset < 0
	if offsetNegative {
		o = -o
	}
	var carry uint64
	if negative == offsetNegative {
		lo, carry = bits.Add64(lo, o, 0)
		return wideInt{hi + carry, lo, negative}
	}
	if hi == 0 && lo < o {
		return wideInt{0, o - lo, offsetNegative}
	}
	lo, carry = bits.Sub64(lo, o, 0)
	return wideInt{hi - carry, lo, negative}
}

// wide is value for what may not fit into 64 bits.
func (sc *scale) wide(raw uint64, negative bool) (kind Kind, value uint64) {
	w := sc.product(raw, negative)
	if sc.decimals == 0 && w.hi == 0 {
		switch {
		case !w.negative && w.lo <= math.MaxInt64:
			return KindInt, w.lo
		case !w.negative:
			return KindUint, w.lo
		case w.lo <= 1<<63:
			return KindInt, -w.lo
		}
	}
	return wideFloat(w.hi, w.lo, w.negative, int(sc.decimals))
}

// wideFloat returns the float64 nearest to the 128-bit integer over
// 10^decimals, or the decimal itself if it is short.
func wideFloat(hi, lo uint64, negative bool, decimals int) (Kind, uint64) {
	if hi == 0 && lo < maxDecimal && decimals <= maxDecimals && decimals > 0 {
		if negative {
			lo = -lo
		}
		return KindDecimal, lo
	}
	var f float64
	if hi == 0 && lo <= maxExact && decimals < len(pow10) {
		f = float64(lo) / pow10[decimals]
	} else {
		f = parseDigits(hi, lo, decimals)
	}
	if negative && f != 0 {
		f = -f
	}
	return KindFloat, math.Float64bits(f)
}

// parseDigits lets strconv round what has too many digits for one division.
func parseDigits(hi, lo uint64, decimals int) float64 {
	var buf [48]byte // 39 digits and an exponent
	b := buf[:0]
	if hi == 0 {
		b = strconv.AppendUint(b, lo, 10)
	} else {
		const e19 = 1e19
		q1, low := bits.Div64(hi%e19, lo, e19)
		high := hi / e19
		if high == 0 {
			b = strconv.AppendUint(b, q1, 10)
		} else {
			b = strconv.AppendUint(b, high, 10)
			b = appendPadded19(b, q1)
		}
		b = appendPadded19(b, low)
	}
	b = append(b, 'e', '-')
	b = strconv.AppendInt(b, int64(decimals), 10)
	f, _ := strconv.ParseFloat(string(b), 64) // at most 39 digits: in range
	return f
}

func appendPadded19(b []byte, v uint64) []byte {
	start := len(b)
	b = append(b, "0000000000000000000"...)
	for i := len(b) - 1; i >= start; i-- {
		b[i] = '0' + byte(v%10)
		v /= 10
	}
	return b
}

// pair computes raw*factor + offset with some 104 bits, so that only the last
// step rounds: the high parts' product and sum are exact with their errors
// (Dekker 1971), which are added to the small terms.
func (sc *scale) pair(raw uint64, negative bool) float64 {
	sign := 1.0
	if negative {
		raw, sign = -raw, -1
	}
	high := float64(raw &^ (1<<11 - 1)) // 53 bits: exact
	low := float64(raw & (1<<11 - 1))
	return sc.pairOf(twoSum(sign*high, sign*low))
}

// pairOf is pair for r + rest.
func (sc *scale) pairOf(r, rest float64) float64 {
	p := r * sc.floatFactor
	e := math.FMA(r, sc.floatFactor, -p) + (r*sc.factorRest + rest*sc.floatFactor)
	s, t := twoSum(p, sc.floatOffset)
	f := s + (t + (e + sc.offsetRest))
	if notFinite(f) { // the errors have no number
		f = p + sc.floatOffset
	}
	return f + 0
}

// twoSum returns a sum and what rounding took from it.
func twoSum(a, b float64) (sum, rest float64) {
	sum = a + b
	c := sum - a
	return sum, (a - (sum - c)) + (b - c)
}
