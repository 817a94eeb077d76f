package payload

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
)

// maxExact is the largest integer every reader of JSON numbers reads exactly
// (IEEE 754 binary64, RFC 8259 section 6).
const maxExact = 1 << 53

const upperHex = "0123456789ABCDEF"

func appendUint(dst []byte, v uint64) []byte { return strconv.AppendUint(dst, v, 10) }

// appendHex appends bytes as upper-case hex.
func appendHex(dst, data []byte) []byte {
	for _, b := range data {
		dst = append(dst, upperHex[b>>4], upperHex[b&15])
	}
	return dst
}

// appendID appends an arbitration id as candump writes it: 3 digits standard,
// 8 digits extended.
func appendID(dst []byte, id uint32, extended bool) []byte {
	shift := 8
	if extended {
		shift = 28
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, upperHex[id>>shift&15])
	}
	return dst
}

// appendFrameJSON appends the members of a CAN record.
func appendFrameJSON(dst []byte, f *can.Frame, d *Decoding) []byte {
	dst = append(dst, `"type":"can","id":"`...)
	extended := f.Flags&can.Extended != 0
	dst = appendID(dst, f.ID, extended)
	dst = append(dst, '"')
	if extended {
		dst = append(dst, `,"ext":true`...)
	}
	m := d.lookup(f.ID, f.Flags)
	if m == nil || !d.OmitData {
		dst = append(dst, `,"data":"`...)
		if f.Flags&can.Remote == 0 {
			dst = appendHex(dst, f.Data[:f.Len])
		}
		dst = append(dst, '"')
	}
	dst = appendFlags(dst, f)
	if f.Suppressed > 0 {
		dst = append(dst, `,"suppressed":`...)
		dst = appendUint(dst, uint64(f.Suppressed))
	}
	if m != nil {
		dst = d.appendSignals(dst, m, f.ID, f.Data[:f.Len])
	}
	return dst
}

func appendFlags(dst []byte, f *can.Frame) []byte {
	switch {
	case f.Flags&can.Remote != 0:
		dst = append(dst, `,"rtr":true`...)
		if f.Len > 0 {
			dst = append(dst, `,"dlc":`...)
			dst = appendUint(dst, uint64(f.Len))
		}
	case f.Flags&can.FD != 0:
		dst = append(dst, `,"fd":true`...)
		if f.Flags&can.BitRateSwitch != 0 {
			dst = append(dst, `,"brs":true`...)
		}
		if f.Flags&can.ErrorState != 0 {
			dst = append(dst, `,"esi":true`...)
		}
	}
	return dst
}

// appendValue appends a finite value: integers exactly, as strings where a
// JSON number would not be exact; floats in the shortest form that reads back
// the same.
func appendValue(dst []byte, v *modbus.Value) []byte {
	if v.Label == "" && v.Flags == nil {
		return appendPlain(dst, v)
	}
	dst = appendPlain(append(dst, `{"value":`...), v)
	if v.Label != "" {
		dst = appendString(append(dst, `,"label":`...), v.Label)
	}
	if v.Flags != nil {
		dst = append(dst, `,"flags":[`...)
		for i, f := range v.Flags {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, f)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// AppendValue appends a value as JSON; one that is no finite number as null.
func AppendValue(dst []byte, v *modbus.Value) []byte {
	if v.Kind == modbus.KindFloat && notFinite(v.Float) {
		return append(dst, "null"...)
	}
	return appendValue(dst, v)
}

func appendPlain(dst []byte, v *modbus.Value) []byte {
	switch v.Kind {
	case modbus.KindText:
		return appendString(dst, v.Text)
	case modbus.KindBool:
		return strconv.AppendBool(dst, v.Uint != 0)
	case modbus.KindInt:
		if v.Int > maxExact || v.Int < -maxExact {
			dst = append(dst, '"')
			dst = strconv.AppendInt(dst, v.Int, 10)
			return append(dst, '"')
		}
		return strconv.AppendInt(dst, v.Int, 10)
	case modbus.KindFloat:
		return appendFloat(dst, v.Float)
	default:
		if v.Uint > maxExact {
			dst = append(dst, '"')
			dst = appendUint(dst, v.Uint)
			return append(dst, '"')
		}
		return appendUint(dst, v.Uint)
	}
}

func appendFloat(dst []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

func notFinite(f float64) bool { return math.IsNaN(f) || math.IsInf(f, 0) }

func nameOfNotFinite(f float64) string {
	switch {
	case math.IsNaN(f):
		return "not a number"
	case f > 0:
		return "infinity"
	default:
		return "negative infinity"
	}
}

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', upperHex[c>>4], upperHex[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// stamper appends times as RFC 3339 with nanoseconds, in UTC. It remembers
// the second, which neighbours share.
type stamper struct {
	second int64
	text   [20]byte // "2026-11-20T14:00:00."
}

func (s *stamper) append(dst []byte, ns int64) []byte {
	sec, frac := ns/1e9, ns%1e9
	if frac < 0 {
		sec, frac = sec-1, frac+1e9
	}
	if sec != s.second || s.text[0] == 0 {
		s.second = sec
		t := time.Unix(sec, 0).UTC()
		copy(s.text[:], t.AppendFormat(s.text[:0], "2006-01-02T15:04:05."))
	}
	dst = append(dst, s.text[:]...)
	var digits [9]byte
	for i := 8; i >= 0; i-- {
		digits[i] = byte('0' + frac%10)
		frac /= 10
	}
	dst = append(dst, digits[:]...)
	return append(dst, 'Z')
}
