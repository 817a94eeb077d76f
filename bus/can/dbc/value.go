package dbc

import (
	"math"
	"strconv"
)

// Kind says how a [Value] holds its physical value.
type Kind uint8

// The kinds of a value.
const (
	KindInt     Kind = iota // an integer within int64
	KindUint                // an integer above int64
	KindDecimal             // a decimal fraction of at most 15 digits
	KindFloat               // a float64
	KindFloat32             // a float32, as it was on the wire
)

// Value is what a signal says in one frame.
type Value struct {
	Signal *Signal
	Raw    uint64 // the signal's bits, not sign-extended
	Kind   Kind
	bits   uint64
}

// Int returns the value of KindInt, else 0.
func (v *Value) Int() int64 {
	if v.Kind != KindInt {
		return 0
	}
	return int64(v.bits)
}

// Uint returns the value of KindUint and that of KindInt if it is not
// negative, else 0.
func (v *Value) Uint() uint64 {
	if v.Kind == KindUint || v.Kind == KindInt && int64(v.bits) >= 0 {
		return v.bits
	}
	return 0
}

// Float returns the float64 nearest to the value, of any kind.
func (v *Value) Float() float64 {
	switch v.Kind {
	case KindInt:
		return float64(int64(v.bits))
	case KindUint:
		return float64(v.bits)
	case KindDecimal:
		return float64(int64(v.bits)) / pow10[v.Signal.decimals]
	case KindFloat32:
		return float64(math.Float32frombits(uint32(v.bits)))
	default:
		return math.Float64frombits(v.bits)
	}
}

// Label returns the name of the value, if the file gives it one.
func (v *Value) Label() (string, bool) {
	if l := v.label(); l != nil {
		return l.Text, true
	}
	return "", false
}

func (v *Value) label() *Label {
	if len(v.Signal.Labels) == 0 {
		return nil
	}
	raw := v.Raw
	if v.Signal.Type != Integer {
		var ok bool
		if raw, ok = v.Signal.integral(raw); !ok {
			return nil
		}
	}
	return v.Signal.find(raw)
}

// Label returns the name of a raw value: the signal's bits, not sign-extended.
// Of a signal of type Float32 or Float64 it is the integer those bits stand
// for, in as many bits.
func (s *Signal) Label(raw uint64) (string, bool) {
	if l := s.find(raw); l != nil {
		return l.Text, true
	}
	return "", false
}

func (s *Signal) find(raw uint64) *Label {
	low, high := 0, len(s.Labels)
	for low < high {
		mid := int(uint(low+high) / 2)
		if s.Labels[mid].Raw < raw {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(s.Labels) && s.Labels[low].Raw == raw {
		return &s.Labels[low]
	}
	return nil
}

// integral returns the integer that the bits of a floating-point signal are.
func (s *Signal) integral(raw uint64) (uint64, bool) {
	f := math.Float64frombits(raw)
	if s.Type == Float32 {
		f = float64(math.Float32frombits(uint32(raw)))
	}
	if f != math.Trunc(f) || math.Abs(f) > maxExact {
		return 0, false
	}
	if s.Type == Float32 && (f < math.MinInt32 || f > math.MaxUint32) { // labels have 32 bits
		return 0, false
	}
	return uint64(int64(f)) & s.mask(), true
}

// AppendName appends the members of a JSON object that say which message a frame
// with an id is: "name", and of J1939 the parameter group and who sent it:
//
//	"name":"EEC1","pgn":61444,"sa":0
func (d *Database) AppendName(dst []byte, m *Message, id uint32) []byte {
	dst = append(append(dst, `"name":`...), m.quoted...)
	if d.IsJ1939(m) {
		dst = appendUint(append(dst, `,"pgn":`...), uint64(PGN(id)))
		dst = appendUint(append(dst, `,"sa":`...), uint64(SourceAddress(id)))
	}
	return dst
}

// AppendSignals appends the member "signals" of a JSON object, "errors" if a
// value is no number, and "out_of_range" if one exceeds its limits:
//
//	"signals":{"Speed":812.5,"State":{"value":2,"label":"Running"},"Flow":null,"Level":130},"errors":{"Flow":"not a number"},"out_of_range":["Level"]
//
// Integers beyond 2^53 are strings. It allocates nothing if dst has the room.
func AppendSignals(dst []byte, values []Value) []byte {
	dst = append(dst, `"signals":{`...)
	faults, outside := false, false
	for i := range values {
		v := &values[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, v.Signal.key...)
		if v.Kind >= KindFloat || v.Signal.doubtful && !v.Signal.bounds.hold(v.Raw) {
			switch v.standing() {
			case missing:
				faults = true
				dst = append(dst, "null"...)
				continue
			case exceeding:
				outside = true
			}
		}
		l := v.label()
		if l == nil {
			dst = v.appendNumber(dst)
			continue
		}
		dst = append(dst, `{"value":`...)
		dst = v.appendNumber(dst)
		dst = append(dst, `,"label":`...)
		dst = append(dst, l.quoted...)
		dst = append(dst, '}')
	}
	dst = append(dst, '}')
	if faults {
		dst = appendFaults(dst, values)
	}
	if outside {
		dst = appendOutside(dst, values)
	}
	return dst
}

func appendFaults(dst []byte, values []Value) []byte {
	dst = append(dst, `,"errors":`...)
	mark := byte('{')
	for i := range values {
		if reason := values[i].Missing(); reason != "" {
			dst = append(append(dst, mark), values[i].Signal.key...)
			dst = append(append(append(dst, '"'), reason...), '"')
			mark = ','
		}
	}
	return append(dst, '}')
}

func appendOutside(dst []byte, values []Value) []byte {
	dst = append(dst, `,"out_of_range":`...)
	mark := byte('[')
	for i := range values {
		if v := &values[i]; v.OutOfRange() && v.Missing() == "" {
			key := v.Signal.key
			dst = append(append(dst, mark), key[:len(key)-1]...) // without its colon
			mark = ','
		}
	}
	return append(dst, ']')
}

// AppendJSON appends the value alone: a number in its shortest form, a string
// for an integer beyond 2^53, null for what is no number.
func (v *Value) AppendJSON(dst []byte) []byte {
	if v.Missing() != "" {
		return append(dst, "null"...)
	}
	return v.appendNumber(dst)
}

// appendNumber appends a finite value.
func (v *Value) appendNumber(dst []byte) []byte {
	switch v.Kind {
	case KindInt:
		if n := int64(v.bits); n > maxExact || n < -maxExact {
			return append(strconv.AppendInt(append(dst, '"'), n, 10), '"')
		}
		return appendInt(dst, int64(v.bits))
	case KindUint:
		return append(strconv.AppendUint(append(dst, '"'), v.bits, 10), '"')
	case KindDecimal:
		return v.appendDecimal(dst)
	case KindFloat32:
		return appendFloat(dst, v.Float(), 32)
	default:
		return appendFloat(dst, v.Float(), 64)
	}
}

func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendUint(append(dst, '-'), uint64(-n))
	}
	return appendUint(dst, uint64(n))
}

// appendUint is strconv.AppendUint with short numbers, the most frequent, done
// in place.
func appendUint(dst []byte, n uint64) []byte {
	switch {
	case n < 10:
		return append(dst, '0'+byte(n))
	case n < 100:
		return append(dst, '0'+byte(n/10), '0'+byte(n%10))
	}
	return strconv.AppendUint(dst, n, 10)
}

// appendDecimal appends a decimal fraction, without the zeros at its end.
func (v *Value) appendDecimal(dst []byte) []byte {
	n, decimals := int64(v.bits), int(v.Signal.decimals)
	u := uint64(n)
	if n < 0 {
		u = -u
	}
	unit := intPow10[decimals]
	whole, fraction := u/unit, u%unit
	if whole == 0 && decimals > 6 && fraction < unit/1e6 && u != 0 {
		return appendFloat(dst, v.Float(), 64) // below 10^-6, the form is another
	}
	if n < 0 {
		dst = append(dst, '-')
	}
	dst = appendUint(dst, whole)
	if fraction == 0 {
		return dst
	}
	for fraction%10 == 0 {
		fraction /= 10
		decimals--
	}
	var digits [maxDecimals + 1]byte
	for i := decimals; i > 0; i-- {
		digits[i] = '0' + byte(fraction%10)
		fraction /= 10
	}
	digits[0] = '.'
	return append(dst, digits[:decimals+1]...)
}

var intPow10 = [maxDecimals + 1]uint64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// appendFloat appends a finite number in the shortest form that reads back
// the same, as a float32 if size is 32.
func appendFloat(dst []byte, f float64, size int) []byte {
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, size)
}
