package can

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxFilters is how many filters one socket takes (CAN_RAW_FILTER_MAX).
const MaxFilters = unix.CAN_RAW_FILTER_MAX

// SyntaxError is what is wrong with the text of a filter or an interface.
type SyntaxError struct {
	Text string // of which What is said
	What string // such as "has no mask"
	Fix  string // what to write
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("can: %q %s; %s", e.Text, e.What, e.Fix) }

// ParseFilter reads a filter in candump's notation: "ID:MASK" passes what
// matches, "ID~MASK" what does not; both in hexadecimal, at most 8 digits.
//
// It means what candump means by it. An id of exactly 8 digits asks for
// extended frames, yet only a mask that holds the flag 80000000 makes the
// kernel look at it: "123:7FF" passes the extended frame 00000123 too,
// "123:800007FF" does not. Likewise 40000000 in the mask tells remote frames
// from data frames. Error frames are no matter of a filter: the flag 20000000
// is taken out of the mask.
//
// The error is a *[SyntaxError].
func ParseFilter(s string) (Filter, error) {
	i := strings.IndexAny(s, ":~")
	if i < 0 {
		return Filter{}, filterError(s, "has no mask")
	}
	id, ok := parseHex32(s[:i])
	if !ok {
		return Filter{}, filterError(s, "has no id of one to eight hexadecimal digits")
	}
	mask, ok := parseHex32(s[i+1:])
	if !ok {
		return Filter{}, filterError(s, noMask)
	}
	f := Filter{ID: id, Mask: mask &^ unix.CAN_ERR_FLAG, Invert: s[i] == '~'}
	if i == 8 {
		f.ID |= unix.CAN_EFF_FLAG
	}
	return f, f.check()
}

const noMask = "has no mask of one to eight hexadecimal digits"

func filterError(s, what string) error {
	return &SyntaxError{s, what, `write id:mask or id~mask in hexadecimal, such as "100:7F0" or "0CF00400:1FFFFFFF"`}
}

// FilterSet is what a list of filters in candump's notation asks for.
type FilterSet struct {
	Filters      []Filter
	Join         bool   // a frame passes when all filters pass it
	ErrorClasses uint32 // CAN_ERR_*; meaningful with Errors
	Errors       bool   // the list has a mask for error frames
}

// Add adds what text says: a filter as [ParseFilter] reads it, "#MASK", the
// classes of error frames, or "j", which joins the filters. The error is a
// *[SyntaxError].
func (s *FilterSet) Add(text string) error {
	switch {
	case text == "j" || text == "J":
		s.Join = true
	case strings.HasPrefix(text, "#"):
		mask, ok := parseHex32(text[1:])
		if !ok {
			return filterError(text, noMask)
		}
		s.Errors = true
		s.ErrorClasses |= mask & unix.CAN_ERR_MASK
	default:
		f, err := ParseFilter(text)
		if err != nil {
			return err
		}
		s.Filters = append(s.Filters, f)
	}
	return nil
}

// ParseFilters adds all of a list, see [FilterSet.Add].
func ParseFilters(list []string) (set FilterSet, err error) {
	for _, text := range list {
		if err := set.Add(text); err != nil {
			return set, err
		}
	}
	return set, nil
}

// AddTo puts the set into a configuration.
func (s FilterSet) AddTo(c *Config) {
	c.Filters, c.Join = s.Filters, s.Join
	if s.Errors {
		c.ErrorClasses = s.ErrorClasses | stateClasses
	}
}

func parseHex32(s string) (v uint32, ok bool) {
	n, err := strconv.ParseUint(s, 16, 32)
	return uint32(n), err == nil && len(s) <= 8
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
		return filterError(f.String(), "has the flag 20000000 in its id, which no data frame has")
	}
	if f.Mask&unix.CAN_ERR_FLAG != 0 {
		return filterError(f.String(), "has the flag 20000000 in its mask, but error frames are never data")
	}
	return nil
}

// match does what the kernel's can_rx_register makes of the filter, for
// sources that have no kernel below them. id carries the flag bits.
func (f Filter) match(id uint32) bool {
	mask := f.effective()
	return (id&mask == f.ID&mask) != f.Invert
}

// effective is the mask as the kernel uses it: of a filter for standard frames
// only, the bits of an extended id do not count.
func (f Filter) effective() uint32 {
	if f.Mask&unix.CAN_EFF_FLAG != 0 && f.ID&unix.CAN_EFF_FLAG == 0 {
		return f.Mask & (unix.CAN_SFF_MASK | unix.CAN_EFF_FLAG | unix.CAN_RTR_FLAG)
	}
	return f.Mask
}

// meets reports whether a frame can pass whose id is known under a mask only.
func (f Filter) meets(id, mask uint32) bool {
	looked := f.effective()
	if (id^f.ID)&looked&mask != 0 { // no such id matches
		return f.Invert
	}
	return !f.Invert || looked&^mask != 0
}

// CanPass reports whether any frame can pass a list of filters, as
// [Config.Filters] and [Config.Join] have it, of those whose id under mask is
// id; both carry the kernel's flag bits. When it says no, none can; of several
// joined filters it looks at each alone.
func CanPass(filters []Filter, join bool, id, mask uint32) bool {
	for _, f := range filters {
		if f.meets(id, mask) != join {
			return !join
		}
	}
	return join || len(filters) == 0
}

// passes does what the kernel does with a list of filters.
func passes(filters []Filter, join bool, f *Frame) bool {
	if len(filters) == 0 {
		return true
	}
	id := f.key()
	for i := range filters {
		if filters[i].match(id) != join {
			return !join
		}
	}
	return join
}

// key is the arbitration id with the flags that tell frames apart, as the
// kernel has it: CAN_EFF_FLAG and CAN_RTR_FLAG.
func (f *Frame) key() uint32 {
	id := f.ID
	if f.Flags&Extended != 0 {
		id |= unix.CAN_EFF_FLAG
	}
	if f.Flags&Remote != 0 {
		id |= unix.CAN_RTR_FLAG
	}
	return id
}

// joined says that frames that pass the kernel's filters must be looked at again.
func (c *Config) joined() bool { return c.Join && len(c.Filters) > 1 }

// kernelFilters are the filters to give to the socket.
//
// The kernel can join filters itself (CAN_RAW_JOIN_FILTERS), but it counts
// matches, and an error frame matches only the one filter for error frames: a
// socket with two or more joined filters gets none. So filters that pass are
// made one for the kernel, and all are looked at again here: those that keep
// out, and those that only together pass nothing.
func (c *Config) kernelFilters() []Filter {
	if !c.joined() {
		return c.Filters
	}
	var all Filter
	for _, f := range c.Filters {
		if f.Invert {
			continue
		}
		mask := f.effective()
		if all.ID&all.Mask&mask != f.ID&mask&all.Mask {
			return []Filter{none} // no frame can match both
		}
		all.ID |= f.ID & mask
		all.Mask |= mask
	}
	if all.Mask == 0 {
		return nil
	}
	return []Filter{all}
}

// none passes nothing: no id has a bit outside of its mask.
var none = Filter{ID: 0, Mask: 0, Invert: true}
