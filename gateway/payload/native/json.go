package native

import (
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/record"
)

// maxExact is the largest integer every reader of JSON numbers reads exactly
// (IEEE 754 binary64, RFC 8259 section 6).
const maxExact = 1 << 53

const upperHex = "0123456789ABCDEF"

func appendUint(dst []byte, v uint64) []byte { return strconv.AppendUint(dst, v, 10) }

// hexPairs are the bytes in upper-case hex, and decimalPairs the numbers below
// 100: two digits at a time cost half of what single ones do.
var hexPairs, decimalPairs = pairs(upperHex), pairs(upperHex[:10])

func pairs(digits string) (p [256][2]byte) {
	for i := range len(digits) * len(digits) {
		p[i] = [2]byte{digits[i/len(digits)], digits[i%len(digits)]}
	}
	return p
}

// appendHex appends bytes as upper-case hex.
func appendHex(dst, data []byte) []byte {
	n := len(dst)
	dst = slices.Grow(dst, 2*len(data))[:n+2*len(data)]
	for i, b := range data {
		*(*[2]byte)(dst[n+2*i:]) = hexPairs[b]
	}
	return dst
}

// appendID appends an arbitration id as candump writes it: 3 digits standard,
// 8 digits extended.
func appendID(dst []byte, id uint32, extended bool) []byte {
	low := &hexPairs[byte(id)]
	if !extended {
		return append(dst, upperHex[id>>8&15], low[0], low[1])
	}
	a, b, c := &hexPairs[id>>24], &hexPairs[byte(id>>16)], &hexPairs[byte(id>>8)]
	return append(dst, a[0], a[1], b[0], b[1], c[0], c[1], low[0], low[1])
}

// appendFrameJSON appends what follows the id's opening quote in a CAN record.
func appendFrameJSON(dst []byte, f *record.Frame, d *Decoding) []byte {
	extended := f.Flags&can.Extended != 0
	dst = appendID(dst, f.ID, extended)
	m := d.lookup(f.ID, f.Flags)
	withData := d.decode(m, f.Data)
	switch {
	case extended && withData:
		dst = append(dst, `","ext":true,"data":"`...)
	case extended:
		dst = append(dst, `","ext":true`...)
	case withData:
		dst = append(dst, `","data":"`...)
	default:
		dst = append(dst, '"')
	}
	if withData {
		dst = append(appendHex(dst, f.Data), '"')
	}
	if f.Flags&(can.Remote|can.FD) != 0 {
		dst = appendFlags(dst, f)
	}
	if f.Suppressed > 0 {
		dst = append(dst, `,"suppressed":`...)
		dst = appendUint(dst, uint64(f.Suppressed))
	}
	if m != nil {
		dst = d.appendSignals(dst, m, f.ID)
	}
	return dst
}

func appendFlags(dst []byte, f *record.Frame) []byte {
	switch {
	case f.Flags&can.Remote != 0:
		dst = append(dst, `,"rtr":true`...)
		if f.Asked > 0 {
			dst = append(dst, `,"dlc":`...)
			dst = appendUint(dst, uint64(f.Asked))
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

// stamper appends the member "ts", but for its closing quote: a time as RFC 3339
// with nanoseconds, in UTC. It remembers the second, which neighbours share.
type stamper struct {
	_ [0]func() // nobody compares them: saves the code for it

	begin int64    // of the second, in nanoseconds
	text  [26]byte // `"ts":"2026-11-20T14:00:00.`
}

func (s *stamper) append(dst []byte, ns int64) []byte {
	frac := uint64(ns - s.begin)
	if frac >= 1e9 || s.text[0] == 0 {
		t := time.Unix(0, ns).UTC()
		frac = uint64(t.Nanosecond())
		s.begin = ns - int64(frac) // may wrap round for a time in 1677: so does the difference
		t.AppendFormat(append(s.text[:0], `"ts":"`...), "2006-01-02T15:04:05.")
	}
	n := uint32(frac) // 32 bits: divisions of 64 are slow on ARMv7
	high, low := n/10000, n%10000
	a, b, c, d := &decimalPairs[high/1000], &decimalPairs[high/10%100], &decimalPairs[low/100], &decimalPairs[low%100]
	dst = append(dst, s.text[:]...)
	return append(dst, a[0], a[1], b[0], b[1], '0'+byte(high%10), c[0], c[1], d[0], d[1], 'Z')
}
