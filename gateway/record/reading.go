package record

import (
	"fmt"
	"math"
	"strconv"

	"fieldferry/bus/modbus"
)

// The first byte of a value: its kind, and what follows it.
const (
	kindMask  = 0x0f
	withLabel = 0x10
	withFlags = 0x20
)

// AppendReading appends the body of what one poll of a Modbus device yielded,
// but its time:
//
//	text    device
//	number  of values, each: text name, byte kind, the value, text label, number of flags and each as text
//	number  of failures, each: text name, text reason
//
// A value is a number, signed for [modbus.KindInt], or a text: that of
// [modbus.KindText], or the shortest decimal one of [modbus.KindFloat], which
// takes fewer bytes than its eight in nearly all measurements.
func AppendReading(dst []byte, r *modbus.Reading) []byte {
	dst = append(dst, byte(TypeReading))
	dst = appendText(dst, r.Device)
	dst = appendUint(dst, uint64(len(r.Values)))
	for i := range r.Values {
		dst = appendValue(dst, &r.Values[i])
	}
	dst = appendUint(dst, uint64(len(r.Failures)))
	for i := range r.Failures {
		dst = appendText(appendText(dst, r.Failures[i].Name), r.Failures[i].Err)
	}
	return dst
}

func appendValue(dst []byte, v *modbus.Value) []byte {
	dst = appendText(dst, v.Name)
	kind := byte(v.Kind)
	if v.Label != "" {
		kind |= withLabel
	}
	if v.Flags != nil {
		kind |= withFlags
	}
	dst = append(dst, kind)
	switch v.Kind {
	case modbus.KindInt:
		dst = appendInt(dst, v.Int)
	case modbus.KindFloat:
		at := len(dst)
		dst = strconv.AppendFloat(append(dst, 0), v.Float, 'g', -1, 64)
		dst[at] = byte(len(dst) - at - 1) // at most 24 bytes
	case modbus.KindText:
		dst = appendText(dst, v.Text)
	default:
		dst = appendUint(dst, v.Uint)
	}
	if v.Label != "" {
		dst = appendText(dst, v.Label)
	}
	if v.Flags != nil {
		dst = appendUint(dst, uint64(len(v.Flags)))
		for _, f := range v.Flags {
			dst = appendText(dst, f)
		}
	}
	return dst
}

// ParseReading is the inverse of [AppendReading], but for the time and Answered.
// It reuses the slices of into.
func ParseReading(body []byte, into *modbus.Reading) error {
	r := reader{rest: body[1:]}
	into.Device, into.Values, into.Failures = r.text(), into.Values[:0], into.Failures[:0]
	for range r.count() {
		into.Values = append(into.Values, r.value())
	}
	for range r.count() {
		into.Failures = append(into.Failures, modbus.Failure{Name: r.text(), Err: r.text()})
	}
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%w: %d bytes behind a reading", ErrBody, len(r.rest))
	}
	return r.err
}

func (r *reader) value() (v modbus.Value) {
	v.Name = r.text()
	kind := r.byte()
	switch v.Kind = modbus.Kind(kind & kindMask); v.Kind {
	case modbus.KindInt:
		v.Int = r.int()
	case modbus.KindFloat:
		v.Float = r.float()
	case modbus.KindText:
		v.Text = r.text()
	case modbus.KindUint, modbus.KindBool:
		v.Uint = r.uint()
	default:
		r.fail("a value of unknown kind")
	}
	if kind&withLabel != 0 {
		v.Label = r.text()
	}
	if kind&withFlags != 0 {
		v.Flags = make([]string, r.count())
		for i := range v.Flags {
			v.Flags[i] = r.text()
		}
	}
	return v
}

func (r *reader) float() float64 {
	s := r.text()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && r.err == nil {
		r.fail("a number")
		return math.NaN()
	}
	return f
}

// DeviceOf returns the device of a reading without the rest of it.
func DeviceOf(body []byte) (string, error) {
	r := reader{rest: body[1:]}
	return r.text(), r.err
}
