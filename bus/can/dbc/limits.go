package dbc

import "math"

// bounds are a signal's limits in a form that costs little to ask for each
// frame: of integers, the raw values whose physical values lie within.
type bounds struct {
	flip        uint64 // the sign bit: it makes raw values grow from the least to the greatest
	first, span uint64
	mode        boundsMode
}

type boundsMode uint8

const (
	boundsNone    boundsMode = iota // no limits, or none that a value can exceed
	boundsRaw                       // raw^flip is within first and first+span
	boundsCompare                   // the physical value is compared
)

// Limits returns the physical limits the file gives the signal. There are none
// if both are 0, one is not a number, or the lower is above the upper one.
func (s *Signal) Limits() (low, high float64, ok bool) {
	if s.Min == 0 && s.Max == 0 || !(s.Min <= s.Max) {
		return 0, 0, false
	}
	return s.Min, s.Max, true
}

// hold reports whether a raw value is surely within, at the least cost.
func (b *bounds) hold(raw uint64) bool { return b.mode == boundsRaw && raw^b.flip-b.first <= b.span }

// newBounds finds the cheapest way to ask for the limits of a signal.
func newBounds(o *op) bounds {
	s := o.signal
	low, high, ok := s.Limits()
	if !ok {
		return bounds{}
	}
	const cheap = 32 // bits: at most 64 values are computed to find the bounds
	if s.Type != Integer || s.Length > cheap || s.Factor == 0 || o.scale.mode > scaleBinary {
		return bounds{mode: boundsCompare}
	}
	// index grows with the physical value, raw^flip with the raw one.
	index := func(i uint64) uint64 {
		if s.Factor < 0 {
			return s.mask() - i
		}
		return i
	}
	physical := func(i uint64) float64 {
		v := o.value(index(i) ^ o.sign)
		return v.Float()
	}
	// search returns the least index whose value is no longer below, or 2^Length.
	search := func(below func(float64) bool) uint64 {
		from, to := uint64(0), s.mask()+1
		for from < to {
			if mid := (from + to) / 2; below(physical(mid)) {
				from = mid + 1
			} else {
				to = mid
			}
		}
		return from
	}
	begin := search(func(f float64) bool { return f < low })
	end := search(func(f float64) bool { return f <= high })
	switch {
	case begin == 0 && end > s.mask():
		return bounds{}
	case begin >= end:
		return bounds{mode: boundsCompare} // nothing is within
	}
	first, last := index(begin), index(end-1)
	return bounds{flip: o.sign, first: min(first, last), span: max(first, last) - min(first, last), mode: boundsRaw}
}

// OutOfRange reports whether the value lies outside the limits the file gives
// its signal, if it does.
func (v *Value) OutOfRange() bool {
	switch b := &v.Signal.bounds; b.mode {
	case boundsNone:
		return false
	case boundsRaw:
		return !b.hold(v.Raw)
	}
	f := v.Float()
	return f < v.Signal.Min || f > v.Signal.Max
}

// reserve says whether the message is one of J1939, whose highest raw values
// are no measurement.
func (m *Message) reserve(j1939 bool) {
	for i := range m.Signals {
		s := &m.Signals[i]
		s.reserved = j1939 && !s.measured && s.Type == Integer && !s.Signed && s.bounds.mode != boundsNone &&
			(s.Length == 2 || s.Length == 8 || s.Length == 16 || s.Length == 32)
	}
}

// KeepReserved makes the raw values that J1939 reserves for "not available" and
// "error indicator" numbers again: those of the signal of a name, long or short,
// or of all if it is empty. It reports whether there is such a signal. It must
// be called before the message is used.
func (m *Message) KeepReserved(signal string) (found bool) {
	for i := range m.Signals {
		if s := &m.Signals[i]; signal == "" || s.Name == signal || s.Symbol == signal {
			s.measured, s.reserved, found = true, false, true
		}
	}
	return found
}

// reservedFor returns what J1939 reserves a raw value for (SAE J1939-71 5.1.4):
// in two bits 11 and 10, in more a highest byte of FF and FE.
func (s *Signal) reservedFor(raw uint64) string {
	top := raw
	switch {
	case s.Length > 8:
		top >>= s.Length - 8
	case s.Length == 2:
		top |= 0xFC
	}
	switch top {
	case 0xFF:
		return "not available"
	case 0xFE:
		return "error indicator"
	}
	return ""
}

// standing is what an object says of a value besides the value.
type standing uint8

const (
	fine standing = iota
	missing
	exceeding
)

func (v *Value) standing() standing {
	switch {
	case v.Missing() != "":
		return missing
	case v.OutOfRange():
		return exceeding
	}
	return fine
}

// Missing says why there is no number, or returns "": a floating-point value
// that is none, and in J1939 a raw value reserved for that, which the limits of
// its signal do not include and the file gives no label.
func (v *Value) Missing() string {
	if v.Signal.reserved && v.OutOfRange() && v.label() == nil {
		if what := v.Signal.reservedFor(v.Raw); what != "" {
			return what
		}
	}
	if v.Kind < KindFloat {
		return ""
	}
	switch f := v.Float(); {
	case math.IsNaN(f):
		return "not a number"
	case math.IsInf(f, 1):
		return "infinity"
	case math.IsInf(f, -1):
		return "negative infinity"
	}
	return ""
}
