package can

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxFilters is how many filters one socket takes (CAN_RAW_FILTER_MAX).
const MaxFilters = unix.CAN_RAW_FILTER_MAX

// ParseFilter reads a filter in candump's notation: "ID:MASK" passes what
// matches, "ID~MASK" what does not; both in hexadecimal, at most 8 digits.
//
// It means what candump means by it. An id of exactly 8 digits asks for
// extended frames, yet only a mask that holds the flag 80000000 makes the
// kernel look at it: "123:7FF" passes the extended frame 00000123 too,
// "123:800007FF" does not. Likewise 40000000 in the mask tells remote frames
// from data frames. Error frames are no matter of a filter: the flag 20000000
// is taken out of the mask.
func ParseFilter(s string) (Filter, error) {
	i := strings.IndexAny(s, ":~")
	if i < 0 {
		return Filter{}, fmt.Errorf("can: filter %q: neither ':' nor '~' in it; write ID:MASK or ID~MASK", s)
	}
	id, err := parseHex32(s[:i])
	if err != nil {
		return Filter{}, fmt.Errorf("can: filter %q: id: %w", s, err)
	}
	mask, err := parseHex32(s[i+1:])
	if err != nil {
		return Filter{}, fmt.Errorf("can: filter %q: mask: %w", s, err)
	}
	f := Filter{ID: id, Mask: mask &^ unix.CAN_ERR_FLAG, Invert: s[i] == '~'}
	if i == 8 {
		f.ID |= unix.CAN_EFF_FLAG
	}
	return f, f.check()
}

func parseHex32(s string) (uint32, error) {
	if len(s) < 1 || len(s) > 8 {
		return 0, fmt.Errorf("%q has %d digits; use 1 to 8 hexadecimal digits", s, len(s))
	}
	v, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a hexadecimal number", s)
	}
	return uint32(v), nil
}

// String returns the filter as [ParseFilter] reads it.
func (f Filter) String() string {
	sep := byte(':')
	if f.Invert {
		sep = '~'
	}
	// Eight digits would set the extended flag, so they are used only with it.
	if f.ID&unix.CAN_EFF_FLAG != 0 {
		return fmt.Sprintf("%08X%c%08X", f.ID&^unix.CAN_EFF_FLAG, sep, f.Mask)
	}
	return fmt.Sprintf("%03X%c%03X", f.ID, sep, f.Mask)
}

// check refuses bits that mean something else to the kernel: in the id
// CAN_INV_FILTER, in the mask "this is a filter for error frames".
func (f Filter) check() error {
	if f.ID&unix.CAN_ERR_FLAG != 0 {
		return fmt.Errorf("can: filter %s: the id holds the flag 20000000, which no data frame has; for the opposite write ID~MASK", f)
	}
	if f.Mask&unix.CAN_ERR_FLAG != 0 {
		return fmt.Errorf("can: filter %s: the mask holds the flag 20000000; error frames are always counted and never data", f)
	}
	return nil
}

// match does what the kernel's can_rx_register makes of the filter, for
// sources that have no kernel below them. id carries the flag bits.
func (f Filter) match(id uint32) bool {
	mask := f.Mask
	if mask&unix.CAN_EFF_FLAG != 0 && f.ID&unix.CAN_EFF_FLAG == 0 {
		mask &= unix.CAN_SFF_MASK | unix.CAN_EFF_FLAG | unix.CAN_RTR_FLAG
	}
	return (id&mask == f.ID&mask) != f.Invert
}

func passes(filters []Filter, f *Frame) bool {
	if len(filters) == 0 {
		return true
	}
	id := f.ID
	if f.Flags&Extended != 0 {
		id |= unix.CAN_EFF_FLAG
	}
	if f.Flags&Remote != 0 {
		id |= unix.CAN_RTR_FLAG
	}
	for i := range filters {
		if filters[i].match(id) {
			return true
		}
	}
	return false
}
