package can

import "golang.org/x/sys/unix"

// AppendLong appends f as candump prints it after the name of the interface:
//
//	123   [8]  11 22 33 44 55 66 77 88
//	0CF00400   [2]  FF 01
//
// indent moves standard ids to the right, as candump does once it has seen an
// extended one. The line has no end.
func AppendLong(dst []byte, f *Frame, indent bool) []byte {
	id, digits := f.ID, 3
	switch {
	case f.Flags&ErrorFrame != 0:
		id, digits = id&unix.CAN_ERR_MASK|unix.CAN_ERR_FLAG, 8
	case f.Flags&Extended != 0:
		digits = 8
	case indent:
		dst = append(dst, "     "...)
	}
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[id>>shift&15])
	}
	n := min(f.Len, MaxDataLen)
	if f.Flags&FD != 0 {
		dst = append(dst, "  ["...)
		dst = append(dst, '0'+n/10, '0'+n%10, ']', ' ')
	} else {
		n = min(n, maxClassicLen)
		dst = append(dst, "   ["...)
		dst = append(dst, '0'+n, ']', ' ')
		if f.Flags&Remote != 0 {
			return append(dst, " remote request"...)
		}
	}
	for _, c := range f.Data[:n] {
		dst = append(dst, ' ', hexDigits[c>>4], hexDigits[c&15])
	}
	if f.Flags&ErrorFrame != 0 {
		for range 3 * (maxClassicLen - int(n)) {
			dst = append(dst, ' ')
		}
		dst = append(dst, "   ERRORFRAME"...)
	}
	return dst
}
